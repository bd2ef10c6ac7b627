"""What a policy answers to held-out samples while it trains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from timesight.errors import VideoError
from timesight.infer.answer import answer_batches
from timesight.policy.policy import Policy
from timesight.tasks import TASKS, Graded
from timesight.train.rollout import group_totals
from timesight.types import Rewards, Sample
from timesight.video import FrameBudget

REWARD = "validation/reward"


def validate(
    policy: Policy,
    samples: Sequence[Sample],
    budget: FrameBudget,
    *,
    think: bool,
    batch_size: int,
    max_new_tokens: int,
) -> dict[str, float]:
    """Greedy replies' mean reward (``validation/reward``) and each task's metrics (``validation/task/metric``).

    Samples whose video cannot be read are left out and counted (``validation/num_unreadable``).
    """
    graded: dict[str, list[Graded[Any, Any]]] = defaultdict(list)
    rewards: list[Rewards] = []
    unreadable = 0
    for batch in answer_batches(
        policy,
        samples,
        budget=budget,
        think=think,
        temperature=0.0,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    ):
        for sample, reply in batch:
            if isinstance(reply, VideoError):
                unreadable += 1
                continue
            task = TASKS[sample.task]
            graded[task.name].append(Graded(sample, reply, task.parse(reply, think, strict=False)))
            rewards.append(task.reward(reply, sample, think))
    totals = [group_totals([parts], {})[0] for parts in rewards]
    judged = [total for total in totals if total == total]
    figures = {
        f"validation/{name}/{metric}": value
        for name, items in graded.items()
        for metric, value in TASKS[name].metrics(items).items()
    }
    return figures | {
        REWARD: sum(judged) / len(judged) if judged else 0.0,
        "validation/num_unreadable": float(unreadable),
    }
