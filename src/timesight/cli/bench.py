"""``timesight bench``: measure speed and memory on this machine."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from timesight.cli.options import json_option


@click.group(epilog="Example: timesight bench grpo", short_help="Measure speed and memory on this machine.")
def command() -> None:
    """Measure speed and memory on this machine."""


@command.command(epilog="Example: timesight bench grpo --json", short_help="GRPO updates, plain beside packed.")
@click.option("--quick", is_flag=True, help="One setting of each model, not all.")
@json_option
def grpo(quick: bool, as_json: bool) -> None:
    """Compare the plain path with the packed one: time, memory, equality.

    Plain repeats the video and the prompt for each completion, as public trainers do. Run it on an idle machine.
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
        "Forward and backward of one group, float32", "G P C plain packed × allowed memory Δlogp Δgrad"
    )
    for row in rows:
        table.add_row(
            row.model,
            str(row.num_generations),
            str(row.prompt_tokens),
            str(row.completion_tokens),
            f"{row.plain_s:.2f}",
            f"{row.packed_s:.2f}",
            f"{row.speedup:.1f}",
            f"{row.allowed_speedup:.1f}",
            f"{row.memory_ratio:.2f}",
            f"{row.max_logp_difference:.0e}",
            f"{row.max_grad_difference:.0e}",
        )
    OUT.print(table)
    for row in rows:
        if row.step_speedup is not None:
            OUT.print(
                f"{row.model}, a whole step at G {row.num_generations}: plain {row.plain_step_s:.2f} s, "
                f"packed {row.packed_step_s:.2f} s, {row.step_speedup:.1f} times as fast"
            )
