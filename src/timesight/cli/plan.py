"""``timesight plan``: what a recipe will need, before it is run."""

from __future__ import annotations

from typing import Any

import click

from timesight.cli.options import json_option


@click.command(
    epilog="Example: timesight plan charades/grpo-24gb --samples 12408",
    short_help="Say what a recipe will need: tokens, memory, time.",
)
@click.argument("recipe")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@click.option(
    "--samples", type=click.IntRange(1), help="Size of the training set; else the recipe's file is counted."
)
@click.option("--gpus", "num_gpus", default=1, show_default=True, type=click.IntRange(1))
@click.option(
    "--launch",
    type=click.Choice(["ddp", "zero2", "fsdp2"]),
    help="Sharding across GPUs. Default: zero2 for full fine-tuning, ddp for LoRA.",
)
@click.option("--tflops", type=float, help="bf16 TFLOP/s of one GPU. Default: measured here.")
@click.option("--gbs", type=float, help="Memory bandwidth of one GPU, GB/s. Default: measured here.")
@click.option("--link-gbs", type=float, help="Bandwidth between GPUs, GB/s. Default: ignored.")
@json_option
def command(
    recipe: str,
    overrides: tuple[str, ...],
    samples: int | None,
    num_gpus: int,
    launch: Any,
    tflops: float | None,
    gbs: float | None,
    link_gbs: float | None,
    as_json: bool,
) -> None:
    """Compute tokens, memory and time of RECIPE, a YAML file or the name of a shipped recipe.

    Memory is computed from the model's shapes, at the longest prompts and replies the recipe allows. Time comes
    from the throughput of this machine, or from the one given, and is a lower bound: no kernel reaches it.
    Left out: the CUDA context, fragmentation and reading videos, and without --link-gbs what GPUs send each other.
    """
    from timesight.bench.rates import matrix_rate, memory_rate
    from timesight.cli.console import OUT, metric_table, print_json, quiet_libraries
    from timesight.model.shape import model_shape
    from timesight.training.cost import plan
    from timesight.training.counts import count_questions
    from timesight.training.recipe import load_recipe

    quiet_libraries()
    settings = load_recipe(recipe, overrides)
    count, entries = (samples, None) if samples else count_questions(settings)
    model = model_shape(settings.model)
    result = plan(settings, model, count, num_gpus, num_entries=entries, launch=launch)
    parts_s = result.seconds_by_part(
        tflops * 1e12 if tflops else matrix_rate(),
        gbs * 1e9 if gbs else memory_rate(),
        link_gbs * 1e9 if link_gbs else None,
    )
    seconds = sum(parts_s.values())
    if as_json:
        print_json(
            {
                "tokens_per_step": result.tokens_per_step,
                "memory_gb": round(result.memory_gb, 1),
                "seconds_per_step": round(seconds, 2),
                "steps": result.steps,
                "seconds": {name: round(value, 3) for name, value in parts_s.items()},
                "communicated_gb": round(result.communicated_gb, 2),
                "memory": {name: round(gb, 2) for name, gb in result.memory.items()},
                "parameters": model.total,
            }
        )
        return
    parts = {name: f"{gb:.1f}" for name, gb in result.memory.items()} | {"peak": f"{result.memory_gb:.1f}"}
    OUT.print(metric_table(f"{settings.model}, {model.total / 1e9:.2f} billion parameters", {"GB per GPU": parts}))
    OUT.print(f"{result.tokens_per_step:,} tokens per step, {result.steps:,} steps")
    if num_gpus > 1:
        OUT.print(f"{result.communicated_gb:.0f} GB sent by each GPU per step")
    shares = ", ".join(f"{name} {value:.1f}" for name, value in parts_s.items() if value)
    OUT.print(f"{seconds:.1f} s per step at least ({shares}), {seconds * result.steps / 3600:.1f} h in all")
