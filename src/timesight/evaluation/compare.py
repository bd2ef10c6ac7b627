"""Two evaluations of the same items: what changed, where, and whether by more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from timesight.errors import InputError
from timesight.statistics import cluster_bootstrap, sign_flip_p_value

Items = Mapping[str, Mapping[str, Any]]
EVERYTHING = "all"


@dataclass(frozen=True)
class Difference:
    """A metric of A and of B over the same items; the paired difference B − A, its 95% interval and p-value."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Part:
    """Some items, ``key`` being ``value``; and the difference in each metric. Items count alike."""

    key: str
    value: str
    num_items: int
    num_videos: int
    metrics: dict[str, Difference]


@dataclass(frozen=True)
class Change:
    """One item that changed, in the metric that was looked at."""

    id: str
    a: float
    b: float
    reply_a: str
    reply_b: str


@dataclass(frozen=True)
class Comparison:
    """What changed from A to B. ``only_a`` and ``only_b`` count items that the other has not: not compared."""

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
    """Compare the items (``read_items``) of two evaluations, by ``metric`` where single items are concerned.

    Without ``protocol`` and ``metric``, by the first of each. Raises InputError where the two have no item, no
    protocol or no metric in common.
    """
    shared = [id_ for id_ in a if id_ in b]
    if not shared:
        raise InputError("the two evaluations have no item in common")
    protocol = _choose("protocol", protocol, a[shared[0]]["metrics"], b[shared[0]]["metrics"])
    scored = [id_ for id_ in shared if a[id_]["metrics"][protocol] and b[id_]["metrics"][protocol]]
    if not scored:
        raise InputError(f"no item has been scored in both evaluations by protocol {protocol}")
    names = [name for name in a[scored[0]]["metrics"][protocol] if name in b[scored[0]]["metrics"][protocol]]
    metric = _choose("metric", metric, names, names)

    def value(items: Items, id_: str, name: str) -> float:
        return float(items[id_]["metrics"][protocol][name])

    def part(key: str, text: str, ids: Sequence[str]) -> Part:
        videos = [str(a[id_]["video"]) for id_ in ids]
        metrics = {
            name: _difference([value(a, id_, name) for id_ in ids], [value(b, id_, name) for id_ in ids], videos)
            for name in names
        }
        return Part(key, text, len(ids), len(set(videos)), metrics)

    changes = [
        Change(id_, value(a, id_, metric), value(b, id_, metric), a[id_]["reply"], b[id_]["reply"])
        for id_ in scored
    ]
    ranked = sorted(changes, key=lambda change: (change.a - change.b, change.id))
    better = [change for change in ranked if change.b > change.a]
    worse = [change for change in reversed(ranked) if change.b < change.a]
    return Comparison(
        protocol=protocol,
        metric=metric,
        only_a=len(a) - len(shared),
        only_b=len(b) - len(shared),
        num_better=len(better),
        num_worse=len(worse),
        parts=[part(key, text, ids) for key, text, ids in _groups(a, scored)],
        improved=better[:num_shown],
        hurt=worse[:num_shown],
    )


def compare_tasks(a: Items, b: Items, **how: Any) -> dict[str, Comparison]:
    """``compare`` for each task that both evaluations have items of. Raises InputError where there is none."""
    tasks = dict.fromkeys(a[id_]["task"] for id_ in a if id_ in b)
    if not tasks:
        raise InputError("the two evaluations have no item in common")

    def of(items: Items, task: str) -> Items:
        return {id_: item for id_, item in items.items() if item["task"] == task}

    return {task: compare(of(a, task), of(b, task), **how) for task in tasks}


def _choose(what: str, wanted: str | None, *known: Any) -> str:
    both = [str(name) for name in known[0] if name in known[1]]
    chosen = wanted if wanted is not None else next(iter(both), "")
    if chosen not in both:
        raise InputError(f"the two have no {what} {chosen} in common: choose one of {', '.join(both) or 'none'}")
    return chosen


def _groups(items: Items, ids: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """All items, then those of each value of each key; a key with one value says nothing."""
    groups: dict[str, dict[str, list[str]]] = {}
    for id_ in ids:
        for key, values in items[id_]["groups"].items():
            for text in values:
                groups.setdefault(key, {}).setdefault(text, []).append(id_)
    parts = [(EVERYTHING, "", list(ids))]
    return parts + [
        (key, text, mine)
        for key, values in groups.items()
        if len(values) > 1
        for text, mine in sorted(values.items())
    ]


def _difference(a: Sequence[float], b: Sequence[float], videos: Sequence[str]) -> Difference:
    changes = [after - before for before, after in zip(a, b, strict=True)]
    interval = cluster_bootstrap(changes, videos)
    return Difference(
        a=sum(a) / len(a),
        b=sum(b) / len(b),
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p_value=sign_flip_p_value(changes, videos),
    )
