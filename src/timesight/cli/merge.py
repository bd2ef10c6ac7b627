"""``timesight merge``: an adapter and its base model as one ordinary model folder."""

from __future__ import annotations

from pathlib import Path

import click

from timesight.errors import InputError


@click.command(
    epilog="Example: timesight merge runs/lora/checkpoint-500 models/merged",
    short_help="Merge an adapter into an ordinary model folder.",
)
@click.argument("adapter", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def command(adapter: Path, out: Path) -> None:
    """Write the base model of ADAPTER with the adapter merged into it to the new folder OUT.

    ADAPTER is a checkpoint, or a run directory: then its newest checkpoint is taken.
    """
    from timesight.cli.console import quiet_libraries
    from timesight.model.adapter import merge_adapter

    quiet_libraries()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists: OUT is a new folder")
    merge_adapter(adapter, out)
    click.echo(f"{out}: an ordinary model folder")
