"""Reads a recipe, runs it with progress bars, and prints the outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from timesight.cli.options import json_option

F = TypeVar("F", bound=Callable[..., Any])


def recipe_options(function: F) -> F:
    """Add the arguments of a command that runs a recipe."""
    for option in (
        json_option,
        click.option("--data", type=click.Path(path_type=Path), help="JSONL of samples; wins over the recipe's."),
        click.option("--model", help="Model folder or hub id; wins over the recipe's."),
        click.option(
            "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe."
        ),
        click.option("--out", required=True, type=click.Path(path_type=Path), help="Run directory."),
        click.argument("recipe"),
    ):
        function = option(function)
    return function


def read_recipe(recipe: str, overrides: tuple[str, ...], model: str | None, data: Path | None) -> Any:
    """Read a recipe and apply the options of the command line.

    Args:
        recipe: YAML file, or name of a shipped recipe.
        overrides: ``KEY=VALUE`` for keys of the recipe.
        model: Replaces the recipe's model; None: unchanged.
        data: JSONL file in place of the recipe's sources; None: unchanged.

    Raises:
        RecipeError: If there is no such recipe, a key is unknown, or a value cannot be used.
    """
    from timesight.training.recipe import load_recipe

    settings = load_recipe(recipe, overrides, data)
    return settings if model is None else settings.model_copy(update={"model": model})


def train(recipe: Any, out: Path, as_json: bool) -> None:
    """Run a recipe and print the outcome.

    Args:
        recipe: From ``read_recipe``.
        out: Run directory.
        as_json: Print one JSON object instead of text.
    """
    from timesight.cli.console import print_json

    result = run_with_progress(recipe, out)
    if as_json:
        print_json(
            {
                "run_dir": str(out),
                "checkpoint": str(result.checkpoint),
                "best": None if result.best is None else str(result.best),
                "num_steps": result.num_steps,
                "num_samples": result.num_samples,
                "num_problems": result.num_problems,
                "num_quarantined": result.num_quarantined,
            }
        )
        return
    click.echo(f"{result.checkpoint}: trained {result.num_steps} steps on {result.num_samples} samples")
    if result.best is not None:
        click.echo(f"{result.best}: the best on the validation samples")
    if result.num_problems:
        click.echo(f"{result.num_problems} samples left out: their truth cannot be used")
    if result.num_quarantined:
        click.echo(f"{result.num_quarantined} videos could not be read: see {out / 'quarantine.jsonl'}")


def run_with_progress(recipe: Any, out: Path) -> Any:
    """Run ``training.run.run_recipe`` with progress bars on the terminal.

    Args:
        recipe: From ``read_recipe``.
        out: Run directory.

    Returns:
        What ``run_recipe`` returns.
    """
    from timesight.cli.train_progress import TrainProgress
    from timesight.training.run import run_recipe

    write_world_with_progress(recipe, out)
    bar = TrainProgress(recipe.kind.upper(), "reward" if recipe.kind == "grpo" else "loss")
    try:
        return run_recipe(recipe, out, callbacks=[bar])
    finally:
        bar.close()


def write_world_with_progress(recipe: Any, out: Path) -> None:
    """Write the synthetic worlds of a recipe that do not exist yet; one process of several does it.

    Args:
        recipe: From ``read_recipe``.
        out: Run directory, which holds the worlds.
    """
    from timesight.cli.console import progress
    from timesight.model.processes import this_process
    from timesight.training.run_dir import init_run_dir
    from timesight.training.samples import unwritten_worlds, write_worlds

    with this_process().main_process_first():  # the others find it written
        if unwritten := unwritten_worlds(recipe.data, out):
            init_run_dir(recipe, out)
            with progress("synthetic world", sum(world.num_videos for world in unwritten)) as advance:
                write_worlds(recipe.data, out, advance)
