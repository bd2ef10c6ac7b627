"""Replies to prompts, with their rewards: everything an update needs but the advantages.

B prompts, G replies a prompt.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
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
from timesight.training.look_again import SecondLooks
from timesight.types import Judge, Rewards

ZERO_STD = 1e-6  # below it, a group counts as having zero std


@dataclass(frozen=True, eq=False)
class Turn:
    """A prompt and the reply to it."""

    item: PromptItem
    completion: Completion


@dataclass(frozen=True, eq=False)
class Rollout:
    """B · G replies, row by row, group after group; the last turn of each is rewarded, and all of them learn."""

    items: Sequence[PromptItem]  # B
    completions: Sequence[Completion]  # B · G, to the prompts of ``items``
    second_turns: Sequence[Turn | None]  # B · G, after a second look; None where the first reply stays the answer
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
        return Rollout(
            self.items[prompts],
            self.completions[rows],
            self.second_turns[rows],
            self.components[rows],
            self.rewards[prompts],
        )

    @staticmethod
    def join(parts: Sequence[Rollout]) -> Rollout:
        """The prompts of ``parts`` one after the other."""
        return Rollout(
            [item for part in parts for item in part.items],
            [completion for part in parts for completion in part.completions],
            [turn for part in parts for turn in part.second_turns],
            [components for part in parts for components in part.components],
            torch.cat([part.rewards for part in parts]),
        )

    def entries(self) -> list[Rollout]:
        """One for each entry of the schedule: for prompts that were asked together on the same frames."""
        sizes = [len(list(same)) for _, same in groupby(self.items, key=lambda item: id(item.encoded.patches))]
        firsts = accumulate(sizes, initial=0)
        return [self.part(first, size) for first, size in zip(firsts, sizes, strict=False)]

    @property
    def second_rows(self) -> list[int]:
        """The replies that have a second turn, those on the same segments one after the other."""
        return _by_frames([None if turn is None else turn.item for turn in self.second_turns])

    @property
    def outcome(self) -> StepOutcome:
        """What is sent to the other processes."""
        turns = [
            [first, *([] if second is None else [second.completion])]
            for first, second in zip(self.completions, self.second_turns, strict=True)
        ]
        return StepOutcome(
            tasks=self.tasks,
            rewards=self.rewards.tolist(),
            components=[dict(components) for components in self.components],
            lengths=[sum(len(completion.token_ids) for completion in mine) for mine in turns],
            truncated=[any(completion.truncated for completion in mine) for mine in turns],
            looked_again=[len(mine) > 1 for mine in turns],
        )

    @property
    def has_reward_std(self) -> bool:
        """Whether the replies of any group differ in reward; ``frac_reward_zero_std`` counts the other groups."""
        return bool((group_std(self.rewards) >= ZERO_STD).any())


@dataclass(frozen=True)
class StepOutcome:
    """How the replies of a step did, of one process or of all: B prompts, G replies to each."""

    tasks: list[str]  # B
    rewards: list[list[float]]  # (B, G)
    components: list[Rewards]  # B · G
    lengths: list[int]  # B · G, tokens
    truncated: list[bool]  # B · G
    looked_again: list[bool]  # B · G

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
        looked_again = sum(self.looked_again) / len(self.looked_again)
        return {
            "reward": float(rewards.double().nanmean()),
            "reward_std": float(std.mean()),
            "frac_reward_zero_std": float((std < ZERO_STD).double().mean()),
            "unjudged_share": float((~rewards.isfinite()).double().mean()),
            "completion_tokens": sum(self.lengths) / len(self.lengths),
            "truncated_share": sum(self.truncated) / len(self.truncated),
            **({"looked_again_share": looked_again} if looked_again else {}),
            **self._component_means(),
        }

    def _component_means(self) -> dict[str, float]:
        rows_of: dict[str, list[Rewards]] = defaultdict(list)
        group = len(self.components) // len(self.tasks)
        for row, components in enumerate(self.components):
            rows_of[self.tasks[row // group]].append(components)
        means = {task: component_means(rows) for task, rows in rows_of.items()}
        return {f"reward/{task}/{name}": mean for task in means for name, mean in means[task].items()}


@dataclass(frozen=True, eq=False)
class Sampler:
    """Samples replies to prompts and rewards them.

    Args:
        generator: Samples the replies.
        num_generations: G, replies to each prompt.
        sampling: How.
        reward_weights: By reward component.
        judge: For tasks whose rewards take one.
        tasks: Of the samples.
        second_looks: Makes the prompts of a second turn; None: there is none.
    """

    generator: Generator
    num_generations: int
    sampling: Sampling
    reward_weights: Mapping[str, float]
    judge: Judge | None = None
    tasks: TaskRegistry = TASKS
    second_looks: SecondLooks | None = None

    def sample(self, items: Sequence[PromptItem]) -> list[Completion]:
        """G replies to each of ``items``, group after group.

        Raises:
            SampleError: If a prompt cannot be given to the model.
        """
        return self._replies(items, self.num_generations)

    def look_again(
        self,
        items: Sequence[PromptItem],
        replies: Sequence[Completion],
        prepare: Callable[[Sequence[PromptItem]], Sequence[PromptItem]] = tuple,
    ) -> list[Turn | None]:
        """The second turns of ``replies`` to ``items``, with one reply to each second look.

        Args:
            items: First prompts.
            replies: G to each of them.
            prepare: Applied to the second prompts before they are replied to.

        Raises:
            SampleError: If a prompt cannot be given to the model.
        """
        turns: list[Turn | None] = [None] * len(replies)
        if self.second_looks is None:
            return turns
        asked = [item for item in items for _ in range(self.num_generations)]
        again = self.second_looks.prompts(asked, replies)
        rows = _by_frames(again)
        prompts = prepare([item for row in rows if (item := again[row]) is not None])
        for row, turn in zip(rows, map(Turn, prompts, self._replies(prompts, 1)), strict=True):
            turns[row] = turn
        return turns

    def rollout(
        self, items: Sequence[PromptItem], completions: Sequence[Completion], turns: Sequence[Turn | None]
    ) -> Rollout:
        """Reward the last turn of each reply to ``items``."""
        group = self.num_generations
        asked = [item for item in items for _ in range(group)]
        texts = [
            first.text if second is None else second.completion.text
            for first, second in zip(completions, turns, strict=True)
        ]
        samples, thinks = [item.sample for item in asked], [item.think for item in asked]
        components = reply_rewards(texts, samples, thinks, self.judge, self.tasks)
        rewards = torch.full((len(items), group), math.nan)
        for index, item in enumerate(items):
            mine = components[index * group : (index + 1) * group]
            required = required_components(self.tasks.of(item.sample))
            rewards[index] = torch.tensor(group_totals(mine, self.reward_weights, required))
        return Rollout(items, completions, turns, components, rewards)

    def _replies(self, items: Sequence[PromptItem], count: int) -> list[Completion]:
        groups = self.generator.generate([item.encoded for item in items], count, self.sampling) if items else []
        for item, group in zip(items, groups, strict=True):
            if isinstance(group, ModelError):
                raise SampleError(f"{item.sample.id}: {group}")
        return [completion for group in groups if not isinstance(group, ModelError) for completion in group]


def _by_frames(items: Sequence[PromptItem | None]) -> list[int]:
    """The places of the items that are there, those on the same frames one after the other."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        if item is not None:
            places[id(item.encoded.patches)].append(place)
    return list(chain.from_iterable(places.values()))
