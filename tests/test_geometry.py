from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesight.geometry import box_iou, merge_spans, span_set_iou, temporal_iop, temporal_iou
from timesight.types import Box, Span

seconds = st.floats(0, 1000, allow_nan=False).map(lambda x: round(x, 2))
spans = st.tuples(seconds, seconds).map(lambda pair: Span(min(pair), max(pair)))
fractions = st.floats(0, 1, allow_nan=False)
boxes = st.tuples(fractions, fractions, fractions, fractions).map(
    lambda b: Box(min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
)


@given(spans, spans)
def test_temporal_iou_is_symmetric_and_bounded(a: Span, b: Span) -> None:
    assert 0.0 <= temporal_iou(a, b) <= 1.0
    assert temporal_iou(a, b) == temporal_iou(b, a)


@given(spans)
def test_a_span_covers_itself(a: Span) -> None:
    assert temporal_iou(a, a) == 1.0
    assert temporal_iop(a, a) == 1.0


@given(spans, spans)
def test_temporal_iou_matches_the_textbook(a: Span, b: Span) -> None:
    intersection = max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s))
    union = a.length_s + b.length_s - intersection
    if union > 0:
        assert temporal_iou(a, b) == pytest.approx(intersection / union)


@given(st.lists(spans, max_size=8), st.lists(spans, max_size=8))
def test_set_iou_matches_a_fine_grid(a: list[Span], b: list[Span]) -> None:
    grid = np.arange(0, 100_001) / 100 + 0.005  # middles of all steps of 0.01 s

    def covered(some: list[Span]) -> np.ndarray:
        return np.any([(s.start_s <= grid) & (grid < s.end_s) for s in some] or [np.zeros(len(grid), bool)], axis=0)

    union = (covered(a) | covered(b)).sum()
    if union:
        expected = (covered(a) & covered(b)).sum() / union
        assert span_set_iou(a, b) == pytest.approx(expected, abs=1e-6)


@given(st.lists(spans, max_size=8))
def test_merged_spans_are_apart_and_in_order(some: list[Span]) -> None:
    merged = merge_spans(some)
    assert all(left.end_s < right.start_s for left, right in pairwise(merged))
    assert merge_spans(merged) == merged


def test_zero_length_spans() -> None:
    point, other = Span(5, 5), Span(6, 6)
    assert temporal_iou(point, point) == 1.0
    assert temporal_iou(point, other) == 0.0
    assert temporal_iou(point, Span(4, 6)) == 0.0
    assert temporal_iop(point, Span(4, 6)) == 1.0
    assert span_set_iou([], []) == 0.0


@pytest.mark.parametrize("pair", [(2, 1), (float("nan"), 1), (0, float("inf"))])
def test_impossible_spans_are_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="span"):
        Span(*pair)


@given(boxes, boxes)
def test_box_iou_is_symmetric_and_bounded(a: Box, b: Box) -> None:
    assert 0.0 <= box_iou(a, b) <= 1.0
    assert box_iou(a, b) == box_iou(b, a)


@given(boxes)
def test_a_box_covers_itself(a: Box) -> None:
    assert box_iou(a, a) == 1.0


def test_box_iou_by_hand() -> None:
    assert box_iou(Box(0, 0, 0.5, 1), Box(0.25, 0, 0.75, 1)) == pytest.approx(1 / 3)
    assert box_iou(Box(0, 0, 0.1, 0.1), Box(0.2, 0.2, 0.3, 0.3)) == 0.0
