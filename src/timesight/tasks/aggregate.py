"""Mean metrics over items, as validation and evaluation report them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from timesight.errors import InputError
from timesight.tasks.base import OFFICIAL, PAPER, Graded, Task
from timesight.types import Judge, Sample

Row = dict[str, float] | None  # metrics of an item; None: not judged, or left out by the protocol


def item_weights(
    task: Task[Any, Any], samples: Sequence[Sample], rows: Sequence[Row], protocol: str, over: str | None = None
) -> list[float]:
    """Weight of each item in the mean metrics.

    Args:
        task: The samples' task.
        samples: N samples.
        rows: Metrics of each.
        protocol: The protocol of the metrics.
        over: Key of ``meta`` whose values have equal weight, however many items each has. None takes the task's
            ``averages_over``; if that is None too, items have their ``item_weight``.

    Returns:
        N weights, not normalized; 0 for an item that is not scored.
    """
    over = over or task.averages_over
    if over is None:
        return [0.0 if row is None else task.item_weight(s, protocol) for s, row in zip(samples, rows, strict=True)]
    keys = [str(sample.meta.get(over, "")) for sample in samples]
    sizes = Counter(key for key, row in zip(keys, rows, strict=True) if row is not None)
    return [0.0 if row is None else 1 / sizes[key] for key, row in zip(keys, rows, strict=True)]


def aggregate(task: Task[Any, Any], rows: Sequence[Row], weights: Sequence[float]) -> dict[str, float]:
    """Weighted means of the scored items' metrics, and the metrics that the task derives from them.

    Args:
        task: Derives metrics from the means.
        rows: Metrics of N items.
        weights: Weight of each item (``item_weights``).

    Returns:
        Metrics by name; empty if no item is scored.
    """
    scored = [(row, weight) for row, weight in zip(rows, weights, strict=True) if row is not None]
    total = sum(weight for _, weight in scored)
    names = scored[0][0] if scored else ()
    means = {name: sum(row[name] * weight for row, weight in scored) / total for name in names}
    return means | task.derived_metrics(means) if means else {}


def metrics_of(
    task: Task[Any, Any],
    graded: Sequence[Graded[Any, Any]],
    protocol: str | None = None,
    judge: Judge | None = None,
) -> dict[str, float]:
    """Mean metrics over all items; an unparsable reply is wrong and stays in the denominator.

    Args:
        task: The items' task.
        graded: Items with their answers.
        protocol: None takes the first of the task's ``metric_protocols``.
        judge: Scores captions; None leaves unscored what needs one.

    Returns:
        Metrics by name; empty if no item is scored.

    Raises:
        InputError: If the task has no such protocol.
    """
    protocol = known_protocol(task, protocol)
    return _figures(task, [item.sample for item in graded], task.item_metrics(graded, protocol, judge), protocol)


def baseline_metrics(
    task: Task[Any, Any],
    samples: Sequence[Sample],
    durations_s: Sequence[float | None],
    judge: Judge | None = None,
) -> dict[str, dict[str, float]]:
    """``metrics_of`` each video-blind baseline, by its name and by the first protocol of the task.

    Args:
        task: The samples' task.
        samples: N samples.
        durations_s: Length of each sample's video in seconds; None if unknown.
        judge: Scores captions; None leaves unscored what needs one.
    """
    protocol = task.metric_protocols[0]
    rows = baseline_rows(task, samples, durations_s, protocol, judge)
    return {name: _figures(task, samples, mine, protocol) for name, mine in rows.items()}


def baseline_rows(
    task: Task[Any, Any],
    samples: Sequence[Sample],
    durations_s: Sequence[float | None],
    protocol: str,
    judge: Judge | None = None,
) -> dict[str, list[Row]]:
    """Metrics of each item for each video-blind baseline; for random answers, their exact expectation.

    Args:
        task: The samples' task.
        samples: N samples.
        durations_s: Length of each sample's video in seconds; None if unknown.
        protocol: The protocol of the metrics.
        judge: Scores captions; None leaves unscored what needs one.

    Returns:
        By name of the baseline, one row per sample.
    """

    def rows(answers: Sequence[Any]) -> list[Row]:
        graded = [Graded(s, "", answer) for s, answer in zip(samples, answers, strict=True)]
        return task.item_metrics(graded, protocol, judge)

    scored = {name: rows(answers) for name, answers in task.baselines(samples, durations_s).items()}
    for name, answers in task.random_baselines(samples, durations_s).items():
        most = max(map(len, answers), default=0)
        # The n-th answer for all items in one call; an item with fewer repeats its last, which is then not counted.
        tries = [rows([mine[min(n, len(mine) - 1)] for mine in answers]) for n in range(most)]
        scored[name] = [_mean_row([row[index] for row in tries[: len(mine)]]) for index, mine in enumerate(answers)]
    return scored


def known_protocol(task: Task[Any, Any], protocol: str | None) -> str:
    """``protocol``, or the first of the task's ``metric_protocols`` if it is None.

    Raises:
        InputError: If ``protocol`` is not one of them, nor ``official`` or ``paper``.
    """
    if protocol is None:
        return task.metric_protocols[0]
    known = dict.fromkeys((*task.metric_protocols, OFFICIAL, PAPER))
    if protocol not in known:
        raise InputError(f"{task.name} has no protocol {protocol}: choose one of {', '.join(known)}")
    return protocol


def _figures(
    task: Task[Any, Any], samples: Sequence[Sample], rows: Sequence[Row], protocol: str
) -> dict[str, float]:
    return aggregate(task, rows, item_weights(task, samples, rows, protocol))


def _mean_row(rows: Sequence[Row]) -> Row:
    known = [row for row in rows if row is not None]
    return {name: sum(row[name] for row in known) / len(known) for name in known[0]} if known else None
