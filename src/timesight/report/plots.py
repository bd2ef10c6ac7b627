"""Training curves as SVG text that takes its colours from the page it stands in."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

INK, MUTED, GRID = "#010203", "#040506", "#070809"  # stand-ins, replaced by the page's own colours
SERIES = ("#0a0b01", "#0a0b02", "#0a0b03")
_CSS = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {
    color: f"--series-{index}" for index, color in enumerate(SERIES, start=1)
}


def curve(title: str, steps: Sequence[float], series: Mapping[str, Sequence[float]]) -> str:
    """A line chart of one or more series over steps; the thin line is raw, the bold one smoothed."""
    style = {"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": title}
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(3.5, 2.2))
        for (name, values), color in zip(series.items(), SERIES, strict=False):
            axes.plot(steps, values, color=color, linewidth=0.8, alpha=0.35)
            axes.plot(steps, smooth(values), color=color, linewidth=2.0, label=name)
        axes.set_title(title, loc="left", fontsize=9, color=INK)
        axes.set_xlabel("step", fontsize=8, color=MUTED)
        axes.tick_params(labelsize=8, colors=MUTED, length=0)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.spines[:].set_visible(False)
        if len(series) > 1:
            axes.legend(fontsize=8, frameon=False, labelcolor=INK, loc="best")
        figure.tight_layout()
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    return _themed(buffer.getvalue())


def smooth(values: Sequence[float], weight: float = 0.85) -> list[float]:
    """Exponential moving average, unbiased at the start."""
    smoothed, total, norm = [], 0.0, 0.0
    for value in values:
        total = weight * total + (1 - weight) * value
        norm = weight * norm + (1 - weight)
        smoothed.append(total / norm)
    return smoothed


def _themed(svg: str) -> str:
    """The ``<svg>`` element alone, free to grow, fixed colours replaced by the page's variables."""
    head, bracket, body = svg[svg.index("<svg") :].partition(">")
    svg = re.sub(r' (width|height)="[^"]*"', "", head) + bracket + body
    for color, variable in _CSS.items():
        svg = svg.replace(color, f"var({variable})")
    return svg
