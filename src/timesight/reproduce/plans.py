"""What the training of a row will need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from timesight.data import SOURCES
from timesight.data.build import VIDEOCHAT_R1_18K
from timesight.errors import InputError
from timesight.model.shape import model_shape
from timesight.reproduce.settings import TableRow, with_sources
from timesight.tasks.multiple_choice import task_without_evidence
from timesight.training.cost import plan
from timesight.training.counts import count_questions
from timesight.training.settings import SourceSettings


@dataclass(frozen=True)
class RowPlan:
    """Questions of an epoch, and what a step and the whole training take on each GPU."""

    num_samples: int
    tokens_per_step: int
    memory_gb: float
    steps: int
    hours: float


def plan_row(row: TableRow, data: Path | None, num_gpus: int, rates: tuple[float, float]) -> RowPlan:
    """Compute what training ``row`` needs.

    Args:
        row: One that trains a model.
        data: Folder of training files. Those of the paper's training set are taken to have its counts if they are
            not there.
        num_gpus: That it is trained on.
        rates: FLOP/s and bytes/s of one GPU.

    Raises:
        InputError: For an unknown file that is not there.
    """
    recipe = row.train
    assert recipe is not None
    if data is not None:
        recipe = with_sources(recipe, lambda source: {"jsonl": source.jsonl and data / source.jsonl})
    num_samples, num_entries = count_questions(recipe, paper_count)
    shape = model_shape(row.start.base if row.start else row.base)
    found = plan(recipe, shape, num_samples, num_gpus, num_entries=num_entries)
    seconds = sum(found.seconds_by_part(*rates).values())
    return RowPlan(
        num_samples, found.tokens_per_step, round(found.memory_gb, 1), found.steps, seconds * found.steps / 3600
    )


def paper_count(source: SourceSettings) -> int:
    """Samples of a file of the paper's training set (``timesight data build``), as the paper counts them."""
    file = Path(str(source.jsonl)).name
    asked = {name: SOURCES[name].task for name in VIDEOCHAT_R1_18K}
    if not source.evidence:
        asked = {name: task_without_evidence(task) for name, task in asked.items()}
    counts = [
        ingredient.paper_count
        for name, ingredient in VIDEOCHAT_R1_18K.items()
        if f"{ingredient.file}.jsonl" == file and (source.tasks is None or asked[name] in source.tasks)
    ]
    if not counts:
        raise InputError(f"{file}: no such file, and none of the paper's training set")
    return sum(counts)
