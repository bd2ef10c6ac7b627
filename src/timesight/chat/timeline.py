"""Spans as a line of text: what a terminal can show of evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from timesight.types import Span

SHOWN, EMPTY = "█", "·"


def draw_timeline(spans: Sequence[Span], duration_s: float, width: int = 60) -> str:
    """A video of ``duration_s`` as ``width`` characters, those within any of ``spans`` filled.

    What lies in the video fills one character at least; what lies past its end is not shown.
    """
    filled = [False] * width
    for span in spans:
        first = math.floor(span.start_s / duration_s * width)
        last = max(first + 1, math.ceil(span.end_s / duration_s * width - 1e-9))
        for place in range(max(0, first), min(width, last)):
            filled[place] = True
    return "".join(SHOWN if mine else EMPTY for mine in filled)


def write_spans(spans: Sequence[Span]) -> str:
    """``spans`` in words, such as ``1.2 to 3.4 s, 5.0 to 6.1 s``."""
    return ", ".join(f"{span.start_s:.1f} to {span.end_s:.1f} s" for span in spans)
