"""From replies to figures: metrics, intervals, and the baselines that need no model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timesight.errors import InputError, VideoError
from timesight.evaluation.runner import Replies
from timesight.statistics import cluster_bootstrap
from timesight.tasks import TASKS, Graded, Task
from timesight.types import Judge, Sample
from timesight.video import probe


@dataclass(frozen=True)
class ProtocolResult:
    """The figures of one protocol."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    baselines: dict[str, dict[str, float]]

    def prefixed(self, prefix: str) -> ProtocolResult:
        """The same with ``prefix`` before every metric's name."""
        return ProtocolResult(
            {prefix + name: value for name, value in self.metrics.items()},
            {prefix + name: value for name, value in self.intervals.items()},
            {name: {prefix + m: v for m, v in metrics.items()} for name, metrics in self.baselines.items()},
        )

    def joined(self, other: ProtocolResult) -> ProtocolResult:
        """Both in one; they share no metric."""
        baselines = {
            name: self.baselines.get(name, {}) | other.baselines.get(name, {})
            for name in (*self.baselines, *other.baselines)
        }
        return ProtocolResult(self.metrics | other.metrics, self.intervals | other.intervals, baselines)


@dataclass(frozen=True)
class EvalResult:
    """The outcome of an evaluation. ``item_metrics`` lists each item's own values, in sample order."""

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


def score_replies(
    suite: str, samples: Sequence[Sample], replies: Replies, think: bool, judge: Judge | None = None
) -> EvalResult:
    """Score ``replies`` to ``samples``, which may be of several tasks: metrics are then named ``task/metric``.

    An unparsable reply is wrong, counts in the denominator and is counted apart. An item whose video cannot
    be read is no item: it is left out and named in ``quarantined``. One that the judge could not score is left out
    of the means and counted. Raises InputError for a task that needs a judge where there is none.
    """
    asked = [sample for sample in samples if sample.id not in replies.quarantined]
    names = list(dict.fromkeys(sample.task for sample in samples))
    require_judge(names, judge)
    results: dict[str, ProtocolResult] = {}
    item_metrics: dict[str, dict[str, float]] = {}
    num_unparsable = num_unscored = 0
    for name in names:
        mine = [sample for sample in asked if sample.task == name]
        graded = [_grade(sample, replies.replies.get(sample.id, ""), think) for sample in mine]
        num_unparsable += sum(item.answer is None for item in graded)
        prefix = f"{name}/" if len(names) > 1 else ""
        for number, protocol in enumerate(TASKS[name].protocols):
            rows = TASKS[name].item_metrics(graded, protocol, judge)
            result = _score(TASKS[name], graded, rows, protocol, judge).prefixed(prefix)
            results[protocol] = results.get(protocol, ProtocolResult({}, {}, {})).joined(result)
            if number == 0:
                num_unscored += rows.count(None)
                item_metrics |= {s.id: row for s, row in zip(mine, rows, strict=True) if row is not None}
    return EvalResult(
        suite=suite,
        num_items=len(asked),
        num_videos=len({str(sample.video.path) for sample in asked}),
        num_unparsable=num_unparsable,
        num_unscored=num_unscored,
        quarantined=replies.quarantined,
        results=results,
        item_metrics=item_metrics,
    )


def require_judge(tasks: Iterable[str], judge: Judge | None) -> None:
    """Raise InputError where one of ``tasks`` needs a judge and there is none."""
    needing = [task for task in tasks if TASKS[task].needs_judge and judge is None]
    if needing:
        raise InputError(f"{needing[0]} is scored by a judge: name one with --judge")


def _grade(sample: Sample, reply: str, think: bool) -> Graded[Any, Any]:
    return Graded(sample, reply, TASKS[sample.task].parse(reply, think, strict=False, sample=sample))


def _score(
    task: Task[Any, Any],
    graded: Sequence[Graded[Any, Any]],
    rows: Sequence[dict[str, float] | None],
    protocol: str,
    judge: Judge | None,
) -> ProtocolResult:
    samples = [item.sample for item in graded]
    answers = task.baselines(samples, [_duration_s(sample) for sample in samples])
    baselines = {
        name: task.metrics([Graded(s, "", a) for s, a in zip(samples, given, strict=True)], protocol, judge)
        for name, given in answers.items()
    }
    scored = [(row, sample) for row, sample in zip(rows, samples, strict=True) if row is not None]
    videos = [str(sample.video.path) for _, sample in scored]
    weights = [task.weight(sample, protocol) for _, sample in scored]
    intervals = {
        name: cluster_bootstrap([row[name] for row, _ in scored], videos, weights=weights)
        for name in (scored[0][0] if scored else ())
    }
    return ProtocolResult(
        metrics=task.summary(samples, rows, protocol),
        intervals={name: (interval.low, interval.high) for name, interval in intervals.items()},
        baselines=baselines,
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
