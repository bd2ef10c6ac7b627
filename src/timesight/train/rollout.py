"""Replies to a batch of prompts, with their rewards: everything an update needs but the advantages.

B prompts, G replies a prompt.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from timesight.generate.decode import Sampled, generate
from timesight.model.encode import PromptBatch
from timesight.model.policy import Policy
from timesight.model.vision import VisionFeatures
from timesight.prefix.layout import Completions
from timesight.tasks.scoring import group_totals, part_means, reply_rewards, required_parts
from timesight.train.advantages import group_spread
from timesight.train.dataset import PromptItem
from timesight.train.settings import GrpoSettings
from timesight.types import Judge, Rewards

NO_SPREAD = 1e-6  # a group whose rewards differ by less teaches nothing


@dataclass(frozen=True, eq=False)
class Rollout:
    """B · G replies, row by row, group after group."""

    items: list[PromptItem]  # B
    sampled: Sampled
    completions: Completions
    parts: list[Rewards]  # B · G named reward parts
    rewards: Tensor  # (B, G) weighted sums, NaN where a reply could not be judged

    @property
    def tasks(self) -> list[str]:
        """The task of each prompt."""
        return [item.sample.task for item in self.items]

    def learning_mask(self, settings: GrpoSettings) -> Tensor:
        """(B · G, C) the tokens that are learned from."""
        mask = self.completions.mask
        if not settings.mask_truncated_completions:
            return mask
        ended = torch.tensor([not cut for cut in self.sampled.truncated], device=mask.device)
        return mask * ended[:, None]

    def stats(self) -> dict[str, float]:
        """What there is to say about the replies, as flat numbers; reward parts are named ``reward/task/part``."""
        lengths = [len(ids) for ids in self.sampled.ids]
        spread = group_spread(self.rewards)
        return {
            "reward": float(self.rewards.double().nanmean()),
            "reward_spread": float(spread.mean()),
            "no_spread_share": float((spread < NO_SPREAD).double().mean()),
            "unjudged_share": float((~self.rewards.isfinite()).double().mean()),
            "completion_tokens": sum(lengths) / len(lengths),
            "truncated_share": sum(self.sampled.truncated) / len(lengths),
            **self._part_means(),
        }

    def _part_means(self) -> dict[str, float]:
        group = self.rewards.shape[1]
        rows_of: dict[str, list[Rewards]] = defaultdict(list)
        for row, parts in enumerate(self.parts):
            rows_of[self.items[row // group].sample.task].append(parts)
        means = {task: part_means(rows) for task, rows in rows_of.items()}
        return {f"reward/{task}/{part}": mean for task in means for part, mean in means[task].items()}


def sample_groups(
    policy: Policy, prompts: PromptBatch, settings: GrpoSettings, features: VisionFeatures | None = None
) -> Sampled:
    """A group of replies to each prompt, as ``settings`` say."""
    return generate(
        policy,
        prompts,
        num_generations=settings.num_generations,
        max_new_tokens=settings.max_completion_length,
        temperature=settings.temperature,
        features=features,
    )


def make_rollout(
    items: list[PromptItem],
    sampled: Sampled,
    settings: GrpoSettings,
    device: torch.device,
    judge: Judge | None = None,
) -> Rollout:
    """Reward the replies to ``items``."""
    group = len(sampled.texts) // len(items)
    asked = [item for item in items for _ in range(group)]
    parts = reply_rewards(sampled.texts, [i.sample for i in asked], [i.think for i in asked], judge)
    rewards = torch.full((len(items), group), math.nan)
    for index, item in enumerate(items):
        mine = parts[index * group : (index + 1) * group]
        required = required_parts(item.sample.task)
        rewards[index] = torch.tensor(group_totals(mine, settings.reward_weights, required))
    return Rollout(items, sampled, Completions.of(sampled.ids, len(items), device), parts, rewards)
