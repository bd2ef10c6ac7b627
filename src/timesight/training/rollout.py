"""Replies to prompts, with their rewards: everything an update needs but the advantages.

B prompts, G replies a prompt.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from timesight.errors import ModelError, SampleError
from timesight.generate.base import Completion, Generator, Sampling
from timesight.model.encode import EncodedPrompt
from timesight.tasks import TASKS, TaskRegistry
from timesight.tasks.scoring import component_means, group_totals, reply_rewards, required_components
from timesight.training.advantages import group_std
from timesight.training.dataset import PromptItem
from timesight.types import Judge, Rewards

ZERO_STD = 1e-6  # a group whose rewards differ by less teaches nothing


@dataclass(frozen=True, eq=False)
class Rollout:
    """B · G replies, row by row, group after group."""

    items: Sequence[PromptItem]  # B
    completions: Sequence[Completion]  # B · G
    components: Sequence[Rewards]  # B · G named reward components
    rewards: Tensor  # (B, G) weighted sums, NaN where a reply could not be judged

    @property
    def tasks(self) -> list[str]:
        """The task of each prompt."""
        return [item.sample.task for item in self.items]

    @property
    def num_generations(self) -> int:
        """G."""
        return self.rewards.shape[1]

    def part(self, first: int, count: int) -> Rollout:
        """``count`` prompts from the ``first`` on, with their replies."""
        rows = slice(first * self.num_generations, (first + count) * self.num_generations)
        prompts = slice(first, first + count)
        return Rollout(self.items[prompts], self.completions[rows], self.components[rows], self.rewards[prompts])

    def stats(self) -> dict[str, float]:
        """What there is to say about the replies; reward components are named ``reward/task/component``."""
        lengths = [len(completion.token_ids) for completion in self.completions]
        std = group_std(self.rewards)
        return {
            "reward": float(self.rewards.double().nanmean()),
            "reward_std": float(std.mean()),
            "frac_reward_zero_std": float((std < ZERO_STD).double().mean()),
            "unjudged_share": float((~self.rewards.isfinite()).double().mean()),
            "completion_tokens": sum(lengths) / len(lengths),
            "truncated_share": sum(completion.truncated for completion in self.completions) / len(lengths),
            **self._component_means(),
        }

    def _component_means(self) -> dict[str, float]:
        rows_of: dict[str, list[Rewards]] = defaultdict(list)
        for row, components in enumerate(self.components):
            rows_of[self.items[row // self.num_generations].sample.task].append(components)
        means = {task: component_means(rows) for task, rows in rows_of.items()}
        return {f"reward/{task}/{name}": mean for task in means for name, mean in means[task].items()}


def sample_groups(
    generator: Generator,
    items: Sequence[PromptItem],
    prompts: Sequence[EncodedPrompt],
    num_generations: int,
    sampling: Sampling,
) -> list[Completion]:
    """``num_generations`` replies to each of ``items``, group after group; ``prompts`` are theirs.

    Raises:
        SampleError: If a prompt cannot be given to the model.
    """
    groups = generator.generate(prompts, num_generations, sampling)
    for item, group in zip(items, groups, strict=True):
        if isinstance(group, ModelError):
            raise SampleError(f"{item.sample.id}: {group}")
    return [completion for group in groups if not isinstance(group, ModelError) for completion in group]


def make_rollout(
    items: Sequence[PromptItem],
    completions: Sequence[Completion],
    reward_weights: Mapping[str, float],
    judge: Judge | None = None,
    tasks: TaskRegistry = TASKS,
) -> Rollout:
    """Reward the replies to ``items``."""
    group = len(completions) // len(items)
    asked = [item for item in items for _ in range(group)]
    texts = [completion.text for completion in completions]
    components = reply_rewards(texts, [i.sample for i in asked], [i.think for i in asked], judge, tasks)
    rewards = torch.full((len(items), group), math.nan)
    for index, item in enumerate(items):
        mine = components[index * group : (index + 1) * group]
        required = required_components(tasks.of(item.sample))
        rewards[index] = torch.tensor(group_totals(mine, reward_weights, required))
    return Rollout(items, completions, components, rewards)
