"""What a policy answers to held-out samples while it trains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from timesight.errors import VideoError
from timesight.infer.answer import answer_batches
from timesight.policy.policy import Policy
from timesight.tasks import TASKS, Graded
from timesight.train.rollout import group_totals, reply_rewards
from timesight.types import Judge, Sample
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
    judge: Judge | None = None,
) -> dict[str, float]:
    """Greedy replies' mean reward (``validation/reward``) and each task's metrics (``validation/task/metric``).

    Beside them what answers without a look at the video earn (``validation/task/baseline/metric``).

    Samples whose video cannot be read are left out and counted (``validation/num_unreadable``).
    """
    answered: list[Sample] = []
    replies: list[str] = []
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
            answered.append(sample)
            replies.append(reply)
    rewards = reply_rewards(answered, [think] * len(answered), replies, judge)
    totals = [group_totals([parts], {})[0] for parts in rewards]
    judged = [total for total in totals if total == total]
    graded: dict[str, list[Graded[Any, Any]]] = defaultdict(list)
    for sample, reply in zip(answered, replies, strict=True):
        answer = TASKS[sample.task].parse(reply, think, strict=False, sample=sample)
        graded[sample.task].append(Graded(sample, reply, answer))
    figures: dict[str, float] = {}
    for name, items in graded.items():
        task, asked = TASKS[name], [item.sample for item in items]
        lines = {f"validation/{name}": items}
        for baseline, answers in task.baselines(asked, [None] * len(asked)).items():
            lines[f"validation/{name}/{baseline}"] = [
                Graded(s, "", answer) for s, answer in zip(asked, answers, strict=True)
            ]
        for line, mine in lines.items():
            values = task.metrics(mine, task.protocols[0], judge)
            figures |= {f"{line}/{metric}": value for metric, value in values.items()}
    return figures | {
        REWARD: sum(judged) / len(judged) if judged else 0.0,
        "validation/num_unreadable": float(unreadable),
    }
