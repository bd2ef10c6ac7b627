"""Replies to a batch of prompts, with their rewards and advantages: everything an update needs.

B prompts, G replies a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from timesight.policy.encode import PromptBatch
from timesight.policy.generate import Sampled, generate
from timesight.policy.load import Policy
from timesight.policy.packing import Completions
from timesight.tasks import TASKS
from timesight.train.dataset import PromptItem
from timesight.train.loss import group_advantages
from timesight.train.recipe import GrpoSettings
from timesight.types import Rewards

NO_SPREAD = 1e-6  # a group whose rewards differ by less teaches nothing


@dataclass(frozen=True, eq=False)
class Rollout:
    """B · G replies, row by row, group after group."""

    sampled: Sampled
    completions: Completions
    parts: list[Rewards]  # B · G named reward parts
    rewards: Tensor  # (B, G) weighted sums, NaN where nothing could be judged
    advantages: Tensor  # (B · G,)

    def stats(self) -> dict[str, float]:
        """What there is to say about the replies, as flat numbers."""
        names = sorted({name for parts in self.parts for name in parts})
        lengths = [len(ids) for ids in self.sampled.ids]
        spread = self.rewards.nan_to_num(0.0).std(dim=1)
        return {
            "reward": float(self.rewards.nanmean()),
            "reward_spread": float(spread.mean()),
            "no_spread_share": float((spread < NO_SPREAD).float().mean()),
            "completion_tokens": sum(lengths) / len(lengths),
            "truncated_share": sum(self.sampled.truncated) / len(lengths),
            **{f"reward/{name}": _mean([parts.get(name) for parts in self.parts]) for name in names},
        }


def make_rollout(
    policy: Policy, items: Sequence[PromptItem], prompts: PromptBatch, features: Any, settings: GrpoSettings
) -> Rollout:
    """Sample G replies to each prompt and score them."""
    group = settings.num_generations
    sampled = generate(
        policy,
        prompts,
        num_generations=group,
        max_new_tokens=settings.max_completion_length,
        temperature=settings.temperature,
        features=features,
    )
    prompt_of = [index for index in range(len(items)) for _ in range(group)]
    parts = [
        TASKS[items[index].sample.task].reward(text, items[index].sample, items[index].think)
        for index, text in zip(prompt_of, sampled.texts, strict=True)
    ]
    totals = [total_reward(p, settings.reward_weights) for p in parts]
    rewards = torch.tensor(totals, dtype=torch.float32).view(len(items), group)
    return Rollout(
        sampled=sampled,
        completions=Completions.of(sampled.ids, len(items), policy.device),
        parts=list(parts),
        rewards=rewards,
        advantages=group_advantages(rewards).flatten().to(policy.device),
    )


def total_reward(parts: Rewards, weights: Mapping[str, float]) -> float:
    """The weighted sum of the parts that were judged; NaN where none was."""
    judged = {name: value for name, value in parts.items() if value is not None}
    if not judged:
        return math.nan
    return sum(weights.get(name, 1.0) * value for name, value in judged.items())


def _mean(values: Sequence[float | None]) -> float:
    judged = [value for value in values if value is not None]
    return sum(judged) / len(judged) if judged else math.nan
