"""Charts as SVG text that uses the colors of the page around it.

The functions return an ``<svg>`` element without fixed size. There are colors for as many series as ``SERIES`` has.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

INK, MUTED, GRID = "#010203", "#040506", "#070809"  # placeholders, replaced by variables of the page's style
MOST_SIDE_BY_SIDE = 5
SERIES = ("#0a0b01", "#0a0b02", "#0a0b03")
_CSS = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {
    color: f"--series-{index}" for index, color in enumerate(SERIES, start=1)
}


def curve(title: str, steps: Sequence[float], series: Mapping[str, Sequence[float]]) -> str:
    """Draw a line chart over training steps: thin lines for the values, bold ones for their moving average.

    Args:
        title: Title of the chart.
        steps: Shared by all series.
        series: Values by name, one for each step.
    """
    with _chart(title, "step") as (axes, out):
        for (name, values), color in zip(series.items(), SERIES, strict=False):
            axes.plot(steps, values, color=color, linewidth=0.8, alpha=0.35)
            axes.plot(steps, smooth(values), color=color, linewidth=2.0, label=name)
        _legend(axes, len(series))
    return out.getvalue()


@contextmanager
def _chart(title: str, x_name: str) -> Iterator[tuple[Any, io.StringIO]]:
    """An empty chart to draw on, and the text that holds its SVG after the block."""
    with _charts((3.5, 2.2), (1, 1), title) as ([axes], out):
        _label(axes, title)
        axes.set_xlabel(x_name, fontsize=8, color=MUTED)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        yield axes, out


@contextmanager
def _charts(size: tuple[float, float], grid: tuple[int, int], salt: str) -> Iterator[tuple[list[Any], io.StringIO]]:
    """Empty charts that share the vertical axis, line by line, and the text that holds their SVG after the block.

    Args:
        size: Of all of them, in inches.
        grid: Lines of charts, and charts in a line.
        salt: Text that tells them from the other ones of a page, whose ids must differ.
    """
    out = io.StringIO()
    style = {"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": salt}
    with plt.rc_context(style):
        figure, charts = plt.subplots(*grid, figsize=size, sharey=True, squeeze=False)
        for axes in charts.flat:
            axes.tick_params(labelsize=8, colors=MUTED, length=0)
            axes.spines[:].set_visible(False)
        yield list(charts.flat), out
        figure.tight_layout()
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    out.write(_themed(drawn.getvalue()))


def _label(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=INK)


def _legend(axes: Any, num_series: int) -> None:
    if num_series > 1:
        axes.legend(fontsize=8, frameon=False, labelcolor=INK, loc="best", markerscale=2)


def scatter(title: str, x_name: str, y_name: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Draw a scatter plot with the diagonal on which both numbers are equal.

    Args:
        title: Title of the chart.
        x_name: Label of the first number of each pair.
        y_name: Label of the second number.
        series: Pairs by name; numbers are not negative.
    """
    with _chart(title, x_name) as (axes, out):
        most = max((max(pair) for pairs in series.values() for pair in pairs), default=1.0) or 1.0
        axes.plot([0, most], [0, most], color=MUTED, linewidth=0.8)
        for (name, pairs), color in zip(series.items(), SERIES, strict=False):
            axes.scatter(
                [x for x, _ in pairs], [y for _, y in pairs], s=9, color=color, alpha=0.45, label=name, linewidths=0
            )
        axes.set_ylabel(y_name, fontsize=8, color=MUTED)
        _legend(axes, len(series))
    return out.getvalue()


def histogram(title: str, series: Mapping[str, Sequence[float]], num_bins: int = 20) -> str:
    """Draw histograms over [0, 1], as shares of each series.

    Args:
        title: Title of the chart.
        series: Values in [0, 1] by name; the first one is the reference and drawn filled.
        num_bins: Number of bins of equal width.
    """
    with _chart(title, "") as (axes, out):
        edges = [n / num_bins for n in range(num_bins + 1)]
        for index, (name, values) in enumerate(series.items()):
            weights = [1 / len(values) for _ in values]
            color = MUTED if index == 0 else SERIES[index - 1]
            kind, alpha = ("stepfilled", 0.25) if index == 0 else ("step", 1.0)
            axes.hist(
                values, edges, weights=weights, histtype=kind, color=color, alpha=alpha, linewidth=1.6, label=name
            )
        _legend(axes, len(series))
    return out.getvalue()


def intervals(
    rows: Sequence[str],
    figures: Mapping[str, Mapping[str, tuple[float, float, float]]],
    floors: Mapping[str, float],
) -> str:
    """Draw intervals, a line for each row and a chart for each figure, up to five side by side.

    Args:
        rows: Names, from the top.
        figures: By the chart's title, mean and ends of the interval by row; rows without one stay empty.
        floors: By the chart's title, a value that is marked with a dashed line.
    """
    num_lines = math.ceil(len(figures) / MOST_SIDE_BY_SIDE)
    side_by_side = math.ceil(len(figures) / num_lines)
    size = (2.2 + 1.4 * side_by_side, num_lines * (0.75 + 0.24 * len(rows)))
    with _charts(size, (num_lines, side_by_side), "\n".join(figures)) as (charts, out):
        for axes in charts[len(figures) :]:
            axes.set_axis_off()
        for axes, (title, found) in zip(charts, figures.items(), strict=False):
            _label(axes, title)
            axes.grid(axis="x", color=GRID, linewidth=0.8)
            if title in floors:
                axes.axvline(100 * floors[title], color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
            for row, (mean, low, high) in found.items():
                y = rows.index(row)
                axes.plot([100 * low, 100 * high], [y, y], color=SERIES[0], linewidth=1.8, solid_capstyle="butt")
                axes.plot([100 * mean], [y], marker="o", markersize=4.5, color=SERIES[0])
        for axes in charts[::side_by_side]:
            axes.set_yticks(range(len(rows)), rows)
            axes.tick_params(axis="y", labelcolor=INK)
            axes.set_ylim(len(rows) - 0.5, -0.5)
    return out.getvalue()


def standalone(svg: str, style: str) -> str:
    """``svg`` as a separate file, with the colors of ``style``, which follow the reader's light or dark mode."""
    head, bracket, body = svg.partition(">")
    return f"{head}{bracket}<style>{style}</style>{body}"


def smooth(values: Sequence[float], weight: float = 0.85) -> list[float]:
    """Return the exponential moving average of ``values``, without the bias toward 0 at the start.

    Args:
        values: In order.
        weight: Of the average so far, in [0, 1); a new value has 1 − ``weight``.
    """
    smoothed, total, norm = [], 0.0, 0.0
    for value in values:
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        smoothed.append(total / norm)
    return smoothed


def _themed(svg: str) -> str:
    """The ``<svg>`` element alone, without fixed size, its colors replaced by variables of the page's style."""
    head, bracket, body = svg[svg.index("<svg") :].partition(">")
    svg = re.sub(r' (width|height)="[^"]*"', "", head) + bracket + body
    for color, variable in _CSS.items():
        svg = svg.replace(color, f"var({variable})")
    return svg
