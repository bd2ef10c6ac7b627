"""Overlap of spans and boxes (paper, equation 4). Pure functions; overlaps lie in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from timesight.types import Box, Span


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Merge spans that overlap or touch into disjoint ones, in order of time."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.start_s <= merged[-1].end_s:
            merged[-1] = Span(merged[-1].start_s, max(merged[-1].end_s, span.end_s))
        else:
            merged.append(span)
    return merged


def span_intersection_s(a: Sequence[Span], b: Sequence[Span]) -> float:
    """Seconds covered by both sets of spans."""
    a, b = merge_spans(a), merge_spans(b)
    total, i, j = 0.0, 0, 0
    while i < len(a) and j < len(b):
        total += max(0.0, min(a[i].end_s, b[j].end_s) - max(a[i].start_s, b[j].start_s))
        if a[i].end_s < b[j].end_s:
            i += 1
        else:
            j += 1
    return total


def span_set_iou(a: Sequence[Span], b: Sequence[Span]) -> float:
    """Intersection over union of two sets of spans, in seconds; overlaps within a set count once.

    Returns:
        IoU in [0, 1]. Sets of zero total length have IoU 1 if they are the same points and 0 otherwise, so that a
        gold reply to a zero-length truth earns 1. Two empty sets have IoU 0.
    """
    a, b = merge_spans(a), merge_spans(b)
    if a == b:
        return float(bool(a))
    intersection_s = span_intersection_s(a, b)
    union_s = sum(s.length_s for s in a) + sum(s.length_s for s in b) - intersection_s
    return min(1.0, intersection_s / union_s) if union_s > 0.0 else 0.0


def boundary_iou(a: Sequence[Span], b: Sequence[Span], duration_s: float) -> float:
    """``span_set_iou``, lowered by how far the first start and the last end of ``a`` lie from those of ``b``.

    Each distance lowers it by its share of the video (the temporal reward of Time-R1, which has single spans).

    Args:
        a: Spans.
        b: Spans.
        duration_s: Of the video; above 0.

    Returns:
        A value in [0, 1]; 0 if a set is empty.
    """
    if not a or not b:
        return 0.0
    off_s = (
        abs(min(span.start_s for span in a) - min(span.start_s for span in b)),
        abs(max(span.end_s for span in a) - max(span.end_s for span in b)),
    )
    shares = [max(0.0, 1.0 - distance_s / duration_s) for distance_s in off_s]
    return span_set_iou(a, b) * shares[0] * shares[1]


def wasserstein_s(a: Sequence[Span], b: Sequence[Span]) -> float:
    """Wasserstein distance (of order 1) of the uniform distributions over two sets of spans.

    It is how far each moment of one set has to be moved, on average, to make it the other: unlike an IoU it tells
    spans apart that do not overlap. A set without length is spread evenly over its points.

    Returns:
        Seconds; infinity if a set is empty.
    """
    if not a or not b:
        return math.inf
    times = np.unique([time_s for span in (*a, *b) for time_s in (span.start_s, span.end_s)])
    # Between two times the difference of the shares is a line: from just after the one to just before the other.
    (after_a, before_a), (after_b, before_b) = (_shares_so_far(merge_spans(spans), times) for spans in (a, b))
    first, last = (after_a - after_b)[:-1], (before_a - before_b)[1:]
    size, steps = np.abs(first) + np.abs(last), np.diff(times)
    crosses = first * last < 0  # its area is then that of two triangles
    area = np.where(crosses, (first**2 + last**2) / np.where(size > 0, size, 1.0), size) / 2
    return float(np.sum(area * steps))


def _shares_so_far(
    spans: Sequence[Span], times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of ``spans`` that lies up to each time, just after it and just before it."""
    starts = np.array([span.start_s for span in spans])
    ends = np.array([span.end_s for span in spans])
    total_s = float(np.sum(ends - starts))
    if total_s == 0:
        return (
            np.mean(starts[None] <= times[:, None], axis=1),
            np.mean(starts[None] < times[:, None], axis=1),
        )
    shares = np.sum(np.clip(times[:, None], starts, ends) - starts, axis=1) / total_s
    return shares, shares


def temporal_iou(a: Span, b: Span) -> float:
    """Intersection over union of two spans.

    The union runs from the earlier start to the later end, as in the benchmarks' own scorers.

    Returns:
        IoU in [0, 1]; 1 for two equal spans of zero length.
    """
    intersection_s = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
    if intersection_s <= 0.0:
        return float(a == b)
    return intersection_s / (max(a.end_s, b.end_s) - min(a.start_s, b.start_s))


def temporal_iop(prediction: Span, truth: Span) -> float:
    """Intersection over the *prediction's* length (NExT-GQA's IoP).

    Returns:
        IoP in [0, 1]; 1 for a zero-length prediction inside the truth, as in the benchmark's own scorer.
    """
    if prediction.length_s == 0.0:
        return float(truth.start_s <= prediction.start_s <= truth.end_s)
    return min(1.0, span_intersection_s([prediction], [truth]) / prediction.length_s)


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; identical boxes without area have IoU 1."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    intersection = max(0.0, width) * max(0.0, height)
    union = (a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - intersection
    if union <= 0.0:
        return float(a == b)
    return min(1.0, intersection / union)


def clip_box(x0: float, y0: float, x1: float, y1: float) -> Box:
    """Clip a box, whose edges are fractions of the frame (origin top left), to the frame."""
    return Box(*(min(1.0, max(0.0, edge)) for edge in (x0, y0, x1, y1)))


def shift_into_frame(x0: float, y0: float, x1: float, y1: float) -> Box:
    """Bound a box to the frame as the GOT-10k toolkit does; edges are fractions of the frame.

    A negative top left corner moves to 0 and the size stays; then right and bottom are clipped to 1.
    """
    left, top = (min(1.0, max(0.0, edge)) for edge in (x0, y0))
    width, height = min(max(0.0, x1 - x0), 1.0 - left), min(max(0.0, y1 - y0), 1.0 - top)
    return Box(left, top, left + width, top + height)


def rounded_box(box: Box, digits: int) -> Box:
    """Round the edges of ``box`` to ``digits`` decimals."""
    return Box(*(round(edge, digits) for edge in (box.x0, box.y0, box.x1, box.y1)))
