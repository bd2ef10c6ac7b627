"""``report.html`` of one of the paper's tables: a plot, the verdicts on the claims, the figures."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from textwrap import fill

from timesight.artifacts import TableResult, read_table_result
from timesight.files import write_text
from timesight.report.markdown import table_markdown
from timesight.report.pages import write_page
from timesight.report.plots import intervals, standalone

PLOT_FILE, MARKDOWN_FILE = "table.svg", "table.md"
TITLE_WIDTH = 20  # characters above a chart


def table_report(folder: Path) -> Path:
    """Write the page of a table, and as separate files its plot, ``table.svg``, and its text, ``table.md``.

    Args:
        folder: Of the table, with the ``table.json`` of ``timesight reproduce``.

    Returns:
        The path of the page.

    Raises:
        InputError: If ``table.json`` cannot be read.
    """
    table = read_table_result(folder)
    plot = _plot(table)
    style = files("timesight.report").joinpath("style.css").read_text(encoding="utf-8")
    colors, _, _ = style.partition("* {")
    write_text(folder / PLOT_FILE, standalone(plot, colors))
    write_text(folder / MARKDOWN_FILE, table_markdown(table))
    return write_page(folder, "table.html", table=table, plot=plot)


def _plot(table: TableResult) -> str:
    """The first metric of each measurement, with the best video-blind baseline as a dashed line."""
    figures, floors = {}, {}
    for name, metrics in table.measurements.items():
        title, key = f"{fill(name, TITLE_WIDTH)}\n{metrics[0]}", f"{name}/{metrics[0]}"
        figures[title] = dict(_intervals(table, key))
        if (floor := table.floor(name, metrics[0])) is not None:
            floors[title] = floor
    return intervals([row.name for row in table.rows], figures, floors)


def _intervals(table: TableResult, key: str) -> Iterator[tuple[str, tuple[float, float, float]]]:
    for row in table.rows:
        low, high = row.intervals.get(key, (None, None))
        if key in row.metrics:
            mean = row.metrics[key]
            yield row.name, (mean, mean if low is None else low, mean if high is None else high)
