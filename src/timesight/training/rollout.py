"""Replies to prompts, with their rewards: everything an update needs but the advantages.

B prompts, G replies a prompt.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby

import torch
from torch import Tensor

from timesight.errors import ModelError, SampleError
from timesight.generate.base import Completion, Generator, Sampling
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

    @staticmethod
    def join(parts: Sequence[Rollout]) -> Rollout:
        """The prompts of ``parts`` one after the other."""
        return Rollout(
            [item for part in parts for item in part.items],
            [completion for part in parts for completion in part.completions],
            [components for part in parts for components in part.components],
            torch.cat([part.rewards for part in parts]),
        )

    def entries(self) -> list[Rollout]:
        """One for each entry of the schedule: for prompts that were asked together on the same frames."""
        sizes = [len(list(same)) for _, same in groupby(self.items, key=lambda item: id(item.encoded.patches))]
        firsts = accumulate(sizes, initial=0)
        return [self.part(first, size) for first, size in zip(firsts, sizes, strict=False)]

    @property
    def outcome(self) -> StepOutcome:
        """What the other processes are told."""
        return StepOutcome(
            tasks=self.tasks,
            rewards=self.rewards.tolist(),
            components=[dict(components) for components in self.components],
            lengths=[len(completion.token_ids) for completion in self.completions],
            truncated=[completion.truncated for completion in self.completions],
        )

    @property
    def has_spread(self) -> bool:
        """Whether any group has replies that earned more than others."""
        return bool((group_std(self.rewards) >= ZERO_STD).any())


@dataclass(frozen=True)
class StepOutcome:
    """How the replies of a step did, of one process or of all: B prompts, G replies to each."""

    tasks: list[str]  # B
    rewards: list[list[float]]  # (B, G)
    components: list[Rewards]  # B · G
    lengths: list[int]  # B · G, tokens
    truncated: list[bool]  # B · G

    @staticmethod
    def join(parts: Sequence[StepOutcome]) -> StepOutcome:
        """The prompts of ``parts`` one after the other."""
        return StepOutcome(
            *(
                list(chain.from_iterable(lists))
                for lists in zip(*(vars(part).values() for part in parts), strict=True)
            )
        )

    def stats(self) -> dict[str, float]:
        """What there is to say about the replies; reward components are named ``reward/task/component``."""
        rewards = torch.tensor(self.rewards)
        std = group_std(rewards)
        return {
            "reward": float(rewards.double().nanmean()),
            "reward_std": float(std.mean()),
            "frac_reward_zero_std": float((std < ZERO_STD).double().mean()),
            "unjudged_share": float((~rewards.isfinite()).double().mean()),
            "completion_tokens": sum(self.lengths) / len(self.lengths),
            "truncated_share": sum(self.truncated) / len(self.truncated),
            **self._component_means(),
        }

    def _component_means(self) -> dict[str, float]:
        rows_of: dict[str, list[Rewards]] = defaultdict(list)
        group = len(self.components) // len(self.tasks)
        for row, components in enumerate(self.components):
            rows_of[self.tasks[row // group]].append(components)
        means = {task: component_means(rows) for task, rows in rows_of.items()}
        return {f"reward/{task}/{name}": mean for task in means for name, mean in means[task].items()}


def sample_groups(
    generator: Generator,
    items: Sequence[PromptItem],
    num_generations: int,
    sampling: Sampling,
) -> list[Completion]:
    """``num_generations`` replies to each of ``items``, group after group.

    Raises:
        SampleError: If a prompt cannot be given to the model.
    """
    groups = generator.generate([item.encoded for item in items], num_generations, sampling)
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
