"""Training examples: prompts with their videos, read and encoded when the loop asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from timesight.errors import VideoError
from timesight.infer.prompts import build_prompt, wanted_frames
from timesight.model.encode import EncodedPrompt, encode_prompts
from timesight.model.policy import Policy
from timesight.tasks import TASKS, TaskRegistry
from timesight.training.metrics import MetricsLog
from timesight.training.schedule import ScheduleEntry
from timesight.types import Sample
from timesight.video import FrameReader, Quarantine


@dataclass(frozen=True, eq=False)
class PromptItem:
    """A prompt ready for the policy.

    Args:
        sample: What is asked.
        think: Whether it is asked in think mode.
        encoded: The prompt as tensors.
        read_s: How long it took to get it ready.
    """

    sample: Sample
    think: bool
    encoded: EncodedPrompt
    read_s: float


@dataclass(frozen=True, eq=False)
class BrokenItem:
    """A prompt whose video cannot be read; nothing takes its place."""

    sample: Sample
    error: VideoError


Item = PromptItem | BrokenItem


class PromptDataset:
    """The items of a schedule; while one is taken, the videos of the next ones are read already.

    Args:
        policy: Whose processor encodes prompts.
        samples: What the schedule's entries point at.
        schedule: The same on every process.
        reader: Reads the videos.
        batch_size: Entries of a micro-batch.
        num_micro_batches: Of a step, on each process.
        process: This one, of ``num_processes``; micro-batches are assigned round-robin.
        num_processes: How many there are.
        tasks: Of the samples.
    """

    def __init__(
        self,
        policy: Policy,
        samples: Sequence[Sample],
        schedule: Sequence[ScheduleEntry],
        reader: FrameReader,
        batch_size: int,
        *,
        num_micro_batches: int = 1,
        process: int = 0,
        num_processes: int = 1,
        tasks: TaskRegistry = TASKS,
    ) -> None:
        self._policy = policy
        self._samples = samples
        self._schedule = schedule
        self._reader = reader
        self._batch_size = batch_size
        self._num_micro_batches = num_micro_batches
        self._process, self._num_processes = process, num_processes
        self._tasks = tasks

    def step(self, step: int) -> list[list[Item]]:
        """This process's micro-batches of ``step``, the first being 0; shorter where the schedule ends."""
        first = step * self._num_micro_batches
        micro_batches = [self._places(first + k) for k in range(self._num_micro_batches)]
        return [[item for place in places for item in self._items(place)] for places in micro_batches]

    def _places(self, micro_batch: int) -> range:
        """Where in the schedule this process's ``micro_batch`` lies."""
        first = (micro_batch * self._num_processes + self._process) * self._batch_size
        return range(first, min(first + self._batch_size, len(self._schedule)))

    def draw(self, seed: Sequence[int], count: int) -> list[list[Item]]:
        """The items of ``count`` entries drawn from the whole schedule, others on each process."""
        rng = np.random.default_rng((*seed, self._process))
        places = rng.integers(len(self._schedule), size=count).tolist()
        for place in places:
            self._prefetch(place)
        return [self._encode(self._schedule[place]) for place in places]

    def _items(self, place: int) -> list[Item]:
        """The questions of an entry, while the videos of the next ones are read."""
        for later in self._following(place):
            self._prefetch(later)
        return self._encode(self._schedule[place])

    def _prefetch(self, place: int) -> None:
        entry = self._schedule[place]  # whose questions all show the same frames
        self._reader.prefetch(wanted_frames(self._samples[entry.samples[0]], entry.think, self._tasks))

    def _encode(self, entry: ScheduleEntry) -> list[Item]:
        """The questions of an entry; the video is broken for all of them, or for none."""
        samples = [self._samples[index] for index in entry.samples]
        return read_items(self._policy, samples, entry.think, self._reader, self._tasks)

    def _following(self, place: int) -> Iterator[int]:
        """``place`` and those after it that fall to this process, as far as the reader reads ahead."""
        yield place
        for _ in range(self._reader.settings.ahead):
            place += 1
            if place % self._batch_size == 0:
                place += self._batch_size * (self._num_processes - 1)
            if place >= len(self._schedule):
                return
            yield place


def read_items(
    policy: Policy, samples: Sequence[Sample], think: bool, reader: FrameReader, tasks: TaskRegistry = TASKS
) -> list[Item]:
    """``samples`` that show the same frames as items; all of them are broken if the video is."""
    started = time.perf_counter()
    try:
        prompts = [build_prompt(sample, think, reader, tasks=tasks) for sample in samples]
    except VideoError as error:
        return [BrokenItem(sample, error) for sample in samples]
    encoded = encode_prompts(policy, prompts)
    read_s = (time.perf_counter() - started) / len(samples)
    return [PromptItem(sample, think, mine, read_s) for sample, mine in zip(samples, encoded, strict=True)]


def readable(items: Sequence[Item], quarantine: Quarantine, metrics: MetricsLog) -> list[PromptItem]:
    """The prompts of ``items``; broken ones are set aside. Raises TrainingError where they are too many."""
    prompts = []
    for item in items:
        quarantine.saw(item.sample.video.path)
        if isinstance(item, BrokenItem):
            quarantine.put(item.error)
        else:
            prompts.append(item)
    metrics.log_metrics(
        num_broken=float(len(items) - len(prompts)),
        num_prompts=float(len(prompts)),
        read_s=sum(item.read_s for item in prompts),
    )
    return prompts
