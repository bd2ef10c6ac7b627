"""What is asked in which order, and in which mode: worked out before the run, the same on every process."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from timesight.data.mixture import Mixture
from timesight.errors import SampleError
from timesight.tasks import TASKS, TaskRegistry
from timesight.training.settings import GOLD_LENGTH, CurriculumSettings, GrpoRecipe, SftRecipe
from timesight.types import Sample

# What a curriculum begins with, as a share of the samples, and for how long, as a share of its items.
EASIEST_SHARE, EASIEST_HOLD = 0.08, 0.2


@dataclass(frozen=True)
class ScheduleEntry:
    """Which sample is asked, in which mode."""

    sample: int
    think: bool


def make_schedule(
    mixture: Mixture,
    num_items: int,
    *,
    seed: int,
    think_share: float,
    think_first: float = 0.0,
    curriculum: CurriculumSettings | None = None,
    batch_size: int = 1,
    tasks: TaskRegistry = TASKS,
) -> list[ScheduleEntry]:
    """The first ``num_items`` of ``mixture``, after those of the ``curriculum``.

    The first share ``think_first`` of the items is all asked in think mode. The items of one batch share a mode:
    thoughts are long, and padding answers to them is waste. Raises SampleError for a sample without the field that
    the curriculum goes by.
    """
    rng = np.random.default_rng(seed)
    early = _easy_first(mixture, num_items, curriculum, rng, tasks) if curriculum else []
    order = [*early, *islice(mixture.order(seed), num_items - len(early))]
    thinks = np.repeat(rng.random(math.ceil(num_items / batch_size)) < think_share, batch_size)[:num_items]
    thinks[: int(think_first * num_items)] = True
    return [ScheduleEntry(sample, bool(think)) for sample, think in zip(order, thinks, strict=True)]


def num_steps(recipe: SftRecipe | GrpoRecipe, num_samples: int, num_processes: int = 1) -> int:
    """Optimizer steps of a whole run."""
    per_step = recipe.train.batch_size * recipe.train.gradient_accumulation_steps * num_processes
    num_iterations = recipe.grpo.num_iterations if isinstance(recipe, GrpoRecipe) else 1
    return recipe.train.max_steps or math.ceil(recipe.train.epochs * num_samples / per_step) * num_iterations


def _easy_first(
    mixture: Mixture, num_items: int, curriculum: CurriculumSettings, rng: np.random.Generator, tasks: TaskRegistry
) -> list[int]:
    """Draws from the easiest samples: for a fifth of the time only the very easiest, then harder ones join in.

    Samples lie on a line in their order, each as long as its weight, and places on it are drawn.
    """
    by_ease = _easiest_first(mixture.samples, curriculum.by, tasks)
    ends = np.cumsum(np.array(mixture.weights)[by_ease])
    ends *= len(by_ease) / ends[-1]
    count = int(curriculum.share * num_items)
    hold = int(EASIEST_HOLD * count)
    shares = np.r_[np.full(hold, EASIEST_SHARE), np.linspace(EASIEST_SHARE, 1, count - hold)]
    places = [rng.integers(max(1, int(share * len(by_ease)))) for share in shares]
    within = rng.spawn(1)[0].random(count)  # apart, so that of equal weights the same is drawn as without any
    drawn = np.searchsorted(ends, np.array(places) + within, side="right")
    return [by_ease[index] for index in np.minimum(drawn, len(by_ease) - 1)]


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
