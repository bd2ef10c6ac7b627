"""What ``timesight reproduce`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from timesight.artifacts.records import Interval, Metrics, Record
from timesight.errors import InputError
from timesight.files import json_content, json_text, read_text, write_text

TABLE_FILE = "table.json"

FEW_REPLIES = 0.01  # of a measurement, not worth a note
DAMAGES = {
    "unparsable": "unparsable",
    "truncated": "cut off",
    "unscored": "not scored",
    "unread": "without a reply",
}
Verdict = Literal["holds", "does not hold", "cannot be told"]


class RowResult(Record):
    """A row of a table: figures by ``measurement/metric``.

    Args:
        name: What the paper calls it; of a video-blind baseline, what it answers.
        metrics: Means over the seeds.
        intervals: 95% intervals; none of baselines.
        paper: The paper's figures, None where it has none.
        unparsable: By measurement, the share of the replies that no answer could be read from.
        truncated: By measurement, the share of the replies that were cut off.
        unscored: By measurement, the share of the items that were not scored.
        unread: By measurement, the share of the items without a reply, as of a video that cannot be read.
    """

    name: str
    metrics: Metrics
    intervals: dict[str, Interval] = Field(default_factory=dict)
    paper: dict[str, float | None] = Field(default_factory=dict)
    unparsable: Metrics = Field(default_factory=dict)
    truncated: Metrics = Field(default_factory=dict)
    unscored: Metrics = Field(default_factory=dict)
    unread: Metrics = Field(default_factory=dict)

    def has(self, measurement: str) -> bool:
        """Whether it has a figure of ``measurement``."""
        return any(key.rpartition("/")[0] == measurement for key in self.metrics)

    def damage(self, measurement: str) -> str:
        """Which of the items of ``measurement`` say nothing about the model, if they are over one in a hundred."""
        shares = {what: getattr(self, name).get(measurement, 0.0) for name, what in DAMAGES.items()}
        return ", ".join(f"{share:.0%} {what}" for what, share in shares.items() if share > FEW_REPLIES)


class ClaimFigure(Record):
    """One figure of a claim: the paired difference ``better`` − ``than``, with its 95% interval.

    Args:
        num_unshared: Items that only one of the two has a figure for; they are not compared.
    """

    better: str
    than: str
    figure: str
    difference: float
    interval: Interval
    verdict: Verdict
    num_unshared: int = 0


class ClaimResult(Record):
    """A claim with its verdict and what that rests on.

    Args:
        margin: What the better one may lose; of a claim that rows are ``alike``, what they may differ by.
        ours: The paper does not say so.
        figures: Without those of a row that is missing.
    """

    claim: str
    verdict: Verdict
    margin: float
    alike: bool = False
    ours: bool = False
    figures: tuple[ClaimFigure, ...]

    def allowance(self) -> str:
        """What the margin allows, in words."""
        return f"{'they may differ by' if self.alike else 'it may lose'} {100 * self.margin:g}"

    def notes(self) -> list[str]:
        """What to say next to the claim: its margin, if it has one, and that it is not the paper's."""
        return [self.allowance()] * bool(self.margin) + ["not in the paper"] * self.ours


class TableResult(Record):
    """One of the paper's tables as it came out.

    Args:
        table: Its name, such as ``table3``.
        title: What it is about.
        measurements: The metrics of each group of columns, by its name.
        num_seeds: Models trained for each row.
        rows: In their order, without those that could not be measured.
        baselines: The video-blind ones.
        claims: What is said about the rows.
        problems: Rows that could not be trained or measured, and why.
    """

    table: str
    title: str
    measurements: dict[str, list[str]]
    num_seeds: int
    rows: tuple[RowResult, ...]
    baselines: tuple[RowResult, ...]
    claims: tuple[ClaimResult, ...]
    problems: tuple[str, ...] = ()

    def in_paper(self, measurement: str, metric: str) -> bool:
        """Whether the paper has a figure of some row."""
        return any(row.paper.get(f"{measurement}/{metric}") is not None for row in self.rows)

    def floor(self, measurement: str, metric: str) -> float | None:
        """The best figure of a video-blind baseline; None if none has one."""
        key = f"{measurement}/{metric}"
        return max((row.metrics[key] for row in self.baselines if key in row.metrics), default=None)


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
