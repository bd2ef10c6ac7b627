"""What an evaluation writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer

from timesight.artifacts.records import Interval, Metrics, Record, numbered_records
from timesight.errors import InputError
from timesight.files import json_content, json_text, read_text, write_text

REPLIES_FILE = "replies.jsonl"
ITEMS_FILE = "items.jsonl"
RESULT_FILE = "result.json"
SETTINGS_FILE = "eval.json"

Pairs = tuple[tuple[float, float], ...]


class ReplyEntry(Record):
    """A reply to an item of an evaluation.

    Args:
        question: A digest of what was asked; None in replies that another program wrote.
        truncated: Whether the reply reached the limit of new tokens.
        passes: The passes over the video, where there was more than one.
        note: Why there were no further passes.
    """

    noun: ClassVar[str] = "reply"
    model_config = ConfigDict(extra="allow")

    id: str
    reply: str
    question: str | None = None
    truncated: bool = False
    passes: tuple[dict[str, Any], ...] = ()
    note: str = ""

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: Any) -> dict[str, Any]:
        fields: dict[str, Any] = write(self)
        return {name: value for name, value in fields.items() if name == "id" or value not in (None, False, (), "")}


class Spans(BaseModel):
    """True spans and those that the answer names: ``[start_s, end_s]`` in seconds as they were written."""

    model_config = ConfigDict(extra="forbid")

    truth: Pairs = ()
    answer: Pairs = ()


class ItemEntry(Record):
    """One item of an evaluation.

    Args:
        duration_s: Of the whole video; None if it is not known.
        parsed: Whether the reply has an answer.
        groups: By key of a breakdown, the item's values.
        metrics: By protocol; None for an item that was not judged, or that the protocol leaves out.
        weights: By protocol, the item's weight in the means.
        data: A digest of question and truth.
    """

    noun: ClassVar[str] = "item"

    id: str
    task: str
    video: str | dict[str, Any]
    duration_s: float | None = None
    question: str
    options: tuple[str, ...] = ()
    truth: str
    reply: str
    parsed: bool
    spans: Spans
    groups: dict[str, tuple[str, ...]]
    metrics: dict[str, Metrics | None]
    weights: dict[str, float]
    data: str

    @property
    def video_path(self) -> str:
        """Path of the file, without the window."""
        return str(self.video["path"]) if isinstance(self.video, dict) else self.video

    @property
    def first_metric(self) -> tuple[str, float] | None:
        """Name and value of the first metric under the first protocol; None where there is none."""
        row = next(iter(self.metrics.values()), None)
        return next(iter(row.items()), None) if row else None


class PartFigures(BaseModel):
    """Metrics over the items that share one value of a breakdown's key."""

    num_items: int
    num_videos: int
    metrics: Metrics
    intervals: dict[str, Interval]


class ProtocolFigures(BaseModel):
    """Metrics by one protocol, with 95% intervals and video-blind baselines.

    Args:
        intervals: By metric.
        few_videos: By metric, the number of videos behind an interval that rests on few (``statistics.are_few``).
        baselines: Metrics by baseline.
        breakdowns: By key, such as ``duration``, and by its value.
    """

    metrics: Metrics
    intervals: dict[str, Interval]
    few_videos: dict[str, int] = Field(default_factory=dict)
    baselines: dict[str, Metrics] = Field(default_factory=dict)
    breakdowns: dict[str, dict[str, PartFigures]] = Field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The figures as ``--json`` prints them; ``breakdowns`` is left out if empty."""
        return self.model_dump(exclude=None if self.breakdowns else {"breakdowns"})


class PaperFigures(BaseModel):
    """What the paper reports for a suite.

    Args:
        protocol: The protocol by which the paper scores; None if it reports nothing.
        rows: Metrics by model.
        parts: Metrics by key and value of a breakdown, and by model.
    """

    protocol: str | None = None
    rows: dict[str, Metrics] = Field(default_factory=dict)
    parts: dict[str, dict[str, dict[str, Metrics]]] = Field(default_factory=dict)


class Result(Record):
    """The results of an evaluation by protocol; further keys hold its settings (``EvalSettings``)."""

    model_config = ConfigDict(extra="allow")

    suite: str
    num_truncated: int = 0
    num_unscored: int = 0
    num_quarantined: int = 0
    results: dict[str, ProtocolFigures]
    paper: PaperFigures = PaperFigures()


class EvalSettings(Record):
    """The settings that replies depend on: suite, model with its weights, mode, sampling, frames."""

    model_config = ConfigDict(extra="allow")


def read_items(folder: Path) -> dict[str, ItemEntry]:
    """Read the items of an evaluation, by id.

    Args:
        folder: The ``--out`` of the evaluation.

    Raises:
        InputError: If the folder holds no finished evaluation, or a line is no item.
    """
    file = folder / ITEMS_FILE
    if not file.is_file():
        raise _unfinished(folder)
    again = "run the same timesight eval again"
    return {item.id: item for _, item in numbered_records(file, ItemEntry, again)}


def read_result(folder: Path) -> Result:
    """Read the results of an evaluation.

    Args:
        folder: The ``--out`` of the evaluation.

    Raises:
        InputError: If the folder holds no finished evaluation, or its results are invalid.
    """
    file = folder / RESULT_FILE
    if not file.is_file():
        raise _unfinished(folder)
    try:
        return Result.model_validate(json_content(read_text(file), file))
    except ValidationError:
        raise InputError(f"{file}: holds no results of timesight eval") from None


def write_result(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the results of an evaluation atomically, with null for NaN and infinity.

    Args:
        folder: The ``--out`` of the evaluation.
        content: The fields of a ``Result``.

    Raises:
        InputError: If the file cannot be written.
    """
    Result.model_validate(content)
    write_text(folder / RESULT_FILE, json_text(content, indent=1))


def _unfinished(folder: Path) -> InputError:
    """The error for a folder without a finished evaluation."""
    return InputError(f"{folder}: holds no finished evaluation (no {ITEMS_FILE}); give the --out of timesight eval")
