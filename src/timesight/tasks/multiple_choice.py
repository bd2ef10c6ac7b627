"""Multiple choice: pick an option (paper, section 3.3; Video-MME, MVBench, Perception Test, LongVideoBench).

Reply: ``<answer>B</answer>``. ``(B)``, ``B.``, ``b``, ``B. text`` and the option's own text are accepted too,
nothing else; lenient parsing also accepts ``(B) text``, ``B) text`` and bold marks. A phrase (``The answer is B.``)
counts in ``accuracy_with_phrases`` only.
Reward components: ``format`` (equation 3) and ``accuracy`` (equation 5).
Metric: accuracy; unparsable replies are wrong and count, unlike in some benchmarks' own scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from timesight.tasks.base import Graded, Task
from timesight.tasks.choices import (
    ChoiceSample,
    choice_baselines,
    choice_fields,
    choice_problems,
    right_option,
    with_phrases,
)
from timesight.tasks.form import ReplyForm, Tag
from timesight.tasks.grounded_qa import GroundedQa, GroundedQaSample
from timesight.tasks.parsing import letter, parse_option
from timesight.types import Judge, Rewards


class MultipleChoiceSample(ChoiceSample):
    """A question with options."""


def task_without_evidence(name: str) -> str:
    """The task that is asked in place of ``name`` where nobody asks for evidence."""
    return MultipleChoice.name if name == GroundedQa.name else name


def without_evidence(sample: GroundedQaSample) -> MultipleChoiceSample:
    """The same question with the same options, which does not ask for evidence."""
    content = {name: value for name, value in sample.model_dump().items() if name != "spans"}
    return MultipleChoiceSample.model_validate(content | {"task": MultipleChoice.name})


class MultipleChoice(Task[MultipleChoiceSample, int]):
    """Which option is right?"""

    name = "multiple_choice"
    Sample = MultipleChoiceSample
    form = ReplyForm((Tag("answer", "LETTER"),))
    template = "{subtitles}{question}\n{options}\n{form}"
    components = ("accuracy",)
    names_spans = True  # with_evidence

    def fields(self, sample: MultipleChoiceSample) -> dict[str, str]:
        """The template fields ``question``, ``options`` and ``subtitles`` (may be empty)."""
        return choice_fields(sample)

    def problems(self, sample: MultipleChoiceSample) -> list[str]:
        """An answer that is not among the options."""
        return choice_problems(sample)

    def parse(
        self, reply: str, think: bool = False, strict: bool = True, sample: MultipleChoiceSample | None = None
    ) -> int | None:
        """Index of the option that the reply names."""
        content = self.form.read(reply, "answer", think, strict)
        return None if content is None else parse_option(content, () if sample is None else sample.options, strict)

    def write(self, answer: int) -> dict[str, str]:
        """The option's letter."""
        return {"answer": letter(answer)}

    def truth(self, sample: MultipleChoiceSample) -> int:
        """Index of the right option."""
        return sample.answer

    def reward_components(self, answer: int, sample: MultipleChoiceSample) -> Rewards:
        """``accuracy`` (equation 5): 1 for the right option, else 0."""
        return {"accuracy": float(answer == sample.answer)}

    def item_metrics(
        self,
        graded: Sequence[Graded[MultipleChoiceSample, int]],
        protocol: str,
        judge: Judge | None = None,
    ) -> list[dict[str, float] | None]:
        """Accuracy; and ``accuracy_with_phrases`` if any reply names its option in a phrase."""
        rows: list[dict[str, float] | None] = [
            {"accuracy": float(answer == sample.answer)} for sample, _, answer in graded
        ]
        return with_phrases(rows, graded, [answer for _, _, answer in graded], self.form)

    def baselines(
        self, samples: Sequence[MultipleChoiceSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[int]]:
        """The letter that is right most often on these samples, and the longest option."""
        return choice_baselines(samples)

    def random_baselines(
        self, samples: Sequence[MultipleChoiceSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[list[int]]]:
        """Each of the options."""
        return {"random": [list(range(len(sample.options))) for sample in samples]}

    def question(self, sample: MultipleChoiceSample) -> str:
        """The ``question``."""
        return sample.question

    def display_answer(self, answer: int, sample: MultipleChoiceSample) -> str | None:
        """The option's text."""
        return sample.options[answer] if answer < len(sample.options) else None

    def display_truth(self, sample: MultipleChoiceSample) -> str:
        """The right option's text."""
        return right_option(sample)

    def with_evidence(self, sample: MultipleChoiceSample) -> GroundedQaSample:
        """The grounded question with the same options, without true spans."""
        return GroundedQaSample.model_validate({**sample.model_dump(), "task": GroundedQa.name, "spans": ()})
