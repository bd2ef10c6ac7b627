"""Rewards of many replies, to samples of any tasks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from timesight.tasks import TASKS, Task, TaskRegistry
from timesight.types import Judge, Rewards, Sample


def reply_rewards(
    replies: Sequence[str],
    samples: Sequence[Sample],
    thinks: Sequence[bool],
    judge: Judge | None,
    tasks: TaskRegistry = TASKS,
) -> list[Rewards]:
    """The reward components of each reply; a task gets all its replies at once, so that a judge can."""
    kinds = [(sample.task, think) for sample, think in zip(samples, thinks, strict=True)]
    rewards: list[Rewards] = [{}] * len(replies)
    for task, think in sorted(set(kinds)):
        mine = [n for n, kind in enumerate(kinds) if kind == (task, think)]
        parts = tasks[task].rewards([replies[n] for n in mine], [samples[n] for n in mine], think, judge)
        for n, named in zip(mine, parts, strict=True):
            rewards[n] = named
    return rewards


def group_totals(
    group: Sequence[Rewards], weights: Mapping[str, float], required: Sequence[str] = ()
) -> list[float]:
    """The weighted sum of each reply's parts, over the ``required`` ones and those any reply was judged on.

    NaN for a reply that lacks one of them: summing what is left would count the missing part as 0. For a task with
    a judge all parts are required; else a part that no reply of the group has does not apply.
    """
    judged = {name for parts in group for name, value in parts.items() if value is not None}
    counted = sorted(name for name in judged.union(required) if weights.get(name, 1.0) > 0)
    totals = []
    for parts in group:
        known = [weights.get(name, 1.0) * value for name in counted if (value := parts.get(name)) is not None]
        totals.append(sum(known) if known and len(known) == len(counted) else math.nan)
    return totals


def component_means(rows: Sequence[Rewards]) -> dict[str, float]:
    """The mean of each reward component, over the replies for which it was judged."""
    judged: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            if value is not None:
                judged[name].append(value)
    return {name: sum(values) / len(values) for name, values in sorted(judged.items())}


def required_components(task: Task[Any, Any]) -> tuple[str, ...]:
    """The parts without which a reply to ``task`` has no total."""
    return task.component_names if task.needs_judge else ()
