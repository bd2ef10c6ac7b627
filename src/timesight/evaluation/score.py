"""From replies to results: parsing, items that are left out, and each task's figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from timesight.artifacts import ItemEntry, ProtocolFigures
from timesight.errors import InputError, VideoError
from timesight.evaluation.figures import EVERYTHING, Scoring, protocol_figures
from timesight.evaluation.items import item_record
from timesight.evaluation.replies import Replies
from timesight.tasks import TASKS, Graded, Task, TaskRegistry
from timesight.tasks.aggregate import Row, baseline_rows
from timesight.tasks.base import OFFICIAL, PAPER
from timesight.tasks.evidence import stated_duration_s
from timesight.types import Judge, Sample, Video
from timesight.video import probe


@dataclass(frozen=True)
class EvalResult:
    """The outcome of an evaluation on one task.

    Args:
        suite: Name of the suite, or of the file of samples.
        num_items: Number of items, without the quarantined ones.
        num_videos: Number of videos that they are about.
        num_unparsable: Number of replies that do not parse; they are wrong and stay in the denominator.
        num_truncated: Number of replies that were cut off at the limit of new tokens.
        num_unscored: Number of items that the judge could not score, that have no truth, or that the benchmark
            leaves out, under the first protocol.
        quarantined: Why an item was left out because it got no reply, by sample id.
        results: The figures by protocol.
        items: A record for each item, in the order of the samples.
    """

    suite: str
    num_items: int
    num_videos: int
    num_unparsable: int
    num_truncated: int
    num_unscored: int
    quarantined: dict[str, str]
    results: dict[str, ProtocolFigures]
    items: list[ItemEntry]

    @property
    def item_metrics(self) -> dict[str, dict[str, float]]:
        """The metrics of each scored item under the first protocol, by sample id."""
        first = next(iter(self.results))
        return {item.id: row for item in self.items if (row := item.metrics[first]) is not None}

    def to_json(self) -> dict[str, Any]:
        """Return counts and figures as ``--json`` prints them."""
        counts = ("num_items", "num_videos", "num_unparsable", "num_truncated", "num_unscored")
        return (
            {"suite": self.suite}
            | {name: getattr(self, name) for name in counts}
            | {"num_quarantined": len(self.quarantined), "quarantined": self.quarantined}
            | {"results": {name: figures.to_json() for name, figures in self.results.items()}}
        )


def score_tasks(
    suite: str,
    samples: Sequence[Sample],
    replies: Replies,
    think: bool,
    judge: Judge | None = None,
    scoring: Scoring = EVERYTHING,
    tasks: TaskRegistry = TASKS,
) -> dict[str, EvalResult]:
    """Score replies to samples of any tasks.

    Args:
        suite: Name for the results.
        samples: Of any tasks.
        replies: As in ``score_replies``.
        think: As in ``score_replies``.
        judge: As in ``score_replies``.
        scoring: As in ``score_replies``.
        tasks: As in ``score_replies``.

    Returns:
        The result of each task by its name, in the order of the samples.

    Raises:
        InputError: As ``score_replies``.
    """
    names = list(dict.fromkeys(sample.task for sample in samples))
    by_task = {name: [sample for sample in samples if sample.task == name] for name in names}
    return {
        name: score_replies(suite, mine, replies, think, judge, scoring, tasks) for name, mine in by_task.items()
    }


def score_replies(
    suite: str,
    samples: Sequence[Sample],
    replies: Replies,
    think: bool,
    judge: Judge | None = None,
    scoring: Scoring = EVERYTHING,
    tasks: TaskRegistry = TASKS,
) -> EvalResult:
    """Score replies to samples of one task.

    A missing or unparsable reply is wrong, stays in the denominator and is counted. A quarantined item, such as one
    whose video cannot be read, is left out and named. An item that the judge could not score is left out of the
    means and counted.

    Args:
        suite: Name for the results.
        samples: At least one; all of one task.
        replies: Replies to them; those to other samples are ignored.
        think: Whether the replies were asked for in think mode.
        judge: For tasks that need one.
        scoring: Protocols and breakdowns; by default all protocols and no breakdown.
        tasks: Where the task is looked up.

    Raises:
        InputError: If the task needs a judge and there is none, or has no such protocol.
    """
    task = tasks.of(samples[0])
    asked = [sample for sample in samples if sample.id not in replies.quarantined]
    graded = [task.grade(sample, replies.replies.get(sample.id, ""), think, scoring.strict) for sample in asked]
    protocols = protocols_of(task, scoring.protocols)
    known = {sample.id for sample in samples}
    return replace(
        score_answers(suite, task, graded, protocols, judge, scoring),
        num_truncated=len(replies.truncated & known),
        quarantined={id_: why for id_, why in replies.quarantined.items() if id_ in known},
    )


def score_answers(
    suite: str,
    task: Task[Any, Any],
    graded: Sequence[Graded[Any, Any]],
    protocols: Sequence[str],
    judge: Judge | None = None,
    scoring: Scoring = EVERYTHING,
) -> EvalResult:
    """Score answers that are already parsed, as ``score_replies`` does.

    Args:
        suite: Name for the results.
        task: The task of all items.
        graded: Samples with their parsed answers.
        protocols: At least one.
        judge: For tasks that need one.
        scoring: Breakdowns; its protocols are not used.

    Raises:
        InputError: If the task needs a judge and there is none.
    """
    require_judge([task], judge)
    samples = [item.sample for item in graded]
    durations_s = _durations_s(samples)
    rows: dict[str, list[Row]] = {name: task.item_metrics(graded, name, judge) for name in protocols}
    results, weights = {}, {}
    for name, mine in rows.items():
        baselines = baseline_rows(task, samples, durations_s, name, judge)
        results[name], weights[name] = protocol_figures(task, samples, mine, name, scoring, baselines)
    return EvalResult(
        suite=suite,
        num_items=len(samples),
        num_videos=len({str(sample.video.path) for sample in samples}),
        num_unparsable=sum(item.answer is None for item in graded),
        num_truncated=0,
        num_unscored=rows[protocols[0]].count(None),
        quarantined={},
        results=results,
        items=[
            item_record(
                task,
                item,
                duration_s,
                {name: mine[n] for name, mine in rows.items()},
                {name: mine[n] for name, mine in weights.items()},
                scoring.by,
            )
            for n, (item, duration_s) in enumerate(zip(graded, durations_s, strict=True))
        ],
    )


def score_baselines(
    suite: str, task: Task[Any, Any], samples: Sequence[Sample], judge: Judge | None = None
) -> dict[str, EvalResult]:
    """Score the video-blind baselines of a task as if a model had given their answers.

    Args:
        suite: Name for the results.
        task: The task of all samples.
        samples: At least one.
        judge: For tasks that need one.

    Returns:
        A result for each baseline, by its name.
    """
    answers = task.baselines(samples, _durations_s(samples))
    return {
        name: score_answers(
            suite,
            task,
            [Graded(sample, task.render(answer), answer) for sample, answer in zip(samples, mine, strict=True)],
            task.metric_protocols,
            judge,
        )
        for name, mine in answers.items()
    }


def protocols_of(task: Task[Any, Any], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Return the protocols to score by.

    Args:
        task: The task. If it has one protocol, ``official`` and ``paper`` both name it.
        wanted: None: all protocols of the task.

    Raises:
        InputError: If the task has no such protocol.
    """
    if wanted is None:
        return task.metric_protocols
    known = task.metric_protocols if len(task.metric_protocols) > 1 else (OFFICIAL, PAPER)
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(f"{task.name} has no protocol {unknown[0]}: choose one of {', '.join(known)}")
    return tuple(wanted)


def require_judge(tasks: Iterable[Task[Any, Any]], judge: Judge | None) -> None:
    """Raise InputError if one of ``tasks`` needs a judge and there is none."""
    needing = [task.name for task in tasks if task.needs_judge and judge is None]
    if needing:
        raise InputError(f"{needing[0]} is scored by a judge: name one with --judge")


def joined_json(results: Mapping[str, EvalResult]) -> dict[str, Any]:
    """Join the ``to_json`` of several tasks; with more than one task, metrics are named ``task/metric``.

    Args:
        results: The result of each task by its name, at least one. Breakdowns are kept only with a single task.
    """
    if len(results) == 1:
        return next(iter(results.values())).to_json()
    each = {task: result.to_json() for task, result in results.items()}
    joined: dict[str, Any] = {"suite": next(iter(each.values()))["suite"]}
    for count in ("num_items", "num_unparsable", "num_truncated", "num_unscored", "num_quarantined"):
        joined[count] = sum(content[count] for content in each.values())
    joined["quarantined"] = {id_: why for content in each.values() for id_, why in content["quarantined"].items()}
    protocols: dict[str, Any] = {}
    for task, content in each.items():
        for protocol, figures in content["results"].items():
            mine = protocols.setdefault(
                protocol, {"metrics": {}, "intervals": {}, "few_videos": {}, "baselines": {}}
            )
            for kind in ("metrics", "intervals", "few_videos"):
                mine[kind] |= {f"{task}/{name}": value for name, value in figures[kind].items()}
            for baseline, metrics in figures["baselines"].items():
                named = {f"{task}/{name}": value for name, value in metrics.items()}
                mine["baselines"][baseline] = mine["baselines"].get(baseline, {}) | named
    return joined | {"results": protocols}


def _durations_s(samples: Sequence[Sample]) -> list[float | None]:
    """The length of each sample's whole video; a file is probed once, and only where a length is not stated."""
    stated = [stated_duration_s(sample) for sample in samples]
    unstated = dict.fromkeys(sample.video for sample, known in zip(samples, stated, strict=True) if known is None)
    probed = {video: _probed_s(video) for video in unstated}
    return [probed[sample.video] if known is None else known for sample, known in zip(samples, stated, strict=True)]


def _probed_s(video: Video) -> float | None:
    try:
        return probe(video).duration_s
    except VideoError:
        return None
