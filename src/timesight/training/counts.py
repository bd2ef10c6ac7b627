"""How many questions a recipe asks in an epoch, and how many entries of the schedule they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from timesight.data import read_jsonl
from timesight.data.mixture import Mixture, MixtureSource
from timesight.errors import InputError
from timesight.tasks import TaskRegistry
from timesight.tasks.custom import custom_tasks
from timesight.training.samples import chosen
from timesight.training.schedule import QuestionGrouper
from timesight.training.settings import GrpoRecipe, SftRecipe, SourceSettings, WorldSource
from timesight.world.generate import make_scenes
from timesight.world.questions import samples_of

COUNTED_SCENES = 200  # of a synthetic world, for the questions on a video
Missing = Callable[[SourceSettings], int]


def _refuse(source: SourceSettings) -> int:
    raise InputError(f"{source.key}: no such file; say with --samples how many samples there will be")


def count_questions(recipe: SftRecipe | GrpoRecipe, missing: Missing = _refuse) -> tuple[int, int]:
    """Questions of an epoch, and the entries they are grouped into, from the recipe's own files.

    A synthetic world is counted by its first scenes.

    Args:
        recipe: Whose data is counted.
        missing: How many samples a source has whose file is not there.

    Raises:
        InputError: If a file is not there, unless ``missing`` knows.
    """
    cap, tasks = recipe.train.questions_per_video, custom_tasks(recipe.tasks)
    questions = entries = 0.0
    for source in recipe.data.all_sources:
        count, grouped = _of_source(source, cap, recipe.seed, missing, tasks)
        share = source.weight * min(1.0, (source.limit or count) / max(count, 1))
        questions, entries = questions + share * count, entries + share * grouped
    return round(questions), round(entries)


def _of_source(
    source: SourceSettings, cap: int, seed: int, missing: Missing, tasks: TaskRegistry
) -> tuple[int, int]:
    if source.world is not None:
        a_video = _world_questions(source.world)
        count = round(a_video * source.world.num_videos)
        return count, round(count / min(cap, max(1.0, a_video)))
    if source.jsonl is None or not source.jsonl.exists():
        count = missing(source)
        return count, -(-count // cap)
    samples = chosen(source, read_jsonl(source.jsonl, tasks))
    return len(samples), QuestionGrouper(Mixture([MixtureSource(samples)]), cap, tasks).num_entries(1, seed)


def _world_questions(world: WorldSource) -> float:
    """Questions on a video of a synthetic world, on average."""
    scenes = make_scenes(world.split, min(COUNTED_SCENES, world.num_videos), world, world.seed)
    return sum(len(list(samples_of(scene, Path("counted.mp4"), world))) for scene in scenes) / len(scenes)
