"""What is asked in which order, and in which mode: worked out before the run, the same on every process.

Questions on the same frames are grouped and asked together, so that they share one pass over them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from timesight.data.mixture import Mixture
from timesight.errors import SampleError
from timesight.infer.prompts import shown_frames
from timesight.tasks import TASKS, TaskRegistry
from timesight.training.settings import GOLD_LENGTH, CurriculumSettings, GrpoRecipe, SftRecipe
from timesight.types import Sample

# What a curriculum begins with, as a share of the samples, and for how long, as a share of its items.
EASIEST_SHARE, EASIEST_HOLD = 0.08, 0.2


@dataclass(frozen=True)
class ScheduleEntry:
    """Questions on the same frames of a video, asked together and in one mode."""

    samples: tuple[int, ...]
    think: bool


class QuestionGrouper:
    """Groups the questions of a mixture into entries of up to ``questions_per_video`` on the same frames.

    Args:
        mixture: What is asked.
        questions_per_video: The cap; 1 leaves every question by itself, in the order of the mixture.
        tasks: Of the samples; a task that requires certain frames shares them with no other.
    """

    def __init__(self, mixture: Mixture, questions_per_video: int = 1, tasks: TaskRegistry = TASKS) -> None:
        self.mixture = mixture
        self.tasks = tasks
        self._cap = questions_per_video
        self._shown: list[Hashable] = [shown_frames(sample, tasks) for sample in mixture.samples]
        self._on_same: dict[Hashable, list[int]] = defaultdict(list)
        for index, shown in enumerate(self._shown):
            self._on_same[shown].append(index)

    @property
    def num_apart(self) -> int:
        """Questions that share no frames with the others on their video: their tasks ask for other frames."""
        on_video: dict[Hashable, set[Hashable]] = defaultdict(set)
        for sample, shown in zip(self.mixture.samples, self._shown, strict=True):
            on_video[sample.video.path].add(shown)
        return sum(
            len(self._on_same[shown]) == 1 and len(on_video[sample.video.path]) > 1
            for sample, shown in zip(self.mixture.samples, self._shown, strict=True)
        )

    def num_entries(self, epochs: float, seed: int) -> int:
        """How many entries hold the questions of so many epochs."""
        questions, entries = math.ceil(epochs * self.mixture.epoch_length), 0
        grouped = self.entries(seed)
        while questions > 0:
            questions -= len(next(grouped))
            entries += 1
        return entries

    def entries(self, seed: int, weights: Mapping[str, float] | None = None) -> Iterator[tuple[int, ...]]:
        """Entries, epoch after epoch, without end; in an epoch each question comes as often as its weight says.

        ``weights`` are others than the mixture's, by source (``Mixture.reweighted``).

        Raises:
            SampleError: If the sources that have a weight have no samples.
        """
        rng = np.random.default_rng((seed, 1))
        mixture = self.mixture if weights is None else self.mixture.reweighted(weights)
        if not mixture.epoch_length:
            raise SampleError(
                f"curriculum.phases: {', '.join(weights or ())} have no samples that can be trained on"
            )
        for epoch in mixture.epochs(seed):
            yield from self._group(epoch, rng)

    def joined(self, index: int, allowed: Container[int], rng: np.random.Generator) -> tuple[int, ...]:
        """The question ``index`` with ``allowed`` ones on the same frames, up to the cap."""
        if self._cap == 1:
            return (index,)
        others = [other for other in self._on_same[self._shown[index]] if other != index and other in allowed]
        return (index, *rng.permutation(others)[: self._cap - 1].tolist())

    def _group(self, epoch: Sequence[int], rng: np.random.Generator) -> list[tuple[int, ...]]:
        """The questions of an epoch in entries, each at the place of one of its questions, drawn at random.

        At the place of the first one, videos with many questions would come early.
        """
        open_entry: dict[Hashable, list[int]] = {}  # places in the epoch
        grouped: list[list[int]] = []
        for place, index in enumerate(epoch):
            entry = open_entry.get(self._shown[index])
            if entry is None or len(entry) == self._cap or any(epoch[other] == index for other in entry):
                entry = open_entry[self._shown[index]] = []
                grouped.append(entry)
            entry.append(place)
        grouped.sort(key=lambda entry: entry[rng.integers(len(entry))])
        return [tuple(epoch[place] for place in entry) for entry in grouped]


def make_schedule(
    grouper: QuestionGrouper,
    num_entries: int,
    *,
    seed: int,
    think_share: float,
    think_first: float = 0.0,
    curriculum: CurriculumSettings | None = None,
    batch_size: int = 1,
) -> list[ScheduleEntry]:
    """The first entries of ``grouper``, after those of the ``curriculum``.

    Args:
        grouper: Groups what is asked.
        num_entries: Length of the schedule.
        seed: Of all random choices.
        think_share: Share of the batches asked in think mode.
        think_first: The first share of the entries that is all asked in think mode.
        curriculum: What comes first.
        batch_size: Entries of a batch. They share a mode: thoughts are long, and padding answers to them is waste.

    Raises:
        SampleError: For a sample without the field that the curriculum orders by, or a phase without samples.
    """
    rng = np.random.default_rng(seed)
    early: list[tuple[int, ...]] = []
    share = 0.0
    if curriculum is not None and curriculum.phases:
        for phase in curriculum.phases:
            share += phase.share
            early += islice(grouper.entries(seed, phase.weights), round(share * num_entries) - len(early))
    elif curriculum is not None:
        early = _easy_first(grouper, num_entries, curriculum, rng)
    order = [*early, *islice(grouper.entries(seed), num_entries - len(early))]
    thinks = np.repeat(rng.random(math.ceil(num_entries / batch_size)) < think_share, batch_size)[:num_entries]
    thinks[: int(think_first * num_entries)] = True
    return [ScheduleEntry(samples, bool(think)) for samples, think in zip(order, thinks, strict=True)]


def num_steps(recipe: SftRecipe | GrpoRecipe, num_entries: int, num_processes: int = 1) -> int:
    """Optimizer steps of a run over ``num_entries`` entries, or as many as the recipe says."""
    per_step = recipe.train.batch_size * recipe.train.gradient_accumulation_steps * num_processes
    num_iterations = recipe.grpo.num_iterations if isinstance(recipe, GrpoRecipe) else 1
    return recipe.train.max_steps or math.ceil(num_entries / per_step) * num_iterations


def _easy_first(
    grouper: QuestionGrouper, num_entries: int, curriculum: CurriculumSettings, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Draws from the easiest samples: for a fifth of the time only the very easiest, then harder ones join in.

    Samples lie on a line in their order, each as long as its weight, and places on it are drawn. Questions on the
    same frames join a drawn one as far as they are among the easiest too.
    """
    by_ease = _easiest_first(grouper.mixture.samples, curriculum.by, grouper.tasks)
    ends = np.cumsum(np.array(grouper.mixture.weights)[by_ease])
    ends *= len(by_ease) / ends[-1]
    count = int(curriculum.share * num_entries)
    hold = int(EASIEST_HOLD * count)
    shares = np.r_[np.full(hold, EASIEST_SHARE), np.linspace(EASIEST_SHARE, 1, count - hold)]
    limits = [max(1, int(share * len(by_ease))) for share in shares]
    places = [rng.integers(limit) for limit in limits]
    within, joining = rng.spawn(2)  # apart, so that of equal weights the same is drawn as without any
    drawn = np.searchsorted(ends, np.array(places) + within.random(count), side="right")
    easiest: set[int] = set()
    entries = []
    for place, limit in zip(np.minimum(drawn, len(by_ease) - 1), limits, strict=True):
        easiest.update(by_ease[len(easiest) : limit])
        entries.append(grouper.joined(by_ease[place], easiest, joining))
    return entries


def _easiest_first(samples: Sequence[Sample], by: str, tasks: TaskRegistry) -> list[int]:
    """Samples from small to large.

    Replies of different tasks differ in length, so by length each task's samples are spread evenly over the order;
    any other number is taken to mean the same in all of them.
    """
    if by != GOLD_LENGTH:
        values = [_number(sample, by) for sample in samples]
        return sorted(range(len(samples)), key=values.__getitem__)
    by_task: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        by_task[sample.task].append(index)
    places: dict[int, float] = {}
    for indices in by_task.values():
        lengths = {index: len(tasks.of(samples[index]).gold(samples[index], think=True)) for index in indices}
        indices.sort(key=lengths.__getitem__)
        places |= {index: (rank + 0.5) / len(indices) for rank, index in enumerate(indices)}
    return sorted(places, key=places.__getitem__)


def _number(sample: Sample, name: str) -> float:
    """A number of ``sample``, such as ``meta.duration_s``."""
    value: Any = sample.model_dump()
    for step in name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if not isinstance(value, (int, float)):
        raise SampleError(f"{sample.id}: the curriculum goes by {name}, which is {value!r} here, not a number")
    return float(value)
