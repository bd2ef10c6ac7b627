"""From the metrics of items to a benchmark's figures: what validation and evaluation share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from timesight.errors import InputError
from timesight.tasks.base import OFFICIAL, PAPER, Graded, Task
from timesight.types import Judge, Sample

Row = dict[str, float] | None  # an item's metrics; None: not judged, or left out by the benchmark


def item_weights(
    task: Task[Any, Any], samples: Sequence[Sample], rows: Sequence[Row], protocol: str, over: str | None = None
) -> list[float]:
    """What each item counts in the means; 0 for one that is not scored.

    Args:
        task: The samples' own.
        samples: Items.
        rows: Their metrics.
        protocol: By which they are.
        over: A key of ``meta`` whose values all count alike, however many items they have; None: the task's own.
    """
    over = over or task.averages_over
    if over is None:
        return [0.0 if row is None else task.item_weight(s, protocol) for s, row in zip(samples, rows, strict=True)]
    keys = [str(sample.meta.get(over, "")) for sample in samples]
    sizes = Counter(key for key, row in zip(keys, rows, strict=True) if row is not None)
    return [0.0 if row is None else 1 / sizes[key] for key, row in zip(keys, rows, strict=True)]


def aggregate(task: Task[Any, Any], rows: Sequence[Row], weights: Sequence[float]) -> dict[str, float]:
    """The benchmark's figures: weighted means of the scored items' metrics, and what the task derives from them."""
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
    """The benchmark's figures over all items; an unparsable reply is wrong and stays in the denominator.

    Args:
        task: The items' own.
        graded: Items with their answers.
        protocol: None: the task's first one.
        judge: Where the task takes one.

    Raises:
        InputError: If the task has no such protocol.
    """
    protocol = known_protocol(task, protocol)
    items = [Graded(*item) for item in graded]
    return _figures(task, [item.sample for item in items], task.item_metrics(items, protocol, judge), protocol)


def baseline_metrics(
    task: Task[Any, Any],
    samples: Sequence[Sample],
    durations_s: Sequence[float | None],
    protocol: str | None = None,
    judge: Judge | None = None,
) -> dict[str, dict[str, float]]:
    """``metrics_of`` each video-blind baseline."""
    protocol = known_protocol(task, protocol)
    rows = baseline_rows(task, samples, durations_s, protocol, judge)
    return {name: _figures(task, samples, mine, protocol) for name, mine in rows.items()}


def baseline_rows(
    task: Task[Any, Any],
    samples: Sequence[Sample],
    durations_s: Sequence[float | None],
    protocol: str,
    judge: Judge | None = None,
) -> dict[str, list[Row]]:
    """The items' metrics for each video-blind baseline, and for random answers as their exact expectation."""

    def rows(answers: Sequence[Any]) -> list[Row]:
        graded = [Graded(s, "", answer) for s, answer in zip(samples, answers, strict=True)]
        return task.item_metrics(graded, protocol, judge)

    scored = {name: rows(answers) for name, answers in task.baselines(samples, durations_s).items()}
    for name, guesses in task.random_baselines(samples, durations_s).items():
        most = max(map(len, guesses), default=0)
        # The n-th guess of all items at once; one that has fewer repeats its last, which is then not counted.
        tries = [rows([mine[min(n, len(mine) - 1)] for mine in guesses]) for n in range(most)]
        scored[name] = [_mean_row([row[index] for row in tries[: len(mine)]]) for index, mine in enumerate(guesses)]
    return scored


def known_protocol(task: Task[Any, Any], protocol: str | None) -> str:
    """``protocol``, or the task's first one. Raises InputError for one it does not have."""
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
