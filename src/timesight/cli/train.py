"""``timesight train``: GRPO or SFT by recipe, and a preview of the rewards that GRPO would start from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from timesight.cli.training import read_recipe, recipe_options, train, write_world_with_progress
from timesight.errors import RecipeError


@click.command(
    epilog="Example: timesight train tiny/grpo --out runs/grpo", short_help="Fine-tune a model by recipe."
)
@recipe_options
@click.option(
    "--num-prompts",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Number of prompts of --preview.",
)
@click.option(
    "--preview",
    is_flag=True,
    help="Do not train: sample from the untrained model and say what its rewards mean for GRPO.",
)
def command(
    recipe: str,
    out: Path,
    overrides: tuple[str, ...],
    model: str | None,
    data: Path | None,
    as_json: bool,
    preview: bool,
    num_prompts: int,
) -> None:
    """Run RECIPE, a YAML file or the name of a shipped recipe.

    It says whether to train by reinforcement (kind: grpo) or on gold replies (kind: sft).
    """
    from timesight.cli.console import quiet_libraries

    quiet_libraries()
    settings = read_recipe(recipe, overrides, model, data)
    if preview:
        if settings.kind != "grpo":
            raise RecipeError(f"--preview: {recipe} does not sample replies; it is for recipes of kind grpo")
        show_preview(settings, out, num_prompts, as_json)
    else:
        train(settings, out, as_json)


def show_preview(recipe: Any, out: Path, num_prompts: int, as_json: bool) -> None:
    """Sample from the untrained model and print its rewards by task, with advice.

    Args:
        recipe: Of kind ``grpo``.
        out: Run directory, for ``preview.jsonl`` and synthetic worlds.
        num_prompts: How many to sample replies to.
        as_json: Print one JSON object instead of tables.
    """
    from timesight.cli.console import OUT, metric_table, percent, print_json, progress
    from timesight.training.preview import preview

    write_world_with_progress(recipe, out)
    with progress("preview", num_prompts) as advance:
        tasks = preview(recipe, out, num_prompts, advance)
    if as_json:
        print_json({"tasks": [asdict(task) | {"advice": task.advice()} for task in tasks]})
        return
    for task in tasks:
        title = f"{task.task}: {recipe.grpo.num_generations} replies to each of {task.num_prompts} prompts"
        columns = {
            name: {f"mean {component}": percent(mean) for component, mean in means.items()}
            for name, means in {"percent": task.components, **task.baselines}.items()
        }
        columns["percent"]["groups with zero reward std"] = percent(task.frac_reward_zero_std)
        columns["percent"]["replies cut off"] = percent(task.truncated_share)
        OUT.print(metric_table(title, columns))
        for sentence in task.advice() or ["Groups differ and there is something to learn: ready to train."]:
            OUT.print(sentence)
