"""Rewards of replies to samples of several tasks, and their totals."""

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
    """Reward components of replies to samples of any tasks.

    Each task scores all its replies of one mode in one call, so that a judge can batch them.

    Args:
        replies: N replies.
        samples: The sample of each reply, of any tasks.
        thinks: For each reply, whether its prompt asked for ``<think>…</think>``.
        judge: Scores captions; None leaves unscored what needs one.
        tasks: Where the samples' tasks are looked up.

    Returns:
        One row per reply, in order, as ``Task.rewards`` returns it.

    Raises:
        InputError: If a custom task returns invalid reward components.
    """
    kinds = [(sample.task, think) for sample, think in zip(samples, thinks, strict=True)]
    rewards: list[Rewards] = [{}] * len(replies)
    for task, think in sorted(set(kinds)):
        mine = [n for n, kind in enumerate(kinds) if kind == (task, think)]
        components = tasks[task].rewards([replies[n] for n in mine], [samples[n] for n in mine], think, judge)
        for n, named in zip(mine, components, strict=True):
            rewards[n] = named
    return rewards


def group_totals(
    group: Sequence[Rewards], weights: Mapping[str, float], required: Sequence[str] = ()
) -> list[float]:
    """Weighted sum of each reply's reward components.

    A component counts if it is ``required`` or any reply of the group has a value for it; otherwise it does not
    apply to the task.

    Args:
        group: Reward components of the G replies to one prompt.
        weights: By component; 1, as in the paper (section 3.3), where not named. Components of weight 0 do not
            count.
        required: See ``required_components``.

    Returns:
        G totals. NaN for a reply without a value for a component that counts: the sum of the others would count it
        as 0.
    """
    judged = {name for components in group for name, value in components.items() if value is not None}
    counted = sorted(name for name in judged.union(required) if weights.get(name, 1.0) > 0)
    totals = []
    for components in group:
        known = [weights.get(name, 1.0) * value for name in counted if (value := components.get(name)) is not None]
        totals.append(sum(known) if known and len(known) == len(counted) else math.nan)
    return totals


def component_means(rows: Sequence[Rewards]) -> dict[str, float]:
    """Mean of each reward component over the replies that have a value for it, in the order of the names."""
    judged: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            if value is not None:
                judged[name].append(value)
    return {name: sum(values) / len(values) for name, values in sorted(judged.items())}


def required_components(task: Task[Any, Any]) -> tuple[str, ...]:
    """The components without which a reply to ``task`` has no total: all if the task needs a judge, else none."""
    return task.component_names if task.needs_judge else ()
