"""Multiple choice: pick an option (paper, section 3.3; Video-MME, MVBench, Perception Test, LongVideoBench).

Reply: ``<answer>B</answer>``. ``(B)``, ``B.``, ``b``, ``B. text`` and the option's own text are taken too,
nothing else.
Reward parts: ``format`` (equation 3) and ``accuracy`` (equation 5).
Metric: accuracy; unparsable replies are wrong and count, unlike in some benchmarks' own scripts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from timesight.tasks.base import Graded, Task
from timesight.tasks.form import ReplyForm, Tag
from timesight.tasks.parsing import letter, parse_option
from timesight.types import Judge, Rewards, Sample


class Subtitle(BaseModel):
    """What is said from ``start_s`` to ``end_s``, in seconds from the start of the file; times may be unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    start_s: float | None = None
    end_s: float | None = None

    def line(self) -> str:
        """One line of a prompt."""
        if self.start_s is None or self.end_s is None:
            return self.text.strip()
        return f"{self.start_s:.1f} to {self.end_s:.1f}: {self.text.strip()}"


class MultipleChoiceSample(Sample):
    """Which of ``options`` answers ``question``? ``answer`` counts from 0; ``subtitles`` may be one plain text."""

    question: str
    options: tuple[str, ...] = Field(min_length=1, max_length=26)
    answer: int = Field(ge=0)
    subtitles: tuple[Subtitle, ...] = ()

    @field_validator("subtitles", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return ({"text": value},) if isinstance(value, str) else value


class MultipleChoice(Task[MultipleChoiceSample, int]):
    """Which option is right?"""

    name = "multiple_choice"
    Sample = MultipleChoiceSample
    form = ReplyForm((Tag("answer", "LETTER"),))
    wording = "{subtitles}{question} {options} {form}"
    parts = ("accuracy",)

    def fields(self, sample: MultipleChoiceSample) -> dict[str, str]:
        """``question``, ``options`` and ``subtitles`` (empty without any)."""
        return choice_fields(sample)

    def problems(self, sample: MultipleChoiceSample) -> list[str]:
        """An answer that is not among the options."""
        return choice_problems(sample)

    def parse(
        self, reply: str, think: bool = False, strict: bool = True, sample: MultipleChoiceSample | None = None
    ) -> int | None:
        """The option that the reply names, from 0."""
        content = self.form.read(reply, "answer", think, strict)
        return None if content is None else parse_option(content, () if sample is None else sample.options)

    def write(self, answer: int) -> dict[str, str]:
        """The letter."""
        return {"answer": letter(answer)}

    def truth(self, sample: MultipleChoiceSample) -> int:
        """The right option."""
        return sample.answer

    def reward_parts(self, answer: int, sample: MultipleChoiceSample) -> Rewards:
        """``accuracy``: 1 for the right option."""
        return {"accuracy": float(answer == sample.answer)}

    def item_metrics(
        self,
        graded: Sequence[Graded[MultipleChoiceSample, int]],
        protocol: str = "official",
        judge: Judge | None = None,
    ) -> list[dict[str, float] | None]:
        """Whether the answer is right."""
        return [{"accuracy": float(answer == sample.answer)} for sample, _, answer in graded]

    def baselines(
        self, samples: Sequence[MultipleChoiceSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[int]]:
        """The letter that is right most often on these very items, and the longest option."""
        return choice_baselines(samples)


def choice_fields(sample: MultipleChoiceSample) -> dict[str, str]:
    """What a prompt shows of a question with options."""
    spoken = "\n".join(subtitle.line() for subtitle in sample.subtitles)
    return {
        "question": sample.question.strip(),
        "options": " ".join(f"{letter(n)}. {option.strip()}" for n, option in enumerate(sample.options)),
        "subtitles": f"Subtitles:\n{spoken}\n" if spoken else "",
    }


def choice_problems(sample: MultipleChoiceSample) -> list[str]:
    """What is wrong with the truth of a question with options."""
    count = len(sample.options)
    return [] if sample.answer < count else [f"answer {sample.answer} is not among the {count} options"]


def choice_baselines(samples: Sequence[MultipleChoiceSample]) -> dict[str, list[int]]:
    """Answers to questions with options that look at no video."""
    if not samples:
        return {}
    most_common = Counter(sample.answer for sample in samples).most_common(1)[0][0]
    longest = [lengths.index(max(lengths)) for lengths in ([len(o) for o in s.options] for s in samples)]
    return {"most common letter": [most_common] * len(samples), "longest option": longest}
