"""From measurements to a table: means over seeds with their intervals, and a verdict on each claim.

The rule is fixed before a run. Intervals join the spread over videos and over seeds (``statistics.over_runs``). A
claim that A is better than B *holds* if the 95% interval of the paired difference A − B lies above 0, *does not
hold* if it lies below, and *cannot be told* otherwise. A claim that A does not harm moves 0 down by its margin. A
claim about several figures holds if it holds for each, and does not hold if it does not for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from timesight.artifacts import ClaimFigure, ClaimResult, RowResult, TableResult, Verdict
from timesight.evaluation.compare import compare
from timesight.reproduce.runs import Measured
from timesight.reproduce.settings import Claim
from timesight.reproduce.tables import Table
from timesight.statistics import Interval, over_runs

Found = Mapping[str, Mapping[str, Sequence[Measured]]]  # by row and measurement, one for each seed


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
        measurements=table.measurements(),
        num_seeds=num_seeds,
        rows=tuple(_row(table, name, found[name]) for name in table.rows),
        baselines=tuple(_baselines(table, found)),
        claims=tuple(claim_result(claim, table, found) for claim in table.claims),
    )


def claim_result(claim: Claim, table: Table, found: Found) -> ClaimResult:
    """The verdict on ``claim``, by the rule of this module."""
    rows, figures = table.rows, []
    for other in claim.than:
        for figure in claim.figures:
            name, _, metric = figure.rpartition("/")
            difference = paired(found[other][name], found[claim.better][name], metric)
            figures.append(
                ClaimFigure(
                    better=rows[claim.better].row,
                    than=rows[other].row,
                    figure=figure,
                    difference=difference.mean,
                    interval=(difference.low, difference.high),
                    verdict=_verdict(difference, claim.margin),
                )
            )
    verdict = _all_of([one.verdict for one in figures])
    return ClaimResult(claim=claim.says, verdict=verdict, margin=claim.margin, figures=tuple(figures))


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
        name=row.row,
        metrics={key: figure.mean for key, figure in figures.items()},
        intervals={key: (figure.low, figure.high) for key, figure in figures.items()},
        paper=paper,
    )


def _baselines(table: Table, found: Found) -> list[RowResult]:
    """The video-blind baselines, by their names."""
    baselines: dict[str, dict[str, float]] = {}
    for name, metrics in table.measurements().items():
        measured = next(of_row[name][0] for of_row in found.values() if name in of_row)
        for answer, row in measured.figures.baselines.items():
            shown = {f"{name}/{metric}": row[metric] for metric in metrics if metric in row}
            baselines[answer] = baselines.get(answer, {}) | shown
    return [RowResult(name=name, metrics=metrics) for name, metrics in baselines.items() if metrics]


def _interval(measured: Measured, metric: str) -> Interval:
    low, high = measured.figures.intervals[metric]
    blank = float("nan")  # with fewer than two videos
    return Interval(
        measured.figures.metrics[metric], blank if low is None else low, blank if high is None else high
    )
