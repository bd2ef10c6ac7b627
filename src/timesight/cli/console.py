"""What all commands share: progress bars, tables, machine-readable output. Light: a list answers at once."""

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
    """Keep the libraries' own progress bars and notices off the terminal; loads them."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)  # notices from one library to another


def print_json(content: dict[str, Any]) -> None:
    """One JSON object on one line of standard output."""
    click.echo(json_text(content))


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar; yields ``advance(count=1, note="")``."""
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
    """A table of figures: a name, then the right-aligned ``columns`` (names with spaces between).

    A ``slim`` one has no frame, so that more columns fit.
    """
    frame: dict[str, Any] = {"box": SIMPLE_HEAD, "show_edge": False} if slim else {}
    whole = Text(title, "bold", no_wrap=True, overflow="ignore")  # not broken where the table is narrower
    table = Table(title=whole, title_justify="left", padding=(0, 0, 0, 1), **frame)
    table.add_column("")
    for name in columns.split():
        table.add_column(name, justify="right", no_wrap=True)
    return table


def text_table(title: str, num_columns: int) -> Table:
    """A plain table of ``num_columns`` columns of text, without a head."""
    table = Table(
        title=title, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2, 0, 0)
    )
    for _ in range(num_columns):
        table.add_column("", overflow="fold")
    return table


def metric_table(title: str, columns: dict[str, dict[str, str]]) -> Table:
    """Rows by metric, one column for each system; cells are ready to print."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for metric in next(iter(columns.values())):
        table.add_row(metric, *(cells.get(metric, "") for cells in columns.values()))
    return table


def percent(value: float, sign: str = "") -> str:
    """A fraction as a percentage with one decimal, with ``sign`` ``+`` for a difference; a dash for NaN."""
    return f"{100 * value:{sign}.1f}" if math.isfinite(value) else "–"
