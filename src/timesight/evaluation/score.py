"""From replies to figures: metrics, intervals, and the baselines that need no model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timesight.errors import InputError, VideoError
from timesight.evaluation.runner import Replies
from timesight.statistics import cluster_bootstrap
from timesight.tasks import TASKS, Task
from timesight.types import Judge, Sample
from timesight.video import probe


@dataclass(frozen=True)
class ProtocolResult:
    """The figures of one protocol."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    baselines: dict[str, dict[str, float]]


@dataclass(frozen=True)
class EvalResult:
    """The outcome of an evaluation on one task. ``item_metrics`` lists each item's own values, in sample order."""

    suite: str
    num_items: int
    num_videos: int
    num_unparsable: int
    num_unscored: int  # could not be judged, or are left out by the benchmark
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
            "num_unscored": self.num_unscored,
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


def score_tasks(
    suite: str, samples: Sequence[Sample], replies: Replies, think: bool, judge: Judge | None = None
) -> dict[str, EvalResult]:
    """``score_replies`` for each task of ``samples``."""
    names = list(dict.fromkeys(sample.task for sample in samples))
    by_task = {name: [sample for sample in samples if sample.task == name] for name in names}
    return {name: score_replies(suite, mine, replies, think, judge) for name, mine in by_task.items()}


def score_replies(
    suite: str, samples: Sequence[Sample], replies: Replies, think: bool, judge: Judge | None = None
) -> EvalResult:
    """Score ``replies`` to ``samples`` of one task.

    An unparsable reply is wrong, counts in the denominator and is counted apart. An item whose video cannot
    be read is no item: it is left out and named in ``quarantined``. One that the judge could not score is left out
    of the means and counted. Raises InputError for a task that needs a judge where there is none.
    """
    task = TASKS[samples[0].task]
    require_judge([task.name], judge)
    asked = [sample for sample in samples if sample.id not in replies.quarantined]
    graded = [task.grade(sample, replies.replies.get(sample.id, ""), think) for sample in asked]
    durations_s = [_duration_s(sample) for sample in asked]
    rows = {protocol: task.item_metrics(graded, protocol, judge) for protocol in task.metric_protocols}
    first = rows[task.metric_protocols[0]]
    return EvalResult(
        suite=suite,
        num_items=len(asked),
        num_videos=len({str(sample.video.path) for sample in asked}),
        num_unparsable=sum(item.answer is None for item in graded),
        num_unscored=first.count(None),
        quarantined={s.id: replies.quarantined[s.id] for s in samples if s.id in replies.quarantined},
        results={
            protocol: _figures(
                task, asked, mine, protocol, task.baseline_metrics(asked, durations_s, protocol, judge)
            )
            for protocol, mine in rows.items()
        },
        item_metrics={s.id: row for s, row in zip(asked, first, strict=True) if row is not None},
    )


def require_judge(tasks: Iterable[str], judge: Judge | None) -> None:
    """Raise InputError where one of ``tasks`` needs a judge and there is none."""
    needing = [task for task in tasks if TASKS[task].needs_judge and judge is None]
    if needing:
        raise InputError(f"{needing[0]} is scored by a judge: name one with --judge")


def _figures(
    task: Task[Any, Any],
    samples: Sequence[Sample],
    rows: Sequence[dict[str, float] | None],
    protocol: str,
    baselines: dict[str, dict[str, float]],
) -> ProtocolResult:
    """Metrics with their intervals; an interval is of the same weighted mean as its metric."""
    scored = [sample for sample, row in zip(samples, rows, strict=True) if row is not None]
    known = [row for row in rows if row is not None]
    videos, weights = [str(sample.video.path) for sample in scored], task.weights(scored, protocol)
    intervals = {
        name: cluster_bootstrap([row[name] for row in known], videos, weights=weights)
        for name in (known[0] if known else ())
    }
    return ProtocolResult(
        metrics=task.summary(scored, known, protocol),
        intervals={name: (interval.low, interval.high) for name, interval in intervals.items()},
        baselines=baselines,
    )


def joined_json(results: Mapping[str, EvalResult]) -> dict[str, Any]:
    """``to_json`` of several tasks' results in one; with more than one task, metrics are named ``task/metric``."""
    if len(results) == 1:
        return next(iter(results.values())).to_json()
    each = {task: result.to_json() for task, result in results.items()}
    joined: dict[str, Any] = {"suite": next(iter(each.values()))["suite"]}
    for count in ("num_items", "num_unparsable", "num_unscored", "num_quarantined"):
        joined[count] = sum(content[count] for content in each.values())
    joined["quarantined"] = {id_: why for content in each.values() for id_, why in content["quarantined"].items()}
    protocols: dict[str, Any] = {}
    for task, content in each.items():
        for protocol, figures in content["results"].items():
            mine = protocols.setdefault(protocol, {"metrics": {}, "intervals": {}, "baselines": {}})
            for kind in ("metrics", "intervals"):
                mine[kind] |= {f"{task}/{name}": value for name, value in figures[kind].items()}
            for baseline, metrics in figures["baselines"].items():
                named = {f"{task}/{name}": value for name, value in metrics.items()}
                mine["baselines"][baseline] = mine["baselines"].get(baseline, {}) | named
    return joined | {"results": protocols}


def write_result(results: Mapping[str, EvalResult], file: Path) -> None:
    """Keep results, by task, as JSON, each item's metrics included."""
    items = {id_: row for result in results.values() for id_, row in result.item_metrics.items()}
    content = joined_json(results) | {"item_metrics": items}
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _duration_s(sample: Sample) -> float | None:
    if "duration_s" in sample.meta:
        return float(sample.meta["duration_s"])
    try:
        return probe(sample.video).duration_s
    except VideoError:
        return None
