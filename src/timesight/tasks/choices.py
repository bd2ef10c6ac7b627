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
    """A subtitle from ``start_s`` to ``end_s``, in seconds from the start of the file; None if unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    start_s: float | None = None
    end_s: float | None = None

    def line(self) -> str:
        """The subtitle as a line of the prompt, with its times if both are known."""
        if self.start_s is None or self.end_s is None:
            return self.text.strip()
        return f"{self.start_s:.1f} to {self.end_s:.1f}: {self.text.strip()}"


class ChoiceSample(Sample):
    """Which of ``options`` answers ``question``? ``answer`` is an index from 0; ``subtitles`` may be one text."""

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
    """The template fields ``question``, ``options`` (one lettered line each) and ``subtitles`` (may be empty)."""
    spoken = "\n".join(subtitle.line() for subtitle in sample.subtitles)
    return {
        "question": sample.question.strip(),
        "options": "\n".join(f"{letter(n)}. {option.strip()}" for n, option in enumerate(sample.options)),
        "subtitles": f"Subtitles:\n{spoken}\n" if spoken else "",
    }


def choice_problems(sample: ChoiceSample) -> list[str]:
    """Why the sample cannot be used: its answer is not among the options; empty if it is."""
    count = len(sample.options)
    return [] if sample.answer < count else [f"answer {sample.answer} is not among the {count} options"]


def choice_baselines(samples: Sequence[ChoiceSample]) -> dict[str, list[int]]:
    """Video-blind answers: the letter that is right most often on these samples, and each sample's longest option.

    Returns:
        For each baseline, by name, one option index per sample; empty without samples.
    """
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
    """Add an accuracy that also accepts options named in a phrase, if any reply names one so.

    ``The answer is B.`` names no option for the main accuracy. Models that do not know our form differ by many
    points between the two accuracies, so both are reported.

    Args:
        rows: Metrics of N items.
        graded: The items.
        options: Option index parsed from each reply; None where the reply names none.
        form: Form of the replies.

    Returns:
        ``rows`` with ``accuracy_with_phrases`` in each that is not None; unchanged if no phrase names an option.
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
    """Text of the right option; empty if the answer is not among the options."""
    return str(sample.options[sample.answer]) if sample.answer < len(sample.options) else ""
