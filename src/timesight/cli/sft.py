"""``timesight sft``: supervised fine-tuning on gold replies."""

from __future__ import annotations

from pathlib import Path

import click

from timesight.cli.training import read_recipe, recipe_options, train


@click.command(
    epilog="Example: timesight sft tiny/pretrain --out runs/pretrain",
    short_help="Fine-tune a model on gold replies.",
)
@recipe_options
def command(
    recipe: str, out: Path, overrides: tuple[str, ...], model: str | None, data: Path | None, as_json: bool
) -> None:
    """Run RECIPE, a YAML file or the name of a shipped recipe."""
    from timesight.cli.console import quiet_libraries

    quiet_libraries()
    train(read_recipe("sft", recipe, overrides, model, data), out, as_json)
