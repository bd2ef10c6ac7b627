"""From measurements to a table: means over seeds with their intervals, and a verdict on each claim.

The rule is fixed before a run. Intervals join the variance over videos and over seeds (``statistics.over_runs``). A
claim that A is better than B *holds* if the 95% interval of the paired difference A − B lies above 0, *does not
hold* if it lies below, and *cannot be told* otherwise. A claim that A does not harm moves 0 down by its margin. A
claim that A and B are alike holds if the interval lies within the margin on both sides, and does not hold if it
lies outside. A claim about several figures holds if it holds for each, and does not hold if it does not for one. A
claim about a row that is missing cannot be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import fmean

from timesight.artifacts import DAMAGES, ClaimFigure, ClaimResult, RowResult, TableResult, Verdict
from timesight.evaluation.compare import Comparison, compare
from timesight.reproduce.measured import Found, Measured
from timesight.reproduce.settings import Claim
from timesight.reproduce.tables import Table
from timesight.statistics import Interval, over_runs

Runs = Mapping[int | None, Measured]  # by seed; None: nothing is trained


def table_result(table: Table, found: Found, num_seeds: int, problems: Sequence[str] = ()) -> TableResult:
    """Make the table of what was measured.

    Args:
        table: Its rows and claims.
        found: What was measured for each row, by file name, and for each baseline that a claim names.
        num_seeds: Of the trained rows.
        problems: Why rows are missing, or seeds of a row.
    """
    return TableResult(
        table=table.name,
        title=table.title,
        measurements=table.measurements(),
        num_seeds=num_seeds,
        rows=tuple(_row(table, name, found[name]) for name in table.rows if found.get(name)),
        baselines=tuple(_baselines(table, found)),
        claims=tuple(claim_result(claim, table, found) for claim in table.claims),
        problems=tuple(problems),
    )


def claim_result(claim: Claim, table: Table, found: Found) -> ClaimResult:
    """The verdict on ``claim``, by the rule of this module."""
    rows = table.rows
    names = {other: rows[other].row for other in claim.than} | {other: other for other in claim.above}
    figures = []
    for other, name in names.items():
        for figure in claim.figures:
            measured, _, metric = figure.rpartition("/")
            comparisons = _comparisons(*(found.get(one, {}).get(measured, {}) for one in (other, claim.better)))
            if not comparisons:
                continue
            difference = _difference(comparisons, metric)
            figures.append(
                ClaimFigure(
                    better=rows[claim.better].row,
                    than=name,
                    figure=figure,
                    difference=difference.mean,
                    interval=(difference.low, difference.high),
                    verdict=_verdict(difference, claim),
                    num_unshared=max(one.only_a + one.only_b for one in comparisons),
                )
            )
    return ClaimResult(
        claim=claim.says,
        verdict=_all_of([one.verdict for one in figures], len(names) * len(claim.figures)),
        margin=claim.margin,
        alike=claim.alike,
        ours=claim.ours,
        figures=tuple(figures),
    )


def _comparisons(a: Runs, b: Runs) -> list[Comparison]:
    """``a`` and ``b`` seed by seed, as far as both have them; what is not trained goes with every seed."""
    if None in a or None in b:
        pairs = [(one, other) for one in a.values() for other in b.values()]
    else:
        pairs = [(a[seed], b[seed]) for seed in a if seed in b]
    return [_compared(one, other) for one, other in pairs]


@lru_cache(maxsize=1024)  # claims share rows, and a table is made after each seed
def _compared(a: Measured, b: Measured) -> Comparison:
    return compare(a.items, b.items, protocol=b.protocol)


def _difference(comparisons: Sequence[Comparison], metric: str) -> Interval:
    """The paired difference b − a of a metric, over items and seeds."""
    differences = [comparison.parts[0].metrics[metric] for comparison in comparisons]
    return over_runs([Interval(found.difference, found.low, found.high) for found in differences])


def _verdict(difference: Interval, claim: Claim) -> Verdict:
    margin = claim.margin
    if difference.low > -margin and (not claim.alike or difference.high < margin):
        return "holds"
    if difference.high < -margin or (claim.alike and difference.low > margin):
        return "does not hold"
    return "cannot be told"


def _all_of(verdicts: Sequence[Verdict], num_figures: int) -> Verdict:
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if verdicts.count("holds") == num_figures else "cannot be told"


def _row(table: Table, name: str, found: Mapping[str, Runs]) -> RowResult:
    row = table.rows[name]
    figures: dict[str, Interval] = {}
    paper: dict[str, float | None] = {}
    damages: dict[str, dict[str, float]] = {damage: {} for damage in DAMAGES}
    for measurement in row.evaluate:
        runs = list(found[measurement.name].values())
        for damage, shares in damages.items():
            shares[measurement.name] = fmean(getattr(run, damage) for run in runs)
        for metric, said in measurement.metrics.items():
            key = f"{measurement.name}/{metric}"
            figures[key] = over_runs([_interval(run, metric) for run in runs])
            paper[key] = said
    return RowResult(
        name=row.row,
        metrics={key: figure.mean for key, figure in figures.items()},
        intervals={key: (figure.low, figure.high) for key, figure in figures.items()},
        paper=paper,
        **damages,
    )


def _baselines(table: Table, found: Found) -> list[RowResult]:
    """The video-blind baselines, by their names, of all rows: another way of asking has others."""
    baselines: dict[str, dict[str, float]] = {}
    for name, metrics in table.measurements().items():
        for runs in (found[row][name] for row in table.rows if name in found.get(row, {})):
            measured = next(iter(runs.values()))  # the same for every seed
            for answer, figures in measured.figures.baselines.items():
                mine = baselines.setdefault(answer, {})
                for metric in metrics:
                    if metric in figures:
                        mine.setdefault(f"{name}/{metric}", figures[metric])
    return [RowResult(name=name, metrics=metrics) for name, metrics in baselines.items() if metrics]


def _interval(measured: Measured, metric: str) -> Interval:
    low, high = measured.figures.intervals[metric]
    blank = float("nan")  # with fewer than two videos
    return Interval(
        measured.figures.metrics[metric], blank if low is None else low, blank if high is None else high
    )
