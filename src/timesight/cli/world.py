"""``timesight world``: write a synthetic world."""

from __future__ import annotations

from pathlib import Path

import click

from timesight.cli.options import json_option
from timesight.errors import InputError
from timesight.tasks import TASKS

TASK_NAMES = list(TASKS)
KINDS = ("short", "long", "out-of-domain", "general")  # of ``world.WORLDS``, without its imports


@click.command(
    epilog="Example: timesight world runs/world --train 800 --test 400 --seed 1",
    short_help="Write a synthetic world of videos with exact truth.",
)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--train", default=800, show_default=True, type=click.IntRange(0), help="Training videos.")
@click.option("--test", default=400, show_default=True, type=click.IntRange(0), help="Held-out videos.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same world.")
@click.option("--task", "tasks", multiple=True, type=click.Choice(TASK_NAMES), help="Only these; all by default.")
@click.option(
    "--kind",
    default="short",
    show_default=True,
    type=click.Choice(KINDS),
    help="What is asked: everything; details in videos of one to two minutes; what training does not show; number, "
    "order, direction, before and after.",
)
@json_option
def command(out: Path, train: int, test: int, seed: int, tasks: tuple[str, ...], kind: str, as_json: bool) -> None:
    """Write OUT/train.jsonl and OUT/test.jsonl with the .mp4 files they ask about: samples of all tasks."""
    from timesight.cli.console import print_json, progress
    from timesight.world import WORLDS, write_world

    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: OUT is a folder")
    splits = {name: count for name, count in (("train", train), ("test", test)) if count}
    if not splits:
        raise InputError("nothing to write: give --train or --test a number of videos")
    settings = WORLDS[kind].model_copy(update={"tasks": tasks}) if tasks else WORLDS[kind]
    with progress("synthetic world", sum(splits.values())) as advance:
        files = write_world(out, splits, settings, seed=seed, on_video=advance)
    counts = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in files.items()}
    if as_json:
        print_json({"output": str(out), "num_videos": splits, "num_samples": counts})
        return
    for name, file in files.items():
        click.echo(f"{file}: {counts[name]} samples on {splits[name]} videos")
