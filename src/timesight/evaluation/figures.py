"""All figures of one protocol: metrics with their intervals, baselines, and breakdowns by parts of the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from timesight.evaluation.items import group_values
from timesight.statistics import Floats, are_few, interval_95, limits_of, resampled_means
from timesight.tasks import Task
from timesight.tasks.aggregate import Row, aggregate, item_weights
from timesight.types import Sample


@dataclass(frozen=True)
class Figures:
    """Metrics over some items, each with its 95% interval.

    Args:
        num_items: Number of scored items.
        num_videos: Number of videos that they are about.
        metrics: By name; empty if no item was scored.
        intervals: Lower and upper end for each metric, from a bootstrap over videos (``statistics.interval_95``);
            NaN with fewer than two videos.
    """

    num_items: int
    num_videos: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class ProtocolResult:
    """The figures of one protocol.

    Args:
        overall: Over all items.
        weights: The weight of each item in the means, 0 for an item that is not scored.
        baselines: Metrics of each video-blind baseline, by its name.
        breakdowns: Figures by key and value of a breakdown.
    """

    overall: Figures
    weights: list[float]
    baselines: dict[str, dict[str, float]]
    breakdowns: dict[str, dict[str, Figures]]

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics over all items."""
        return self.overall.metrics

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The intervals of ``metrics``."""
        return self.overall.intervals

    @property
    def few_videos(self) -> dict[str, int]:
        """Number of videos behind each interval, by metric, if it is between 2 and 29; else empty."""
        few = are_few(self.overall.num_videos)
        return dict.fromkeys(self.overall.intervals, self.overall.num_videos) if few else {}

    def to_json(self) -> dict[str, Any]:
        """Return the figures as ``--json`` prints them; ``breakdowns`` is left out if empty."""
        breakdowns = {
            key: {value: asdict(figures) for value, figures in parts.items()}
            for key, parts in self.breakdowns.items()
        }
        return {
            "metrics": self.overall.metrics,
            "intervals": {name: list(pair) for name, pair in self.overall.intervals.items()},
            "few_videos": self.few_videos,
            "baselines": self.baselines,
        } | ({"breakdowns": breakdowns} if breakdowns else {})


@dataclass(frozen=True)
class Scoring:
    """What is reported.

    Args:
        protocols: None: all protocols of the task.
        by: Keys of ``meta``, or fields of the samples, by which figures are broken down.
        average_over: A key of ``meta`` whose values all have the same weight in the means, whatever their number
            of items; None: the task's own.
    """

    protocols: tuple[str, ...] | None = None
    by: tuple[str, ...] = ()
    average_over: str | None = None


EVERYTHING = Scoring()


def protocol_result(
    task: Task[Any, Any],
    samples: Sequence[Sample],
    rows: Sequence[Row],
    protocol: str,
    scoring: Scoring,
    baselines: Mapping[str, Sequence[Row]],
) -> ProtocolResult:
    """Compute all figures of one protocol.

    Metric and interval are of the same weighted mean. An item has the same weight in a breakdown as overall.

    Args:
        task: The task of all samples.
        samples: Items.
        rows: Metrics of each item; None for an item that is not scored.
        protocol: The protocol of ``rows``.
        scoring: Breakdowns and weights.
        baselines: The items' metrics for each baseline, by its name (``tasks.aggregate.baseline_rows``).
    """
    parts: dict[str, dict[str, list[int]]] = {key: {} for key in scoring.by}
    for index, sample in enumerate(samples):
        for key in scoring.by:
            for value in group_values(sample, key):
                parts[key].setdefault(value, []).append(index)
    weights = item_weights(task, samples, rows, protocol, scoring.average_over)

    def figures(indices: Sequence[int]) -> Figures:
        return _figures(
            task, [samples[n] for n in indices], [rows[n] for n in indices], [weights[n] for n in indices]
        )

    return ProtocolResult(
        overall=figures(range(len(samples))),
        weights=weights,
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
) -> Figures:
    scored = [n for n, row in enumerate(rows) if row is not None]
    known = [row for row in rows if row is not None]
    if not known:
        return Figures(0, 0, {}, {})
    names = list(known[0])
    values = np.array([[row[name] for name in names] for row in known])  # (N, M)
    videos = [str(samples[n].video.path) for n in scored]
    means = resampled_means(values, videos, weights=[weights[n] for n in scored])
    metrics = aggregate(task, rows, weights)
    num_videos, limits = len(set(videos)), limits_of(values)
    return Figures(
        num_items=len(known),
        num_videos=num_videos,
        metrics=metrics,
        intervals={
            name: interval_95(draws, metrics[name], num_videos, limits)
            for name, draws in derived(task, names, means).items()
        },
    )
