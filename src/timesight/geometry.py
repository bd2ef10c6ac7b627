"""Overlap of spans and boxes (paper, equation 4). Pure functions; overlaps lie in [0, 1]."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
