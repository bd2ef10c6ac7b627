"""All figures of one protocol: metrics with their intervals, baselines, and breakdowns by parts of the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from timesight.artifacts import PartFigures, ProtocolFigures
from timesight.evaluation.items import group_values
from timesight.statistics import Floats, are_few, interval_95, limits_of, resampled_means
from timesight.tasks import Task
from timesight.tasks.aggregate import Row, aggregate, item_weights
from timesight.types import Sample


@dataclass(frozen=True)
class Scoring:
    """What is reported.

    Args:
        protocols: None: all protocols of the task.
        by: Keys of ``meta``, or fields of the samples, by which figures are broken down.
        average_over: A key of ``meta`` whose values all have the same weight in the means, whatever their number
            of items; None: the task's own.
        strict: Parse replies as for rewards: one that does not have exactly the form asked for is wrong.
    """

    protocols: tuple[str, ...] | None = None
    by: tuple[str, ...] = ()
    average_over: str | None = None
    strict: bool = False


EVERYTHING = Scoring()


def protocol_figures(
    task: Task[Any, Any],
    samples: Sequence[Sample],
    rows: Sequence[Row],
    protocol: str,
    scoring: Scoring,
    baselines: Mapping[str, Sequence[Row]],
) -> tuple[ProtocolFigures, list[float]]:
    """Compute all figures of one protocol.

    Metric and interval (``statistics.interval_95``; NaN with fewer than two videos) are of the same weighted mean.
    An item has the same weight in a breakdown as overall.

    Args:
        task: The task of all samples.
        samples: Items.
        rows: Metrics of each item; None for an item that is not scored.
        protocol: The protocol of ``rows``.
        scoring: Breakdowns and weights.
        baselines: The items' metrics for each baseline, by its name (``tasks.aggregate.baseline_rows``).

    Returns:
        The figures, and the weight of each item in the means: 0 for one that is not scored.
    """
    parts: dict[str, dict[str, list[int]]] = {key: {} for key in scoring.by}
    for index, sample in enumerate(samples):
        for key in scoring.by:
            for value in group_values(sample, key):
                parts[key].setdefault(value, []).append(index)
    weights = item_weights(task, samples, rows, protocol, scoring.average_over)

    def figures(indices: Sequence[int]) -> PartFigures:
        return _figures(
            task, [samples[n] for n in indices], [rows[n] for n in indices], [weights[n] for n in indices]
        )

    overall = figures(range(len(samples)))
    found = ProtocolFigures(
        metrics=overall.metrics,
        intervals=overall.intervals,
        few_videos=dict.fromkeys(overall.intervals, overall.num_videos) if are_few(overall.num_videos) else {},
        baselines={
            name: aggregate(task, mine, item_weights(task, samples, mine, protocol, scoring.average_over))
            for name, mine in baselines.items()
        },
        breakdowns={
            key: {value: figures(indices) for value, indices in sorted(values.items())}
            for key, values in parts.items()
            if len(values) > 1
        },
    )
    return found, weights


def derived(task: Task[Any, Any] | None, names: Sequence[str], means: Floats) -> dict[str, Floats]:
    """Return the benchmark's figures for each row of means: the means, and the metrics derived from them.

    A derived metric, such as F1 of mean precision and mean recall, is computed for each bootstrap draw, so that its
    interval is one of F1.

    Args:
        task: The task that derives metrics; None: none is derived.
        names: Names of the M metrics.
        means: (K, M), with K at least 1.

    Returns:
        Values (K,) of each metric, by name.
    """

    def figures(row: Sequence[float]) -> dict[str, float]:
        known = dict(zip(names, row, strict=True))
        return known if task is None else known | task.derived_metrics(known)

    more = [name for name in figures(means[0].tolist()) if name not in names]
    found: dict[str, Floats] = {name: means[:, n] for n, name in enumerate(names)}
    if more:
        rows = [figures(row) for row in means.tolist()]
        found |= {name: np.array([row[name] for row in rows]) for name in more}
    return found


def _figures(
    task: Task[Any, Any],
    samples: Sequence[Sample],
    rows: Sequence[Row],
    weights: Sequence[float],
) -> PartFigures:
    scored = [n for n, row in enumerate(rows) if row is not None]
    known = [row for row in rows if row is not None]
    if not known:
        return PartFigures(num_items=0, num_videos=0, metrics={}, intervals={})
    names = list(known[0])
    values = np.array([[row[name] for name in names] for row in known])  # (N, M)
    videos = [str(samples[n].video.path) for n in scored]
    means = resampled_means(values, videos, weights=[weights[n] for n in scored])
    metrics = aggregate(task, rows, weights)
    num_videos, limits = len(set(videos)), limits_of(values)
    return PartFigures(
        num_items=len(known),
        num_videos=num_videos,
        metrics=metrics,
        intervals={
            name: interval_95(draws, metrics[name], num_videos, limits)
            for name, draws in derived(task, names, means).items()
        },
    )
