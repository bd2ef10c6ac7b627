"""True spans: what is usable of a source's numbers, for the tasks that answer with spans."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from timesight.geometry import temporal_iou
from timesight.types import Span

RESOLUTION_DIGITS = 3  # replies state seconds to the millisecond, so rewards ask for no more


def span_problems(spans: Sequence[tuple[float, float]]) -> list[str]:
    """What keeps ``spans`` from being used as truth."""
    if not spans:
        return ["no span"]
    problems = []
    for start_s, end_s in spans:
        if not (math.isfinite(start_s) and math.isfinite(end_s)):
            problems.append(f"span {start_s} to {end_s} is not finite")
        elif start_s > end_s:
            problems.append(f"span {start_s} to {end_s} is reversed")
        elif end_s < 0:
            problems.append(f"span {start_s} to {end_s} ends before the video starts")
    return problems


def true_spans(spans: Sequence[tuple[float, float]]) -> list[Span]:
    """Usable ``spans`` as values, negative starts clipped to 0."""
    return [Span(max(0.0, start_s), max(0.0, end_s)) for start_s, end_s in spans]


def rounded_spans(spans: Sequence[tuple[float, float]]) -> list[Span]:
    """``true_spans`` as precisely as a reply states them."""
    digits = RESOLUTION_DIGITS
    return [Span(round(span.start_s, digits), round(span.end_s, digits)) for span in true_spans(spans)]


def best_constant_span(truths: Sequence[Sequence[Span]], lengths_s: Sequence[float]) -> list[Span]:
    """The same share ``[a, b]`` of every video, chosen with the truth in hand: what knowing nothing can earn."""
    shares = np.linspace(0.0, 1.0, 21)
    candidates = [(a, b) for a in shares for b in shares if a < b]

    def answers(share: tuple[float, float]) -> list[Span]:
        return [Span(float(share[0] * d), float(share[1] * d)) for d in lengths_s]

    def score(share: tuple[float, float]) -> float:
        pairs = zip(answers(share), truths, strict=True)
        return sum(max((temporal_iou(span, true) for true in spans), default=0.0) for span, spans in pairs)

    return answers(max(candidates, key=score))
