"""``timesight bench``: measure speed and memory on this machine."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from timesight.cli.options import json_option

NUM_SCENES = 200  # scenes whose samples are used


@click.group(epilog="Example: timesight bench grpo", short_help="Measure speed and memory on this machine.")
def command() -> None:
    """Measure speed and memory on this machine."""


@command.command(epilog="Example: timesight bench grpo --json", short_help="GRPO updates, plain next to packed.")
@click.option("--quick", is_flag=True, help="One setting of each model, not all.")
@json_option
def grpo(quick: bool, as_json: bool) -> None:
    """Compare the plain path with the packed one: time, memory, equality.

    Plain repeats the video and the prompt for each completion, as public trainers do with videos. Run it on an idle
    machine.
    """
    from timesight.bench.grpo import CASES, bench_grpo, measurements
    from timesight.cli.console import OUT, figure_table, print_json, progress

    cases = [case for case in CASES if case.whole_step or not quick]
    rows = []
    with tempfile.TemporaryDirectory() as folder, progress("bench grpo", measurements(cases)) as advance:
        for row in bench_grpo(Path(folder), cases, on_measured=advance):
            rows.append(row)
    if as_json:
        print_json({"rows": [asdict(row) for row in rows]})
        return
    table = figure_table(
        "Forward and backward of one group, float32", "G P C plain packed × ideal memory Δlogp Δgrad"
    )
    for row in rows:
        table.add_row(
            row.model,
            str(row.num_generations),
            str(row.prompt_tokens),
            str(row.completion_tokens),
            f"{row.plain_s:.2f}",
            f"{row.packed_s:.2f}",
            *_comparison(row),
        )
    OUT.print(table)
    for row in rows:
        if row.step_speedup is not None:
            OUT.print(
                f"{row.model}, a whole step at G {row.num_generations}: plain {row.plain_step_s:.2f} s, "
                f"packed {row.packed_step_s:.2f} s, {row.step_speedup:.1f} times as fast"
            )


@command.command(epilog="Example: timesight bench tree --json", short_help="Several questions on one video.")
@click.option("--quick", is_flag=True, help="Short prompts only.")
@json_option
def tree(quick: bool, as_json: bool) -> None:
    """Compare a row for each question with one tree for all questions on a video: time, memory, equality.

    Updates of GRPO (8 replies a question) and of SFT. Run it on an idle machine.
    """
    from timesight.bench.tree import CASES, bench_tree
    from timesight.cli.console import OUT, figure_table, print_json, progress

    cases = [case for case in CASES if case.prompt_tokens < 1000 or not quick]
    with tempfile.TemporaryDirectory() as folder, progress("bench tree", 2 * len(cases)) as advance:
        rows = list(bench_tree(Path(folder), cases, on_measured=advance))
    if as_json:
        print_json({"rows": [asdict(row) for row in rows]})
        return
    table = figure_table(
        "Forward and backward with Q questions on a video, float32",
        "kind Q P row tree × ideal memory Δlogp Δgrad",
    )
    for row in rows:
        table.add_row(
            row.model,
            row.kind,
            str(row.num_questions),
            str(row.prompt_tokens),
            f"{row.row_s:.2f}",
            f"{row.tree_s:.2f}",
            *_comparison(row),
        )
    OUT.print(table)


def _comparison(row: Any) -> list[str]:
    """The cells that rows of both tables end with: × ideal memory Δlogp Δgrad."""
    return [
        f"{row.speedup:.1f}",
        f"{row.flops_ratio:.1f}",
        f"{row.memory_ratio:.2f}",
        f"{row.max_logp_difference:.0e}",
        f"{row.max_grad_difference:.0e}",
    ]


@command.command(
    epilog="Example: timesight bench rewards --fuzz 1000000", short_help="Rewards: rate, slowest reply."
)
@click.option(
    "--replies", default=20_000, show_default=True, type=click.IntRange(1), help="Gold replies to each task."
)
@click.option(
    "--fuzz", default=30_000, show_default=True, type=click.IntRange(1), help="Hostile replies, all tasks."
)
@click.option("--seed", default=0, show_default=True, help="Seed for the adversarial replies.")
@json_option
def rewards(replies: int, fuzz: int, seed: int, as_json: bool) -> None:
    """Reward gold replies as fast as one core can, then random, mutated and hostile ones; report the slowest."""
    from timesight.bench.rewards import measure_rewards
    from timesight.cli.console import OUT, figure_table, print_json, progress
    from timesight.tasks import TASKS
    from timesight.world import WorldJudge, unseen_samples

    with progress("bench rewards", len(TASKS)) as advance:
        rates = measure_rewards(
            unseen_samples(NUM_SCENES),
            WorldJudge(),
            num_replies=replies,
            num_fuzzed=-(-fuzz // len(TASKS)),
            seed=seed,
            on_task=advance,
        )
    if as_json:
        print_json({"rows": [asdict(rate) for rate in rates]})
        return
    table = figure_table(
        f"Rewards on one core; {sum(rate.num_fuzzed for rate in rates)} hostile replies",
        "replies/s slowest characters",
    )
    for rate in rates:
        table.add_row(
            rate.task, f"{rate.replies_per_s:,.0f}", f"{1000 * rate.slowest_s:.1f} ms", str(rate.slowest_chars)
        )
    OUT.print(table)
