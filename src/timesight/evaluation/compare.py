"""Comparison of two evaluations of the same items: what changed, where, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from timesight.artifacts import ItemEntry
from timesight.errors import InputError
from timesight.evaluation.figures import derived
from timesight.statistics import (
    Floats,
    exchange_p_value,
    exchanged_means,
    interval_95,
    limits_of,
    resampled_means,
)
from timesight.tasks import TASKS
from timesight.tasks.base import OFFICIAL, PAPER

Items = Mapping[str, ItemEntry]
EVERYTHING = "all"


@dataclass(frozen=True)
class Difference:
    """A metric of A and of B over the same items, and their paired difference.

    Args:
        a: The metric of A.
        b: The metric of B.
        difference: B − A.
        low: Lower end of the 95% interval of ``difference``, from a bootstrap over videos
            (``statistics.interval_95``). NaN with fewer than two videos.
        high: Its upper end.
        p_value: Two-sided, from random exchanges of whole videos between A and B (``statistics.exchange_p_value``).
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Part:
    """The differences over the items for which a breakdown's ``key`` has the value ``value``.

    Args:
        key: Key of the breakdown; ``all`` for all items.
        value: Empty for all items.
        num_items: Number of items compared.
        num_videos: Number of videos that they are about.
        metrics: By name. Means are weighted as the benchmark weights them.
    """

    key: str
    value: str
    num_items: int
    num_videos: int
    metrics: dict[str, Difference]


@dataclass(frozen=True)
class Change:
    """One item whose metric changed.

    Args:
        id: Of the item.
        a: Its metric in A.
        b: Its metric in B.
        reply_a: The reply of A.
        reply_b: The reply of B.
    """

    id: str
    a: float
    b: float
    reply_a: str
    reply_b: str


@dataclass(frozen=True)
class Comparison:
    """What changed from A to B.

    Args:
        protocol: The protocol of the metrics.
        metric: The metric by which single items are compared.
        only_a: Number of items that only A has a figure for; they are not compared.
        only_b: Number of items that only B has a figure for.
        num_better: Number of items whose ``metric`` is larger in B.
        num_worse: Number of items whose ``metric`` is smaller in B.
        parts: All items, then those of each value of each breakdown that has more than one value.
        improved: The items with the largest gains, largest first.
        hurt: The items with the largest losses, largest first.
    """

    protocol: str
    metric: str
    only_a: int
    only_b: int
    num_better: int
    num_worse: int
    parts: list[Part]
    improved: list[Change]
    hurt: list[Change]


def compare(
    a: Items, b: Items, *, protocol: str | None = None, metric: str | None = None, num_shown: int = 5
) -> Comparison:
    """Compare two evaluations on one task.

    Args:
        a: Items of the first evaluation by id (``artifacts.read_items``). Their weights are used for both.
        b: Items of the second one.
        protocol: Protocol of the metrics; None: the first that both have. Where a task has one, ``official`` and
            ``paper`` both name it.
        metric: Metric by which single items are ranked; None: the first that both have.
        num_shown: Most items in ``improved`` and in ``hurt``.

    Raises:
        InputError: If the two have no scored item, no protocol or no metric in common, or if an id stands for
            different questions or truths.
    """
    shared = _shared(a, b)
    first_a, first_b = a[shared[0]], b[shared[0]]
    if protocol not in first_a.metrics and _has_one_protocol(first_a.task) and protocol in (OFFICIAL, PAPER):
        protocol = None
    protocol = _choose("protocol", protocol, first_a.metrics, first_b.metrics)
    scored = [id_ for id_ in shared if a[id_].metrics[protocol] and b[id_].metrics[protocol]]
    if not scored:
        raise InputError(f"no item has been scored in both evaluations by protocol {protocol}")
    names = [name for name in _row(a, scored[0], protocol) if name in _row(b, scored[0], protocol)]
    metric = _choose("metric", metric, names, names)

    def value(items: Items, id_: str) -> float:
        return _row(items, id_, protocol)[metric]

    def num_scored(items: Items) -> int:
        return sum(bool(item.metrics.get(protocol)) for item in items.values())

    changes = [Change(id_, value(a, id_), value(b, id_), a[id_].reply, b[id_].reply) for id_ in scored]
    ranked = sorted(changes, key=lambda change: (change.a - change.b, change.id))
    better = [change for change in ranked if change.b > change.a]
    worse = [change for change in reversed(ranked) if change.b < change.a]
    return Comparison(
        protocol=protocol,
        metric=metric,
        only_a=num_scored(a) - len(scored),
        only_b=num_scored(b) - len(scored),
        num_better=len(better),
        num_worse=len(worse),
        parts=[_part(key, text, ids, a, b, protocol, names) for key, text, ids in _groups(a, scored)],
        improved=better[:num_shown],
        hurt=worse[:num_shown],
    )


def compare_tasks(a: Items, b: Items, **how: Any) -> dict[str, Comparison]:
    """Compare two evaluations on each task that both have items of.

    Args:
        a: As in ``compare``, of any tasks.
        b: As in ``compare``, of any tasks.
        **how: Further arguments of ``compare``.

    Returns:
        A comparison for each task, by its name.

    Raises:
        InputError: If the two have no item in common, or as in ``compare``.
    """
    tasks = dict.fromkeys(a[id_].task for id_ in a if id_ in b)
    if not tasks:
        raise InputError("the two evaluations have no item in common")

    def of(items: Items, task: str) -> Items:
        return {id_: item for id_, item in items.items() if item.task == task}

    return {task: compare(of(a, task), of(b, task), **how) for task in tasks}


def _has_one_protocol(task: str) -> bool:
    """Whether ``task`` is one of the package's, and the paper and the benchmark agree on its metrics."""
    return task in TASKS and len(TASKS[task].metric_protocols) == 1


def _shared(a: Items, b: Items) -> list[str]:
    """The ids that both have. Raises InputError if there is none, or if one stands for different data."""
    shared = [id_ for id_ in a if id_ in b]
    if not shared:
        raise InputError("the two evaluations have no item in common")
    if other := [id_ for id_ in shared if a[id_].data != b[id_].data]:
        raise InputError(
            f"{other[0]}: question or truth differ between the two evaluations ({len(other)} such ids): "
            "compare evaluations of the same data"
        )
    return shared


def _choose(what: str, wanted: str | None, *known: Any) -> str:
    both = [str(name) for name in known[0] if name in known[1]]
    chosen = wanted if wanted is not None else next(iter(both), "")
    if chosen not in both:
        raise InputError(f"the two have no {what} {chosen} in common: choose one of {', '.join(both) or 'none'}")
    return chosen


def _groups(items: Items, ids: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """All items, then those of each value of each key; keys with a single value are left out."""
    groups: dict[str, dict[str, list[str]]] = {}
    for id_ in ids:
        for key, values in items[id_].groups.items():
            for text in values:
                groups.setdefault(key, {}).setdefault(text, []).append(id_)
    parts = [(EVERYTHING, "", list(ids))]
    return parts + [
        (key, text, mine)
        for key, values in groups.items()
        if len(values) > 1
        for text, mine in sorted(values.items())
    ]


def _part(key: str, text: str, ids: Sequence[str], a: Items, b: Items, protocol: str, names: Sequence[str]) -> Part:
    """The paired differences over ``ids``: of the metrics ``names``, and of those derived from their means."""
    videos = [a[id_].video_path for id_ in ids]
    weights = [a[id_].weights[protocol] for id_ in ids]
    task = TASKS.get(a[ids[0]].task)
    before, after = (
        np.array([[_row(items, id_, protocol)[name] for name in names] for id_ in ids]) for items in (a, b)
    )  # (N, M)

    def changes(of_a: Floats, of_b: Floats) -> dict[str, Floats]:
        was, now = (derived(task, names, means) for means in (of_a, of_b))
        return {name: now[name] - was[name] for name in was}

    mean_a, mean_b = (np.average(values, axis=0, weights=weights)[None] for values in (before, after))  # (1, M)
    drawn = changes(*(resampled_means(values, videos, weights=weights) for values in (before, after)))
    exchanged = changes(*exchanged_means(before, after, videos, weights=weights))
    was, now = (derived(task, names, means) for means in (mean_a, mean_b))
    least, most = limits_of(np.concatenate([before, after]))
    num_videos = len(set(videos))
    metrics = {}
    for name in was:
        value_a, value_b = was[name].item(), now[name].item()
        low, high = interval_95(drawn[name], value_b - value_a, num_videos, (least - most, most - least))
        p_value = exchange_p_value(value_b - value_a, exchanged[name])
        metrics[name] = Difference(value_a, value_b, value_b - value_a, low, high, p_value)
    return Part(key, text, len(ids), num_videos, metrics)


def _row(items: Items, id_: str, protocol: str) -> Mapping[str, float]:
    return items[id_].metrics[protocol] or {}
