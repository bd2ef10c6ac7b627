"""What a policy answers to held-out samples while it trains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from timesight.generate.base import Completion
from timesight.generate.local import LocalGenerator
from timesight.infer.answer import InferenceConfig, answer_batches
from timesight.model.policy import Policy
from timesight.tasks import Graded
from timesight.tasks.aggregate import baseline_metrics, metrics_of
from timesight.tasks.scoring import group_totals, reply_rewards, required_components
from timesight.training.loop import REWARD
from timesight.types import Judge, Sample


def validate(
    policy: Policy,
    samples: Sequence[Sample],
    config: InferenceConfig,
    judge: Judge | None = None,
) -> dict[str, float]:
    """Greedy replies' mean reward (``validation/reward``) and each task's metrics (``validation/task/metric``).

    Next to them what answers earn that need neither the video nor its duration
    (``validation/task/baseline/metric``).

    Samples whose video cannot be read are left out and counted (``validation/num_unreadable``).
    """
    answered: list[Sample] = []
    replies: list[str] = []
    unreadable = 0
    for batch in answer_batches(LocalGenerator(policy), samples, config):
        for sample, outcome in batch:
            if isinstance(outcome, Completion):
                answered.append(sample)
                replies.append(outcome.text)
            else:
                unreadable += 1
    rewards = reply_rewards(replies, answered, [config.think] * len(answered), judge, config.tasks)
    totals = [
        group_totals([parts], {}, required_components(config.tasks.of(sample)))[0]
        for sample, parts in zip(answered, rewards, strict=True)
    ]
    judged = [total for total in totals if total == total]
    graded: dict[str, list[Graded[Any, Any]]] = defaultdict(list)
    for sample, reply in zip(answered, replies, strict=True):
        graded[sample.task].append(config.tasks.of(sample).grade(sample, reply, config.think))
    figures: dict[str, float] = {}
    for name, items in graded.items():
        asked = [item.sample for item in items]
        task = config.tasks[name]
        lines = {name: metrics_of(task, items, judge=judge)}
        blind = baseline_metrics(task, asked, [None] * len(asked), judge=judge)
        lines |= {f"{name}/{baseline}": metrics for baseline, metrics in blind.items()}
        figures |= {f"validation/{line}/{name}": value for line, m in lines.items() for name, value in m.items()}
    return figures | {
        REWARD: sum(judged) / len(judged) if judged else 0.0,
        "validation/num_unreadable": float(unreadable),
    }
