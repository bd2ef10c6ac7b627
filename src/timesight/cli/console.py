"""Shared by all commands: progress bars, tables, JSON output. Nothing heavy is imported, so lists print at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from timesight.files import json_text

# Progress goes to standard error, so that standard output can be piped.
ERR = Console(stderr=True, highlight=False)
OUT = Console(highlight=False)


def quiet_libraries() -> None:
    """Turn off progress bars and notices of ``transformers``, which this imports."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)  # notices from one library to another


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on one line of standard output; NaN and infinities become null."""
    click.echo(json_text(content))


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[..., None]]:
    """Show a progress bar on standard error.

    Args:
        label: Text before the bar.
        total: Count at which it is full.

    Yields:
        ``advance(count=1, note=None)``: moves the bar, and shows ``note`` next to it until the next one.
    """
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=ERR) as bar:
        task = bar.add_task(label, total=total, note="")

        def advance(count: int = 1, note: str | None = None) -> None:
            bar.update(task, advance=count)
            if note is not None:
                bar.update(task, note=note)

        yield advance


def figure_table(title: str, columns: str, *, slim: bool = False) -> Table:
    """Return an empty table of figures.

    Args:
        title: Above the table.
        columns: Names of the right-aligned columns, separated by spaces; they follow a column of row names.
        slim: Without a frame, so that more columns fit.
    """
    frame: dict[str, Any] = {"box": SIMPLE_HEAD, "show_edge": False} if slim else {}
    whole = Text(title, "bold", no_wrap=True, overflow="ignore")  # not broken where the table is narrower
    table = Table(title=whole, title_justify="left", padding=(0, 0, 0, 1), **frame)
    table.add_column("")
    for name in columns.split():
        table.add_column(name, justify="right", no_wrap=True)
    return table


def text_table(title: str, num_columns: int) -> Table:
    """Return an empty table of ``num_columns`` columns of text, without a head."""
    table = Table(
        title=title, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2, 0, 0)
    )
    for _ in range(num_columns):
        table.add_column("", overflow="fold")
    return table


def metric_table(title: str, columns: dict[str, dict[str, str]]) -> Table:
    """Return a table with a row for each metric and a column for each system.

    Args:
        title: Above the table.
        columns: Cells by system and metric, as printed. Rows are those of the first system.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for metric in next(iter(columns.values())):
        table.add_row(metric, *(cells.get(metric, "") for cells in columns.values()))
    return table


def percent(value: float | None, sign: str = "") -> str:
    """Format a fraction as a percentage with one decimal; None and NaN as a dash.

    Args:
        value: A fraction, usually in [0, 1].
        sign: ``+`` for a difference, which then always has a sign.
    """
    return f"{100 * value:{sign}.1f}" if value is not None and math.isfinite(value) else "–"
