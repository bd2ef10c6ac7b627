"""``timesight reproduce``: the paper's tables, with its models and data or their twins in the synthetic world."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from timesight.cli.options import json_option
from timesight.errors import InputError, TimesightError

if TYPE_CHECKING:
    from timesight.artifacts import RowResult, TableResult
    from timesight.reproduce import Table


@click.command(
    epilog="Example: timesight reproduce table3 --tiny --seeds 3",
    short_help="Reproduce one of the paper's tables.",
)
@click.argument("name", metavar="TABLE")
@click.option("--tiny/--real", default=True, show_default=True, help="In the synthetic world, or as in the paper.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Models trained for each row.")
@click.option("--out", default=Path("runs/reproduce"), show_default=True, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Folder of benchmarks and training files.")
@click.option(
    "--launch", metavar="COMMAND", help="Train rows with it, such as 'accelerate launch --num_processes 8'."
)
@click.option("--dry-run", is_flag=True, help="Train nothing: say what each row will need.")
@click.option("--gpus", "num_gpus", default=1, show_default=True, type=click.IntRange(1), help="For --dry-run.")
@click.option("--tflops", default=400.0, show_default=True, help="bf16 TFLOP/s of one GPU, for --dry-run.")
@click.option("--gbs", default=3000.0, show_default=True, help="Memory bandwidth of one GPU, GB/s, for --dry-run.")
@json_option
def command(
    name: str,
    tiny: bool,
    seeds: int,
    out: Path,
    data: Path | None,
    launch: str | None,
    dry_run: bool,
    num_gpus: int,
    tflops: float,
    gbs: float,
    as_json: bool,
) -> None:
    """Train and measure what is missing of TABLE (table1 to table8, choices, joint), with a verdict on each claim.

    Rows of several tables share models. Stop it with Ctrl-C; the same command resumes. After each seed the table is
    written to OUT/tiny/TABLE or OUT/real/TABLE: table.json, table.svg, table.md, report.html.
    """
    from timesight.artifacts import write_table_result
    from timesight.cli.console import ERR, OUT, print_json, progress, quiet_libraries
    from timesight.cli.training import run_with_progress
    from timesight.model.processes import this_process
    from timesight.report import build_report
    from timesight.reproduce import Runs, launched, load_table, table_result

    quiet_libraries()
    if this_process().num_processes > 1:
        raise InputError("reproduce runs as one process, and starts others: --launch 'accelerate launch …'")
    table = load_table(name, tiny=tiny)
    if dry_run:
        show_plans(table, data, num_gpus, (tflops * 1e12, gbs * 1e9), as_json)
        return
    train = run_with_progress if launch is None else launched(launch)
    runs = Runs(out, data, train, launch=launch, progress=progress)
    baselines = runs.measure_baselines(table)  # first: it reports a wrong name before anything is trained
    total, ready = runs.num_models(list(table.rows.values()), range(seeds))
    ERR.print(f"[bold]{table.title}[/bold]: {total} models, {ready} of them ready, in {out}", soft_wrap=True)
    place, problems = out / ("tiny" if tiny else "real") / name, list[str]()

    def failed(row: str, error: TimesightError) -> None:
        problems.append(f"{row}: {error}")
        ERR.print(f"[red]{problems[-1]}[/red]", soft_wrap=True, highlight=False)

    measured = runs.measure_rows(table.rows, seeds, lambda row: ERR.print(f"[dim]{row}"), failed)
    for num_seeds, found in enumerate(measured, 1):
        result = table_result(table, {**found, **baselines}, num_seeds, problems)
        write_table_result(place, result)
        page = build_report(place)
    if as_json:
        print_json(result.model_dump())
    else:
        show(result)
        OUT.print(f"The same with a plot: {page}", soft_wrap=True)
    if problems:
        raise SystemExit(1)


def show_plans(table: Table, data: Path | None, num_gpus: int, rates: tuple[float, float], as_json: bool) -> None:
    """Print what the training of each row needs, as ``timesight plan`` does.

    Args:
        table: Its rows.
        data: Folder of training files; files that are not there are taken to be as large as in the paper.
        num_gpus: That a row is trained on.
        rates: FLOP/s and bytes/s of one GPU.
        as_json: Print one JSON object instead of a table.
    """
    from timesight.cli.console import OUT, figure_table, print_json
    from timesight.reproduce import plan_row

    plans = {name: plan_row(row, data, num_gpus, rates) for name, row in table.rows.items() if row.train}
    if as_json:
        print_json({"table": table.name, "rows": {name: asdict(found) for name, found in plans.items()}})
        return
    shown = figure_table(f"{table.title}, {num_gpus} GPUs", "samples tokens/step GB/GPU steps hours")
    for name, found in plans.items():
        cells = (
            f"{found.num_samples:,}",
            f"{found.tokens_per_step:,}",
            f"{found.memory_gb:.1f}",
            f"{found.steps:,}",
        )
        shown.add_row(table.rows[name].row, *cells, f"{found.hours:.1f}")
    OUT.print(shown)
    OUT.print("Hours are a lower bound at this throughput; evaluation is not counted.")


def show(result: TableResult) -> None:
    """Print a table, one block for each measurement, and the verdicts."""
    from timesight.cli.console import OUT, text_table

    for name, metrics in result.measurements.items():
        seeds = f"{result.num_seeds} seed" + ("s" if result.num_seeds > 1 else "")
        block = text_table(f"{name}, percent, 95% intervals, {seeds}", 1 + len(metrics))
        block.add_row("", *(f"[bold]{metric}" for metric in metrics))
        for row in result.rows:
            block.add_row(row.name, *(_cell(row, f"{name}/{metric}") for metric in metrics))
        for row in result.baselines:
            if row.has(name):
                block.add_row(f"[dim]{row.name}", *(_cell(row, f"{name}/{metric}") for metric in metrics))
        OUT.print(block)
        for row in result.rows:
            if damage := row.damage(name):
                OUT.print(f"[dim]{row.name}: {damage}[/dim]", soft_wrap=True)
    for problem in result.problems:
        OUT.print(f"[bold]missing[/bold]: {problem}", soft_wrap=True, highlight=False)
    for claim in result.claims:
        notes = ", ".join(claim.notes())
        said = f" [dim]({notes})[/dim]" if notes else ""
        OUT.print(f"[bold]{claim.verdict}[/bold]: {claim.claim}{said}", soft_wrap=True)
        for one in claim.figures:
            difference, low, high = map(_points, (one.difference, *one.interval))
            unshared = f", without {one.num_unshared} items that only one has" if one.num_unshared else ""
            OUT.print(
                f"  {one.figure}: {one.better} − {one.than} = {difference} [{low}, {high}]{unshared}",
                soft_wrap=True,
                markup=False,
            )


def _points(difference: float | None) -> str:
    return "–" if difference is None else f"{100 * difference:+.1f}"


def _cell(row: RowResult, key: str) -> str:
    """A figure with its interval and the paper's."""
    if key not in row.metrics:
        return ""
    ends = row.intervals.get(key)
    interval = " \\[" + ", ".join("–" if end is None else f"{100 * end:.1f}" for end in ends) + "]" if ends else ""
    paper = row.paper.get(key)
    return f"{100 * row.metrics[key]:.1f}{interval}" + (
        "" if paper is None else f" [dim]paper {100 * paper:.1f}[/dim]"
    )
