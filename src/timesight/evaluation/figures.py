"""All figures of one protocol: metrics with their intervals, baselines beside them, and by parts of the items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from timesight.evaluation.items import Row, group_values
from timesight.statistics import cluster_bootstrap
from timesight.tasks import Task
from timesight.types import Sample


@dataclass(frozen=True)
class Figures:
    """Metrics over some items, each with its 95% interval."""

    num_items: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class ProtocolResult:
    """The figures of one protocol: over all items, of each baseline, and by key and value of a breakdown."""

    overall: Figures
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

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        breakdowns = {
            key: {value: asdict(figures) for value, figures in parts.items()}
            for key, parts in self.breakdowns.items()
        }
        return {
            "metrics": self.overall.metrics,
            "intervals": {name: list(pair) for name, pair in self.overall.intervals.items()},
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
    """All figures of one protocol; an interval is of the same weighted mean as its metric."""
    parts: dict[str, dict[str, list[int]]] = {key: {} for key in scoring.by}
    for index, sample in enumerate(samples):
        for key in scoring.by:
            for value in group_values(sample, key):
                parts[key].setdefault(value, []).append(index)

    def figures(mine: Sequence[Row], indices: Sequence[int], equal: str | None) -> Figures:
        return _figures(task, [samples[n] for n in indices], [mine[n] for n in indices], protocol, equal)

    everything = range(len(samples))
    return ProtocolResult(
        overall=figures(rows, everything, scoring.average_over),
        baselines={
            name: figures(mine, everything, scoring.average_over).metrics for name, mine in baselines.items()
        },
        breakdowns={
            key: {value: figures(rows, indices, None) for value, indices in sorted(values.items())}
            for key, values in parts.items()
            if len(values) > 1
        },
    )


def _figures(
    task: Task[Any, Any], samples: Sequence[Sample], rows: Sequence[Row], protocol: str, equal: str | None
) -> Figures:
    scored = [(sample, row) for sample, row in zip(samples, rows, strict=True) if row is not None]
    judged, known = [sample for sample, _ in scored], [row for _, row in scored]
    weights = task.weights(judged, protocol)
    if equal is not None:
        sizes = Counter(str(sample.meta.get(equal, "")) for sample in judged)
        weights = [1 / sizes[str(sample.meta.get(equal, ""))] for sample in judged]
    videos = [str(sample.video.path) for sample in judged]
    intervals = {
        name: cluster_bootstrap([row[name] for row in known], videos, weights=weights)
        for name in (known[0] if known else ())
    }
    return Figures(
        num_items=len(known),
        metrics=task.summary(judged, known, protocol, weights),
        intervals={name: (interval.low, interval.high) for name, interval in intervals.items()},
    )
