"""``timesight train`` and ``timesight sft``: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from timesight.cli.options import json_option
from timesight.errors import RecipeError


def make_command(kind: str, what: str, example: str) -> click.Command:
    """The command for recipes of one ``kind``; ``train`` and ``sft`` differ in nothing else."""

    @click.command(epilog=f"Example: {example}", short_help=what)
    @click.argument("recipe")
    @click.option("--out", required=True, type=click.Path(path_type=Path), help="Run directory.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
    @click.option("--model", help="Model folder or hub id; wins over the recipe's.")
    @click.option("--data", type=click.Path(path_type=Path), help="JSONL of samples; wins over the recipe's.")
    @json_option
    def command(
        recipe: str,
        out: Path,
        overrides: tuple[str, ...],
        model: str | None,
        data: Path | None,
        as_json: bool,
    ) -> None:
        """Run RECIPE, a YAML file or the name of a shipped recipe."""
        from timesight.cli.console import print_json, quiet_libraries
        from timesight.train.recipe import DataSettings, load_recipe

        quiet_libraries()
        settings = load_recipe(recipe, overrides)
        if settings.kind != kind:
            other = {"grpo": "train", "sft": "sft"}[settings.kind]
            raise RecipeError(f"{recipe} is a {settings.kind} recipe: use timesight {other}")
        changes: dict[str, Any] = {}
        if model is not None:
            changes["model"] = model
        if data is not None:
            changes["data"] = DataSettings(jsonl=data)
        result = run_with_progress(settings.model_copy(update=changes), out)
        if as_json:
            print_json(
                {
                    "run_dir": str(out),
                    "checkpoint": str(result.checkpoint),
                    "num_steps": result.num_steps,
                    "num_samples": result.num_samples,
                    "num_problems": result.num_problems,
                    "num_quarantined": result.num_quarantined,
                }
            )
            return
        click.echo(f"{result.checkpoint}: trained {result.num_steps} steps on {result.num_samples} samples")
        if result.num_problems:
            click.echo(f"{result.num_problems} samples left out: their truth cannot be used")
        if result.num_quarantined:
            click.echo(f"{result.num_quarantined} videos could not be read: see {out / 'quarantine.jsonl'}")

    return command


def run_with_progress(recipe: Any, out: Path) -> Any:
    """``run_recipe`` with progress bars on the terminal."""
    from timesight.cli.console import TrainProgress, progress
    from timesight.train.run import WORLD_DIR, claim, load_samples, run_recipe

    world = recipe.data.world
    if world is not None and not (out / WORLD_DIR / f"{world.split}.jsonl").exists():
        claim(recipe, out)
        with progress("made world", world.num_videos) as advance:
            load_samples(recipe.data, out, advance)
    bar = TrainProgress(recipe.kind.upper(), "reward" if recipe.kind == "grpo" else "loss")
    try:
        return run_recipe(recipe, out, callbacks=[bar])
    finally:
        bar.close()


command = make_command("grpo", "Fine-tune a model with GRPO.", "timesight train tiny/grpo --out runs/grpo")
