"""Questions with options: what multiple choice and grounded question answering share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from timesight.tasks.base import Graded
from timesight.tasks.form import ReplyForm
from timesight.tasks.parsing import find_option, letter
from timesight.types import Sample

WITH_PHRASES = "accuracy_with_phrases"


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


class ChoiceSample(Sample):
    """Which of ``options`` answers ``question``? ``answer`` counts from 0; ``subtitles`` may be one plain text."""

    question: str
    options: tuple[str, ...] = Field(min_length=1, max_length=26)
    answer: int = Field(ge=0)
    subtitles: tuple[Subtitle, ...] = ()

    @field_validator("subtitles", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return ({"text": value},) if value.strip() else ()
        return value


def choice_fields(sample: ChoiceSample) -> dict[str, str]:
    """``question``, ``options`` and ``subtitles`` (empty without any), as a prompt shows them."""
    spoken = "\n".join(subtitle.line() for subtitle in sample.subtitles)
    return {
        "question": sample.question.strip(),
        "options": "\n".join(f"{letter(n)}. {option.strip()}" for n, option in enumerate(sample.options)),
        "subtitles": f"Subtitles:\n{spoken}\n" if spoken else "",
    }


def choice_problems(sample: ChoiceSample) -> list[str]:
    """An answer that is not among the options."""
    count = len(sample.options)
    return [] if sample.answer < count else [f"answer {sample.answer} is not among the {count} options"]


def choice_baselines(samples: Sequence[ChoiceSample]) -> dict[str, list[int]]:
    """The letter that is right most often on these very items, and the longest option of each."""
    if not samples:
        return {}
    most_common = Counter(sample.answer for sample in samples).most_common(1)[0][0]
    lengths = [[len(option) for option in sample.options] for sample in samples]
    return {
        "most common letter": [most_common] * len(samples),
        "longest option": [mine.index(max(mine)) for mine in lengths],
    }


def with_phrases(
    rows: Sequence[dict[str, float] | None],
    graded: Sequence[Graded[Any, Any]],
    options: Sequence[int | None],
    form: ReplyForm,
) -> list[dict[str, float] | None]:
    """``rows`` with a second accuracy, if any reply without an option (None in ``options``) names one in a phrase.

    ``The answer is B.`` names no option in the score of record. Models that do not know our form differ by many
    points between the two readings, so both are reported.
    """
    read = [
        find_option(form.find(item.reply, "answer") or "", item.sample.options) if option is None else option
        for item, option in zip(graded, options, strict=True)
    ]
    if read == list(options):
        return list(rows)
    return [
        None if row is None else row | {WITH_PHRASES: float(option == item.sample.answer)}
        for row, item, option in zip(rows, graded, read, strict=True)
    ]


def right_option(sample: ChoiceSample) -> str:
    """The text of the right option; empty where the answer names none."""
    return str(sample.options[sample.answer]) if sample.answer < len(sample.options) else ""
