"""All figures of one protocol: metrics with their intervals, baselines next to them, and by parts of the items."""

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
    """Metrics over some items on some videos, each with its 95% interval."""

    num_items: int
    num_videos: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class ProtocolResult:
    """The figures of one protocol: over all items, of each baseline, and by key and value of a breakdown.

    ``weights`` are what each item counts in a mean, 0 for one that is not scored.
    """

    overall: Figures
    weights: list[float]
    baselines: dict[str, dict[str, float]]
    breakdowns: dict[str, dict[str, Figures]]

    @property
    def metrics(self) -> dict[str, float]:
        """Over all items."""
        return self.overall.metrics

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Of ``metrics``."""
        return self.overall.intervals

    @property
    def few_videos(self) -> dict[str, int]:
        """On how many videos each interval rests that rests on few."""
        few = are_few(self.overall.num_videos)
        return dict.fromkeys(self.overall.intervals, self.overall.num_videos) if few else {}

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
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
    """What is reported: which ``protocols`` (None: all of the task's), and broken down by which keys of ``meta``.

    Under ``average_over``, one of these keys, all its values count alike, however many items they have.
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
    """All figures of one protocol; an interval is of the same weighted mean as its metric.

    An item counts as much in a part as in the whole.
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
    """The benchmark's figures of each row of ``means`` (K, M): the means themselves, and what is made of them.

    F1 is made of means, so its interval is too: of the F1 of each draw.
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
