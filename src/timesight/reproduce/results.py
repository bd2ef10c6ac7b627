"""From measurements to a table: means over seeds with their intervals, and a verdict on each claim.

The rule is fixed before a run. Intervals join the spread over videos and over seeds (``statistics.over_runs``). A
claim that A is better than B *holds* if the 95% interval of the paired difference A − B lies above 0, *does not
hold* if it lies below, and *cannot be told* otherwise. A claim that A does not harm moves 0 down by its margin. A
claim about several figures holds if it holds for each, and does not hold if it does not for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from timesight.evaluation.compare import compare
from timesight.reproduce.runs import Measured
from timesight.reproduce.settings import Claim
from timesight.reproduce.tables import Table
from timesight.statistics import Interval, over_runs

Verdict = Literal["holds", "does not hold", "cannot be told"]
Found = Mapping[str, Mapping[str, Sequence[Measured]]]  # by row and measurement, one for each seed


@dataclass(frozen=True)
class RowResult:
    """A row: figures by ``measurement/metric``.

    Args:
        name: What the paper calls it; of a video-blind baseline, what it answers.
        metrics: Means over the seeds.
        intervals: 95% intervals; none of baselines.
        paper: The paper's figures, None where it has none.
    """

    name: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    paper: dict[str, float | None]


@dataclass(frozen=True)
class Comparison:
    """One figure of a claim: the paired difference ``better`` − ``than``."""

    better: str
    than: str
    figure: str
    difference: Interval
    verdict: Verdict


@dataclass(frozen=True)
class ClaimResult:
    """A claim with its verdict and what that rests on; ``margin`` is what the better one may lose."""

    claim: str
    verdict: Verdict
    margin: float
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class TableResult:
    """A table as it came out."""

    table: str
    title: str
    num_seeds: int
    rows: list[RowResult]
    baselines: list[RowResult]
    claims: list[ClaimResult]

    def to_json(self) -> dict[str, Any]:
        """The content of ``tableN.json``."""
        return asdict(self)


def table_result(table: Table, found: Found, num_seeds: int) -> TableResult:
    """Make the table of what was measured.

    Args:
        table: Its rows and claims.
        found: What was measured for each row, by file name, and measurement.
        num_seeds: Of the trained rows.
    """
    return TableResult(
        table=table.name,
        title=table.title,
        num_seeds=num_seeds,
        rows=[_row(table, name, found[name]) for name in table.rows],
        baselines=_baselines(table, found),
        claims=[claim_result(claim, table, found) for claim in table.claims],
    )


def claim_result(claim: Claim, table: Table, found: Found) -> ClaimResult:
    """The verdict on ``claim``, by the rule of this module."""
    comparisons = []
    for other in claim.than:
        for figure in claim.figures:
            name, _, metric = figure.rpartition("/")
            difference = paired(found[other][name], found[claim.better][name], metric)
            verdict = _verdict(difference, claim.margin)
            rows = table.rows
            comparisons.append(Comparison(rows[claim.better].row, rows[other].row, figure, difference, verdict))
    verdict = _all_of([one.verdict for one in comparisons])
    return ClaimResult(claim.says, verdict, claim.margin, tuple(comparisons))


def paired(a: Sequence[Measured], b: Sequence[Measured], metric: str) -> Interval:
    """The paired difference b − a of a metric, over items and seeds; a model that is not trained has one seed."""
    runs = max(len(a), len(b))
    pairs = [(a[n % len(a)], b[n % len(b)]) for n in range(runs)]
    differences = [
        compare(one.items, other.items, protocol=other.protocol).parts[0].metrics[metric] for one, other in pairs
    ]
    return over_runs([Interval(found.difference, found.low, found.high) for found in differences])


def _verdict(difference: Interval, margin: float) -> Verdict:
    if difference.low > -margin:
        return "holds"
    return "does not hold" if difference.high < -margin else "cannot be told"


def _all_of(verdicts: Sequence[Verdict]) -> Verdict:
    if "does not hold" in verdicts:
        return "does not hold"
    return "cannot be told" if "cannot be told" in verdicts else "holds"


def _row(table: Table, name: str, found: Mapping[str, Sequence[Measured]]) -> RowResult:
    row = table.rows[name]
    figures: dict[str, Interval] = {}
    paper: dict[str, float | None] = {}
    for measurement in row.evaluate:
        for metric, said in measurement.metrics.items():
            key = f"{measurement.name}/{metric}"
            figures[key] = over_runs([_interval(measured, metric) for measured in found[measurement.name]])
            paper[key] = said
    return RowResult(
        row.row,
        {key: figure.mean for key, figure in figures.items()},
        {key: (figure.low, figure.high) for key, figure in figures.items()},
        paper,
    )


def _baselines(table: Table, found: Found) -> list[RowResult]:
    """What answers that look at no video reach, by their names."""
    baselines: dict[str, dict[str, float]] = {}
    for name, metrics in table.measurements().items():
        measured = next(of_row[name][0] for of_row in found.values() if name in of_row)
        for answer, row in measured.figures.baselines.items():
            shown = {f"{name}/{metric}": row[metric] for metric in metrics if metric in row}
            baselines[answer] = baselines.get(answer, {}) | shown
    return [RowResult(name, metrics, {}, {}) for name, metrics in baselines.items() if metrics]


def _interval(measured: Measured, metric: str) -> Interval:
    low, high = measured.figures.intervals[metric]
    blank = float("nan")  # with fewer than two videos
    return Interval(
        measured.figures.metrics[metric], blank if low is None else low, blank if high is None else high
    )
