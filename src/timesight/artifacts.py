"""The files of a run directory as records: what writes them and what reads them share these.

    recipe.yaml         of a training run: its recipe, every default written out
    metrics.jsonl       MetricsEntry     a line a step, and a line a validation
    completions/*.jsonl CompletionEntry  a line a sampled reply
    quarantine.jsonl    QuarantineEntry  a line a video that cannot be read
    replies.jsonl       ReplyEntry       of an evaluation: a line an item
    items.jsonl         ItemEntry        what each item scored
    result.json         Result           the figures
    eval.json           EvalSettings     what the replies are replies to

``version`` is that of a record's form; a record without one is of the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer

from timesight.errors import InputError
from timesight.files import json_content, json_text, read_text, text_lines, write_text

METRICS_FILE = "metrics.jsonl"
COMPLETIONS_DIR = "completions"
QUARANTINE_FILE = "quarantine.jsonl"
REPLIES_FILE = "replies.jsonl"
ITEMS_FILE = "items.jsonl"
RESULT_FILE = "result.json"
SETTINGS_FILE = "eval.json"

Pairs = tuple[tuple[float, float], ...]
Metrics = dict[str, float]
Interval = tuple[float | None, float | None]  # None where there is none, as for one video


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=True)

    noun: ClassVar[str] = "entry"
    version: Literal[1] = 1


class MetricsEntry(Record):
    """Metrics of one step; those of a validation have no ``loss``. Names are in docs/training.md."""

    model_config = ConfigDict(extra="allow")

    step: int

    @property
    def metrics(self) -> Metrics:
        """All numbers by name."""
        return {name: value for name, value in (self.model_extra or {}).items() if value is not None}


class CompletionEntry(Record):
    """A sampled reply. ``rewards`` are its reward components, None where one was not judged."""

    id: str
    reply: str
    rewards: dict[str, float | None]
    advantage: float


class QuarantineEntry(Record):
    """A video that cannot be read."""

    path: str
    reason: str


class ReplyEntry(Record):
    """A reply to an item. ``question`` is a digest of what was asked, absent in replies made elsewhere."""

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
    """True spans and those that the answer names, ``[start_s, end_s]`` as they were written."""

    model_config = ConfigDict(extra="forbid")

    truth: Pairs = ()
    answer: Pairs = ()


class ItemEntry(Record):
    """One item of an evaluation.

    Args:
        metrics: By protocol; None for an item that was not judged, or that the protocol leaves out.
        weights: By protocol, what the item counts in the means.
        groups: The item's values of each key that figures are broken down by.
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
        """The file, whatever part of it was shown."""
        return str(self.video["path"]) if isinstance(self.video, dict) else self.video

    @property
    def first_metric(self) -> tuple[str, float] | None:
        """Name and value of the first metric under the first protocol; None where there is none."""
        row = next(iter(self.metrics.values()), None)
        return next(iter(row.items()), None) if row else None


class PartFigures(BaseModel):
    """Figures over the items of one value of a breakdown."""

    num_items: int
    num_videos: int
    metrics: Metrics
    intervals: dict[str, Interval]


class ProtocolFigures(BaseModel):
    """Figures by one protocol: metrics with 95% intervals, and video-blind baselines.

    ``few_videos`` says on how many videos an interval rests that rests on few.
    """

    metrics: Metrics
    intervals: dict[str, Interval]
    few_videos: dict[str, int] = Field(default_factory=dict)
    baselines: dict[str, Metrics] = Field(default_factory=dict)
    breakdowns: dict[str, dict[str, PartFigures]] = Field(default_factory=dict)


class PaperFigures(BaseModel):
    """The paper's figures of a suite, by model; ``parts`` by key, value and model."""

    protocol: str | None = None
    rows: dict[str, Metrics] = Field(default_factory=dict)
    parts: dict[str, dict[str, dict[str, Metrics]]] = Field(default_factory=dict)


class Result(Record):
    """The figures of an evaluation, and in further keys how the model was asked (``EvalSettings``)."""

    model_config = ConfigDict(extra="allow")

    suite: str
    results: dict[str, ProtocolFigures]
    paper: PaperFigures = PaperFigures()


class EvalSettings(Record):
    """What replies are replies to: suite, model with its weights, mode, sampling, frames."""

    model_config = ConfigDict(extra="allow")


R = TypeVar("R", bound=Record)


def write_records(file: Path, records: Iterable[Record]) -> None:
    """Write JSONL, whole or not at all."""
    write_text(file, "".join(line_of(record) for record in records))


def append_record(file: Path, record: Record, before: str = "") -> None:
    """Add a line to JSONL, after ``before``."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.write(before + line_of(record))


def line_of(record: Record) -> str:
    """``record`` as a line of JSONL; numbers that are none become null, which is JSON."""
    return json_text(record.model_dump(mode="python")) + "\n"


def read_records(file: Path, kind: type[R], again: str = "run the command that wrote it again") -> list[R]:
    """The records of a JSONL file; empty where it is not there.

    Args:
        file: JSONL.
        kind: Of its records.
        again: What to do about a line that is none.

    Raises:
        InputError: With file and line of a line that is no such record.
    """
    return [record for _, record in _numbered(file, kind, again)] if file.is_file() else []


def _numbered(file: Path, kind: type[R], again: str) -> Iterator[tuple[int, R]]:
    for number, line in text_lines(file):
        try:
            yield number, kind.model_validate(json.loads(line, parse_constant=lambda name: None))
        except (ValueError, RecursionError):  # cut off by a kill, or written by another version
            raise InputError(f"{file} line {number}: is no whole {kind.noun} of this version; {again}") from None


def read_items(folder: Path) -> dict[str, ItemEntry]:
    """The items of an evaluation by id. Raises InputError where there are none, and for a line that is no item."""
    file = folder / ITEMS_FILE
    if not file.is_file():
        raise _unfinished(folder)
    again = "run the same timesight eval again"
    return {item.id: item for _, item in _numbered(file, ItemEntry, again)}


def read_result(folder: Path) -> Result:
    """The figures of an evaluation. Raises InputError where there are none."""
    file = folder / RESULT_FILE
    if not file.is_file():
        raise _unfinished(folder)
    try:
        return Result.model_validate(json_content(read_text(file), file))
    except ValidationError:
        raise InputError(f"{file}: holds no results of timesight eval") from None


def write_result(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the fields of a ``Result``, whole or not at all; numbers that are none become null, which is JSON."""
    Result.model_validate(content)
    write_text(folder / RESULT_FILE, json_text(content, indent=1))


def _unfinished(folder: Path) -> InputError:
    """The error for a folder that an evaluation has not been through."""
    return InputError(f"{folder}: holds no finished evaluation (no {ITEMS_FILE}); give the --out of timesight eval")
