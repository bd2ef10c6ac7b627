"""``timesight data build``: the paper's training set, from the sources that are on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from timesight.cli.options import json_option
from timesight.errors import InputError

if TYPE_CHECKING:
    from timesight.data.build import Built

SET_NAME = "videochat_r1_18k"
PATH = click.Path(path_type=Path)


@click.command(
    "build",
    epilog=f"Example: timesight data build {SET_NAME} --root datasets --out data/18k",
    short_help="Build the paper's training set.",
)
@click.argument("name")
@click.option("--root", type=PATH, help="Folder with one folder per source: charades_sta, got10k, nextgqa, …")
@click.option(
    "--annotations", "annotations", multiple=True, metavar="SOURCE=DIR", help="Annotation folder of one source."
)
@click.option("--videos", "videos", multiple=True, metavar="SOURCE=DIR", help="Video folder of one source.")
@click.option("--out", required=True, type=PATH, help="Folder for joint.jsonl, captions.jsonl and quality.jsonl.")
@click.option("--queries", type=click.Choice(["one-per-video", "all"]), default="one-per-video", show_default=True)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed for drawing one query per video."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    root: Path | None,
    annotations: tuple[str, ...],
    videos: tuple[str, ...],
    out: Path,
    queries: Any,
    seed: int,
    as_json: bool,
) -> None:
    """Build the training set NAME (videochat_r1_18k) from the sources that are on disk.

    In ROOT/SOURCE, annotations are looked for in annotations/, if there is such a folder, and videos anywhere
    below it. A source that is there but cannot be read is reported: exit code 1.
    """
    from timesight.cli.console import print_json
    from timesight.data.build import VIDEOCHAT_R1_18K, build

    if name.replace("-", "_") != SET_NAME:
        raise InputError(f"no set {name}: there is {SET_NAME}")
    folders = _folders(root, list(VIDEOCHAT_R1_18K))
    results = build(
        folders | _named_folders("--annotations", annotations),
        {source: folder.parent if folder.name == "annotations" else folder for source, folder in folders.items()}
        | _named_folders("--videos", videos),
        out,
        queries=queries,
        seed=seed,
    )
    if as_json:
        print_json({"counts": {built.source: built.count for built in results}, "output": str(out)})
    else:
        _show(out, results)
    for built in results:
        if built.is_broken:
            click.echo(f"left out: {built.source}: {built.reasons[0]}", err=True)
    ctx.exit(int(any(built.is_broken for built in results)))


def _show(out: Path, results: Sequence[Built]) -> None:
    from timesight.cli.console import OUT, text_table

    table = text_table("VideoChat-R1-18k", 5)
    table.add_row("[bold]source", "[bold]samples", "[bold]paper", "[bold]file", "[bold]why not the paper's count")
    for built in results:
        file = built.file.name if built.file else ""
        reasons = "cannot be read" if built.is_broken else "; ".join(built.reasons)
        table.add_row(built.source, str(built.count), str(built.paper_count), file, reasons)
    OUT.print(table)
    click.echo(f"{out}: {sum(built.count for built in results)} samples")


def _folders(root: Path | None, sources: Sequence[str]) -> dict[str, Path]:
    """The folder of annotations of each source under ``root``."""
    from timesight.data.build import annotations_in

    if root is None:
        return {}
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    there = {source: root / source for source in sources if (root / source).is_dir()}
    return {name: annotations_in(folder) for name, folder in there.items()}


def _named_folders(flag: str, pairs: Sequence[str]) -> dict[str, Path]:
    folders = {}
    for pair in pairs:
        source, equals, folder = pair.partition("=")
        if not equals or not Path(folder).is_dir():
            raise InputError(f"{flag} {pair}: write SOURCE=DIR, where DIR is a folder")
        folders[source] = Path(folder)
    return folders
