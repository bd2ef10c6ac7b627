"""Training examples: one prompt with its videos, read and encoded when the trainer asks for it."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch.utils.data import Dataset

from timesight.errors import VideoError
from timesight.policy.encode import EncodedPrompt, encode_sample
from timesight.policy.policy import Policy
from timesight.tasks import TASKS
from timesight.types import Sample
from timesight.video import FrameBudget, FrameMemory

# What a curriculum begins with, as a share of the samples, and for how long, as a share of its items.
EASIEST_SHARE, EASIEST_HOLD = 0.08, 0.2


@dataclass(frozen=True)
class Turn:
    """One entry of a schedule: which sample is asked, in which mode."""

    sample: int
    think: bool
    is_repeat: bool = False


@dataclass(frozen=True, eq=False)
class PromptItem:
    """A prompt ready for the policy, and how long it took to get it ready."""

    sample: Sample
    think: bool
    encoded: EncodedPrompt
    read_s: float


@dataclass(frozen=True, eq=False)
class BrokenItem:
    """A prompt whose video cannot be read; nothing takes its place."""

    sample: Sample
    error: VideoError


@dataclass(frozen=True, eq=False)
class RepeatItem:
    """A prompt whose replies are learned from once more; it was read before."""

    sample: Sample


Item = PromptItem | BrokenItem | RepeatItem


def make_schedule(
    samples: Sequence[Sample],
    num_items: int,
    *,
    seed: int,
    think_share: float,
    easy_first: float = 0.0,
    think_first: float = 0.0,
    batch_size: int = 1,
) -> list[Turn]:
    """What is asked in which order: shuffled epochs, the same on every process.

    During the share ``easy_first`` of the items, samples are drawn from those with the shortest gold replies
    in think mode, of every task: for a fifth of that time only the very shortest, then longer ones join in evenly.
    The first share ``think_first`` of the items is all asked in think mode. The items of one batch share a mode:
    thoughts are long, and padding answers to them is waste.
    """
    rng = np.random.default_rng(seed)
    num_early = int(easy_first * num_items)
    by_length = _shortest_first(samples) if num_early else []
    num_easiest = int(EASIEST_HOLD * num_early)
    shares = np.r_[np.full(num_easiest, EASIEST_SHARE), np.linspace(EASIEST_SHARE, 1, num_early - num_easiest)]
    early = [int(by_length[rng.integers(max(1, int(share * len(samples))))]) for share in shares]
    late: list[int] = []
    while len(late) < num_items - num_early:
        late.extend(rng.permutation(len(samples)).tolist())
    thinks = np.repeat(rng.random(math.ceil(num_items / batch_size)) < think_share, batch_size)[:num_items]
    thinks[: int(think_first * num_items)] = True
    order = [*early, *late][:num_items]
    return [Turn(sample, bool(think)) for sample, think in zip(order, thinks, strict=True)]


def _shortest_first(samples: Sequence[Sample]) -> list[int]:
    """Samples by the length of their gold replies in think mode, each task's spread evenly over the order."""
    by_task: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        by_task[sample.task].append(index)
    places: dict[int, float] = {}
    for task, indices in by_task.items():
        indices.sort(key=lambda index: len(TASKS[task].gold(samples[index], think=True)))
        places |= {index: (rank + 0.5) / len(indices) for rank, index in enumerate(indices)}
    return sorted(places, key=lambda index: places[index])


def repeat_steps(schedule: Sequence[Turn], per_step: int, num_iterations: int) -> list[Turn]:
    """``schedule`` with the turns of each optimiser step (``per_step``) taken ``num_iterations`` times in a row."""
    repeated = []
    for first in range(0, len(schedule), per_step):
        step = list(schedule[first : first + per_step])
        repeated += step + [replace(turn, is_repeat=True) for turn in step] * (num_iterations - 1)
    return repeated


class PromptDataset(Dataset[Item]):
    """The items of a schedule."""

    def __init__(
        self, policy: Policy, samples: Sequence[Sample], schedule: Sequence[Turn], budget: FrameBudget
    ) -> None:
        self._policy = policy
        self._samples = samples
        self._schedule = schedule
        self._memory = FrameMemory(budget, policy.factor)

    def __len__(self) -> int:
        return len(self._schedule)

    def __getitem__(self, index: int) -> Item:
        turn = self._schedule[index]
        sample = self._samples[turn.sample]
        if turn.is_repeat:
            return RepeatItem(sample)
        started = time.perf_counter()
        try:
            encoded = encode_sample(self._policy, sample, turn.think, self._memory)
        except VideoError as error:
            return BrokenItem(sample, error)
        return PromptItem(sample, turn.think, encoded, time.perf_counter() - started)
