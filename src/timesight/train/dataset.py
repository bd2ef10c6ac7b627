"""Training examples: one prompt with its videos, read and encoded when the trainer asks for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch.utils.data import Dataset

from timesight.errors import VideoError
from timesight.infer.prompts import encode_sample, wanted_frames
from timesight.model.encode import EncodedPrompt
from timesight.model.policy import Policy
from timesight.train.schedule import Turn, later_turns
from timesight.types import Sample
from timesight.video import FrameReader


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


class PromptDataset(Dataset[Item]):
    """The items of a schedule; while one is taken, the videos of the next ones are read already."""

    def __init__(
        self,
        policy: Policy,
        samples: Sequence[Sample],
        schedule: Sequence[Turn],
        reader: FrameReader,
        batch_size: int,
        num_processes: int = 1,
    ) -> None:
        self._policy = policy
        self._samples = samples
        self._schedule = schedule
        self._reader = reader
        self._deal = {"num_turns": len(schedule), "batch_size": batch_size, "num_processes": num_processes}

    def __len__(self) -> int:
        return len(self._schedule)

    def __getitem__(self, index: int) -> Item:
        turn = self._schedule[index]
        sample = self._samples[turn.sample]
        if turn.is_repeat:
            return RepeatItem(sample)
        self._read_ahead(index)
        started = time.perf_counter()
        try:
            encoded = encode_sample(self._policy, sample, turn.think, self._reader)
        except VideoError as error:
            return BrokenItem(sample, error)
        return PromptItem(sample, turn.think, encoded, time.perf_counter() - started)

    def _read_ahead(self, index: int) -> None:
        for place in (index, *later_turns(index, self._reader.settings.ahead, **self._deal)):
            turn = self._schedule[place]
            if not turn.is_repeat:
                self._reader.expect(wanted_frames(self._samples[turn.sample], turn.think))
