"""The samples of a recipe: read, mixed, and those for validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from timesight.data import read_hub, read_jsonl
from timesight.data.mixture import Mixture, MixtureSource
from timesight.errors import SampleError
from timesight.tasks import TASKS, TaskRegistry
from timesight.tasks.grounded_qa import GroundedQaSample
from timesight.tasks.multiple_choice import without_evidence
from timesight.training.settings import DataSettings, SourceSettings, ValidationSettings, WorldSource
from timesight.types import Sample
from timesight.world import write_world

WORLD_DIR = "world"
HUB_DIR = "hub"


def load_mixture(data: DataSettings, out: Path, tasks: TaskRegistry = TASKS) -> Mixture:
    """All samples of a recipe; a synthetic world is written to ``out`` unless it is there already.

    Raises SampleError where two sources share an id.
    """
    write_worlds(data, out)
    sources = [
        MixtureSource(chosen(source, _read(source, out, tasks)), source.weight, source.limit, source.key)
        for source in data.all_sources
    ]
    seen: set[str] = set()
    for sample in (sample for source in sources for sample in source.samples):
        if sample.id in seen:
            raise SampleError(f"{sample.id}: is in two sources of this recipe; ids must be unique")
        seen.add(sample.id)
    return Mixture(sources)


def chosen(source: SourceSettings, samples: Sequence[Sample]) -> list[Sample]:
    """Those of the ``samples`` of a file that ``source`` takes, as it asks for them.

    Raises:
        SampleError: If it takes a task that none of them has.
    """
    if not source.evidence:
        samples = ungrounded(samples)
    for name in source.tasks or ():
        if all(sample.task != name for sample in samples):
            known = ", ".join(sorted({sample.task for sample in samples}))
            raise SampleError(f"{source.name}: holds no sample of the task {name}; it has {known or 'none'}")
    return [sample for sample in samples if source.tasks is None or sample.task in source.tasks]


def ungrounded(samples: Sequence[Sample]) -> list[Sample]:
    """``samples`` with multiple choice in place of grounded answers."""
    return [without_evidence(sample) if isinstance(sample, GroundedQaSample) else sample for sample in samples]


def _read(source: SourceSettings, out: Path, tasks: TaskRegistry) -> list[Sample]:
    if source.jsonl is not None:
        return read_jsonl(source.jsonl, tasks)
    if source.hub is not None:
        return read_hub(source.hub, source.split, out / HUB_DIR, tasks)
    assert source.world is not None  # SourceSettings holds exactly one of them
    return read_jsonl(world_file(source.world, out), tasks)


def unwritten_worlds(data: DataSettings, out: Path) -> list[WorldSource]:
    """The synthetic worlds of a recipe that are not in its run directory yet."""
    return [world for world in data.worlds if not world_file(world, out).exists()]


def write_worlds(data: DataSettings, out: Path, on_video: Callable[[], None] = lambda: None) -> None:
    """Write these; ``on_video`` is called for each video."""
    for world in unwritten_worlds(data, out):
        folder = world_file(world, out).parent
        write_world(folder, {world.split: world.num_videos}, world, seed=world.seed, on_video=on_video)


def world_file(world: WorldSource, out: Path) -> Path:
    """Where the samples of a synthetic world are kept."""
    return out / WORLD_DIR / f"{world.split}.jsonl"


def load_validation(settings: ValidationSettings | None, tasks: TaskRegistry = TASKS) -> list[Sample]:
    """The samples to validate on: those with usable truth, evenly thinned to the number asked for."""
    if settings is None:
        return []
    samples = [sample for sample in read_jsonl(settings.jsonl, tasks) if not sample.problems]
    if not samples:
        raise SampleError(f"{settings.jsonl}: none of the samples can be scored, so validation.jsonl says nothing")
    count = min(settings.num_samples, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]
