"""From replies to figures: metrics, intervals, and the baselines that need no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timesight.errors import VideoError
from timesight.evaluation.runner import Replies
from timesight.statistics import Interval, cluster_bootstrap
from timesight.tasks import TASKS, Graded
from timesight.types import Sample
from timesight.video import probe


@dataclass(frozen=True)
class ProtocolResult:
    """The figures of one protocol."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    baselines: dict[str, dict[str, float]]


@dataclass(frozen=True)
class EvalResult:
    """The outcome of an evaluation. ``item_metrics`` lists each item's own values, in sample order."""

    suite: str
    num_items: int
    num_videos: int
    num_unparsable: int
    quarantined: dict[str, str]
    results: dict[str, ProtocolResult]
    item_metrics: dict[str, dict[str, float]]  # of the first protocol, by sample id

    def to_json(self) -> dict[str, Any]:
        """The fixed keys of ``--json``, and some more."""
        return {
            "suite": self.suite,
            "num_items": self.num_items,
            "num_videos": self.num_videos,
            "num_unparsable": self.num_unparsable,
            "num_quarantined": len(self.quarantined),
            "quarantined": self.quarantined,
            "results": {
                name: {
                    "metrics": result.metrics,
                    "intervals": {key: list(pair) for key, pair in result.intervals.items()},
                    "baselines": result.baselines,
                }
                for name, result in self.results.items()
            },
        }


def score_replies(suite: str, samples: Sequence[Sample], replies: Replies, think: bool) -> EvalResult:
    """Score ``replies`` to ``samples``.

    An unparsable reply is wrong, counts in the denominator and is counted apart. An item whose video cannot
    be read is no item: it is left out and named in ``quarantined``.
    """
    asked = [sample for sample in samples if sample.id not in replies.quarantined]
    task = TASKS[samples[0].task]
    graded = [
        Graded(s, reply, task.parse(reply, think, strict=False))
        for s, reply in ((s, replies.replies.get(s.id, "")) for s in asked)
    ]
    videos = [str(sample.video.path) for sample in asked]
    answers = task.baselines(asked, [_duration_s(sample) for sample in asked])
    results: dict[str, ProtocolResult] = {}
    item_metrics: dict[str, dict[str, float]] = {}
    for protocol in task.protocols:
        rows = [task.item_metrics(item, protocol) for item in graded]
        intervals = _intervals(rows, videos)
        baselines = {
            name: task.metrics([Graded(s, "", a) for s, a in zip(asked, given, strict=True)], protocol)
            for name, given in answers.items()
        }
        results[protocol] = ProtocolResult(
            metrics=task.metrics(graded, protocol),
            intervals={name: (interval.low, interval.high) for name, interval in intervals.items()},
            baselines=baselines,
        )
        item_metrics = item_metrics or {s.id: row for s, row in zip(asked, rows, strict=True)}
    return EvalResult(
        suite=suite,
        num_items=len(asked),
        num_videos=len(set(videos)),
        num_unparsable=sum(item.answer is None for item in graded),
        quarantined=replies.quarantined,
        results=results,
        item_metrics=item_metrics,
    )


def write_result(result: EvalResult, file: Path) -> None:
    """Keep a result as JSON, each item's metrics included."""
    content = result.to_json() | {"item_metrics": result.item_metrics}
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _duration_s(sample: Sample) -> float | None:
    if "duration_s" in sample.meta:
        return float(sample.meta["duration_s"])
    try:
        return probe(sample.video).duration_s
    except VideoError:
        return None


def _intervals(rows: Sequence[Mapping[str, float]], videos: Sequence[str]) -> dict[str, Interval]:
    names = rows[0] if rows else {}
    return {name: cluster_bootstrap([row[name] for row in rows], videos) for name in names}
