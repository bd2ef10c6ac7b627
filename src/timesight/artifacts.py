"""Schemas of the files in a run directory, shared by the code that writes and the code that reads them.

    recipe.yaml         of a training run: its recipe, every default written out
    metrics.jsonl       MetricsEntry     one line per step, and one per validation
    completions/*.jsonl CompletionEntry  one line per sampled reply
    quarantine.jsonl    QuarantineEntry  one line per video that cannot be read
    preview.jsonl       PreviewEntry     one line per prompt that the untrained model replied to
    replies.jsonl       ReplyEntry       of an evaluation: one line per item
    items.jsonl         ItemEntry        what each item scored
    result.json         Result           the metrics
    eval.json           EvalSettings     the settings that the replies depend on

``version`` is the version of a record's schema; a record without one has version 1.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer

from timesight.errors import InputError
from timesight.files import json_content, json_text, read_text, text_lines, write_text

METRICS_FILE = "metrics.jsonl"
COMPLETIONS_DIR = "completions"
QUARANTINE_FILE = "quarantine.jsonl"
PREVIEW_FILE = "preview.jsonl"
REPLIES_FILE = "replies.jsonl"
ITEMS_FILE = "items.jsonl"
RESULT_FILE = "result.json"
TABLE_FILE = "table.json"
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
    """Metrics of one step; those of a validation have no ``loss``. docs/training.md lists the names."""

    model_config = ConfigDict(extra="allow")

    step: int

    @property
    def metrics(self) -> Metrics:
        """All metrics by name; those that are null in the file are left out."""
        return {name: value for name, value in (self.model_extra or {}).items() if value is not None}


class CompletionEntry(Record):
    """A sampled reply, with its reward components (None: not judged) and its advantage.

    Args:
        first_look: The reply that chose the ``segments`` of a second look, after which ``reply`` was given.
        segments: In seconds from the start of the file.
    """

    id: str
    reply: str
    first_look: str | None = None
    segments: tuple[tuple[float, float], ...] | None = None
    rewards: dict[str, float | None]
    advantage: float


class QuarantineEntry(Record):
    """A video that cannot be read, and the reason."""

    path: str
    reason: str


class PreviewEntry(Record):
    """What a group of replies of the untrained model earned.

    Args:
        settings: A digest of the settings that the replies depend on.
        rewards: Of each reply; None where it was not judged.
        components: Of each reply.
        num_truncated: Replies that reached the limit of new tokens.
    """

    id: str
    task: str
    settings: str
    rewards: tuple[float | None, ...]
    components: tuple[dict[str, float | None], ...]
    num_truncated: int

    @property
    def mean_reward(self) -> float | None:
        """The mean of those that were judged; None where there are none."""
        judged = self._judged()
        return statistics.fmean(judged) if judged else None

    @property
    def reward_std(self) -> float:
        """Their unbiased standard deviation; 0 for fewer than two."""
        judged = self._judged()
        return statistics.stdev(judged) if len(judged) > 1 else 0.0

    def _judged(self) -> list[float]:
        return [reward for reward in self.rewards if reward is not None]


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
    results: dict[str, ProtocolFigures]
    paper: PaperFigures = PaperFigures()


Verdict = Literal["holds", "does not hold", "cannot be told"]


class RowResult(Record):
    """A row of a table: figures by ``measurement/metric``.

    Args:
        name: What the paper calls it; of a video-blind baseline, what it answers.
        metrics: Means over the seeds.
        intervals: 95% intervals; none of baselines.
        paper: The paper's figures, None where it has none.
    """

    name: str
    metrics: Metrics
    intervals: dict[str, Interval] = Field(default_factory=dict)
    paper: dict[str, float | None] = Field(default_factory=dict)


class ClaimFigure(Record):
    """One figure of a claim: the paired difference ``better`` − ``than``, with its 95% interval."""

    better: str
    than: str
    figure: str
    difference: float
    interval: Interval
    verdict: Verdict


class ClaimResult(Record):
    """A claim with its verdict and what that rests on; ``margin`` is what the better one may lose."""

    claim: str
    verdict: Verdict
    margin: float
    figures: tuple[ClaimFigure, ...]


class TableResult(Record):
    """One of the paper's tables as it came out.

    Args:
        table: Its name, such as ``table3``.
        title: What it is about.
        measurements: The metrics of each group of columns, by its name.
        num_seeds: Models trained for each row.
        rows: In their order.
        baselines: What answers that look at no video reach.
        claims: What the paper says about the rows.
    """

    table: str
    title: str
    measurements: dict[str, list[str]]
    num_seeds: int
    rows: tuple[RowResult, ...]
    baselines: tuple[RowResult, ...]
    claims: tuple[ClaimResult, ...]


class EvalSettings(Record):
    """The settings that replies depend on: suite, model with its weights, mode, sampling, frames."""

    model_config = ConfigDict(extra="allow")


R = TypeVar("R", bound=Record)


def write_records(file: Path, records: Iterable[Record]) -> None:
    """Write JSONL atomically.

    Raises:
        InputError: If the file cannot be written.
    """
    write_text(file, "".join(line_of(record) for record in records))


def append_record(file: Path, record: Record, before: str = "") -> None:
    """Append a line to JSONL; the file and its folder are created as needed.

    Args:
        file: JSONL.
        record: The line.
        before: Written first, such as a newline after a line that was cut off.

    Raises:
        OSError: If the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        out.write(before + line_of(record))


def drop_torn_line(file: Path) -> None:
    """Remove a last line of JSONL that a kill cut off; a missing file has none."""
    if file.is_file() and not (content := file.read_bytes()).endswith(b"\n") and content:
        write_text(file, content[: content.rfind(b"\n") + 1].decode())


def line_of(record: Record) -> str:
    """Format ``record`` as a line of JSONL, newline included, with null for NaN and infinity."""
    return json_text(record.model_dump(mode="python")) + "\n"


def read_records(
    file: Path, kind: type[R], again: str = "run the command that wrote it again", *, growing: bool = False
) -> list[R]:
    """Read the records of a JSONL file; a missing file has none.

    Args:
        file: JSONL.
        kind: Schema of its records.
        again: For the error message: what to do about an invalid line.
        growing: Another process may be writing it: a last line without its newline is left out.

    Raises:
        InputError: If a line is no such record; the message names file and line.
    """
    if not file.is_file():
        return []
    num_lines = file.read_bytes().count(b"\n") if growing else None
    return [record for _, record in islice(_numbered(file, kind, again), num_lines)]


def _numbered(file: Path, kind: type[R], again: str) -> Iterator[tuple[int, R]]:
    for number, line in text_lines(file):
        try:
            yield number, kind.model_validate(json.loads(line, parse_constant=lambda name: None))
        except (ValueError, RecursionError):  # cut off by a kill, or written by another version
            raise InputError(f"{file} line {number}: is no whole {kind.noun} of this version; {again}") from None


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
    return {item.id: item for _, item in _numbered(file, ItemEntry, again)}


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


def read_table_result(folder: Path) -> TableResult:
    """Read what ``timesight reproduce`` found for a table.

    Args:
        folder: Of the table.

    Raises:
        InputError: If the folder holds no table, or an invalid one.
    """
    file = folder / TABLE_FILE
    try:
        return TableResult.model_validate(json_content(read_text(file), file))
    except ValidationError:
        raise InputError(f"{file}: holds no table of timesight reproduce") from None


def write_table_result(folder: Path, table: TableResult) -> None:
    """Write what was found for a table atomically, with null for NaN. Raises InputError if that cannot be done."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / TABLE_FILE, json_text(table.model_dump(), indent=1))


def _unfinished(folder: Path) -> InputError:
    """The error for a folder without a finished evaluation."""
    return InputError(f"{folder}: holds no finished evaluation (no {ITEMS_FILE}); give the --out of timesight eval")
