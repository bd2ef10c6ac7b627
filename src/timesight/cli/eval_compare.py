"""``timesight eval compare``: two evaluations side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from timesight.cli.options import json_option

if TYPE_CHECKING:
    from timesight.evaluation.compare import Change, Comparison


@click.command(
    "compare",
    epilog="Example: timesight eval compare runs/eval-before runs/eval-after",
    short_help="Set two evaluations side by side.",
)
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option("--protocol", help="The protocol to compare by; the first one if not given.")
@click.option("--metric", help="The metric that single items are compared by; the first one if not given.")
@click.option("--show", default=5, show_default=True, type=click.IntRange(0), help="Items shown of each kind.")
@json_option
def command(run_a: Path, run_b: Path, protocol: str | None, metric: str | None, show: int, as_json: bool) -> None:
    """Compare two evaluations of the same items, RUN_A and RUN_B being their --out folders.

    Paired differences B − A with 95% intervals (bootstrap over videos) and p-values (exchanges of whole videos),
    over all items and for each value of a breakdown; the items that changed most, with both replies.
    """
    from timesight.artifacts import read_items
    from timesight.cli.console import OUT, print_json
    from timesight.evaluation.compare import compare_tasks

    found = compare_tasks(read_items(run_a), read_items(run_b), protocol=protocol, metric=metric, num_shown=show)
    if as_json:
        print_json({"a": str(run_a), "b": str(run_b), "tasks": {task: asdict(one) for task, one in found.items()}})
        return
    for task, comparison in found.items():
        _show(task, comparison)
        for title, changes in (("Most improved", comparison.improved), ("Most hurt", comparison.hurt)):
            for line in _change_lines(title, changes):
                OUT.print(line, soft_wrap=True, markup=False)


def _show(task: str, comparison: Comparison) -> None:
    from timesight.cli.console import OUT, figure_table, percent
    from timesight.statistics import FEW_NOTE, are_few

    whole, *parts = comparison.parts
    table = figure_table(
        f"{task}: {whole.num_items} items on {whole.num_videos} videos, {comparison.protocol} protocol, percent",
        "A B difference interval p videos",
    )
    rows = [(name, found, whole.num_videos) for name, found in whole.metrics.items()]
    rows += [
        (f"{comparison.metric}, {part.key} {part.value}", part.metrics[comparison.metric], part.num_videos)
        for part in parts
    ]
    for name, found, num_videos in rows:
        table.add_row(
            name,
            percent(found.a),
            percent(found.b),
            percent(found.difference, "+"),
            f"{percent(found.low, '+')} to {percent(found.high, '+')}",
            f"{found.p_value:.4f}" if found.p_value >= 0.0001 else "< 0.0001",
            str(num_videos),
        )
    OUT.print(table)
    if any(are_few(num_videos) for *_, num_videos in rows):
        OUT.print(FEW_NOTE)
    same = whole.num_items - comparison.num_better - comparison.num_worse
    OUT.print(
        f"{comparison.metric}: {comparison.num_better} items better, {comparison.num_worse} worse, {same} alike"
    )
    if comparison.only_a or comparison.only_b:
        OUT.print(
            f"not compared: {comparison.only_a} items that only A has a figure for, {comparison.only_b} only B"
        )


def _change_lines(title: str, changes: list[Change]) -> list[str]:
    lines = [f"\n{title}"] if changes else []
    for change in changes:
        lines.append(f"  {change.id}  {100 * change.a:.1f} → {100 * change.b:.1f}")
        for name, reply in (("A", change.reply_a), ("B", change.reply_b)):
            shown = " ".join(reply.split())[:200].encode("utf-8", "backslashreplace").decode()  # half a pair
            lines.append(f"    {name}: {shown}")
    return lines
