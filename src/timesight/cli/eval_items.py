"""Shared by the commands of ``timesight eval``: some of the items, and replies made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from timesight.types import Sample


def limited(items: list[Sample], num_videos: int | None, seed: int) -> list[Sample]:
    """Return the items on ``num_videos`` videos drawn at random, in their order; all items if it is None."""
    from random import Random

    videos = list(dict.fromkeys(item.video.path for item in items))
    if num_videos is None or num_videos >= len(videos):
        return items
    chosen = set(Random(seed).sample(videos, num_videos))
    return [item for item in items if item.video.path in chosen]


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
