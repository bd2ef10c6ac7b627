"""Spans as a line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from timesight.types import Span

SHOWN, EMPTY = "█", "·"


def draw_timeline(spans: Sequence[Span], duration_s: float, width: int = 60) -> str:
    """Draw a video as a line of characters, those within a span filled.

    A span in the video fills at least one character; what lies past the end of the video is not shown.

    Args:
        spans: In seconds, in any order.
        duration_s: Length of the video.
        width: Number of characters.
    """
    filled = [False] * width
    for span in spans:
        first = math.floor(span.start_s / duration_s * width)
        last = max(first + 1, math.ceil(span.end_s / duration_s * width - 1e-9))
        for place in range(max(0, first), min(width, last)):
            filled[place] = True
    return "".join(SHOWN if mine else EMPTY for mine in filled)


def write_spans(spans: Sequence[Span]) -> str:
    """Write spans as text, such as ``1.2 to 3.4 s, 5.0 to 6.1 s``."""
    return ", ".join(f"{span.start_s:.1f} to {span.end_s:.1f} s" for span in spans)
