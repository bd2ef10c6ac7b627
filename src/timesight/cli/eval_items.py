"""Shared by the commands of ``timesight eval``: items of a suite or a file, and replies made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from timesight.errors import InputError

if TYPE_CHECKING:
    from timesight.evaluation import Scoring, Suite
    from timesight.tasks import TaskRegistry
    from timesight.types import Sample


def items_of(
    name: str,
    annotations: Path | None,
    videos: Path | None = None,
    split: str | None = None,
    subtitles: bool = False,
    tasks: TaskRegistry | None = None,
) -> tuple[Suite | None, list[Sample]]:
    """Read the items of a suite, or the samples of a JSONL file.

    Args:
        name: Name of a suite, or path of a file.
        annotations: Folder of the suite's official files; a suite needs it, a file must not have it.
        videos: Folder of the suite's videos.
        split: Split of the suite; None for its default.
        subtitles: Put subtitles into the prompts of the suite.
        tasks: Tasks of a file's samples; None: those of the package.

    Returns:
        The suite, None for a file, and its items.

    Raises:
        InputError: If there is no such suite or file, or an option does not go with it.
        SampleError: If an official file or a sample is wrong.
    """
    from timesight.data import read_jsonl
    from timesight.evaluation import SUITES, find_suite
    from timesight.tasks import TASKS

    if name in SUITES or not (Path(name).suffix or Path(name).exists()):
        suite = find_suite(name)
        if annotations is None:
            raise InputError(
                f"{name}: say where its official files are (--annotations DIR), and its videos (--videos)"
            )
        return suite, suite.read(annotations, videos, split, subtitles=subtitles)
    given = {"annotations": annotations, "videos": videos, "split": split, "subtitles": subtitles}
    if wrong := [flag for flag, value in given.items() if value]:
        raise InputError(f"--{wrong[0]} goes with a suite; {name} is a file of samples")
    return None, read_jsonl(Path(name), tasks or TASKS)


def limited(items: list[Sample], num_videos: int | None, seed: int) -> list[Sample]:
    """Return the items on ``num_videos`` videos drawn at random, in their order; all items if it is None."""
    from random import Random

    videos = list(dict.fromkeys(item.video.path for item in items))
    if num_videos is None or num_videos >= len(videos):
        return items
    chosen = set(Random(seed).sample(videos, num_videos))
    return [item for item in items if item.video.path in chosen]


def scoring_of(suite: Suite | None, protocols: tuple[str, ...]) -> Scoring:
    """Return what is reported.

    Args:
        suite: Its breakdowns are used; None for a file of samples.
        protocols: Score by these only; empty for all.
    """
    from timesight.evaluation import Scoring

    return Scoring(protocols or None, *((suite.by, suite.average_over) if suite else ()))


def given_replies(file: Path, items: list[Sample], without: str) -> dict[str, str]:
    """Read replies made elsewhere, and warn of those to no item and of items without a reply.

    Args:
        file: JSONL of ``id`` and ``reply``.
        items: What was asked.
        without: What happens to items without a reply, as the end of the warning's sentence.

    Returns:
        Replies by sample id, those to no item included.

    Raises:
        InputError: As ``evaluation.read_replies``.
    """
    from timesight.evaluation import read_replies

    replies = read_replies(file, warn=_warn)
    known = {item.id for item in items}
    if unknown := [id_ for id_ in replies if id_ not in known]:
        shown = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        _warn(f"{file}: {len(unknown)} replies have an id that no item has, and are left out: {shown}")
    if absent := known - replies.keys():
        _warn(f"{file}: {len(absent)} of {len(known)} items have no reply, and {without}")
    return replies


def _warn(text: str) -> None:
    click.echo(f"Warning: {text}", err=True)
