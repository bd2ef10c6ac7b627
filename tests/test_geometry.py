from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesight.geometry import (
    boundary_iou,
    box_iou,
    merge_spans,
    span_set_iou,
    temporal_iop,
    temporal_iou,
    wasserstein_s,
)
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


def quantiles(some: list[Span], num: int = 4000) -> np.ndarray:
    """Moments of ``some``, each for an equal share of them, in order."""
    merged = merge_spans(some)
    lengths = np.array([span.length_s for span in merged])
    if not lengths.sum():
        return np.repeat([span.start_s for span in merged], num // len(merged))
    shares = (np.arange(num) + 0.5) / num * lengths.sum()
    before = np.concatenate([[0.0], np.cumsum(lengths)])
    which = np.clip(np.searchsorted(before, shares, side="right") - 1, 0, len(merged) - 1)
    return np.array([merged[n].start_s for n in which]) + shares - before[which]


@given(st.lists(spans, min_size=1, max_size=3), st.lists(spans, min_size=1, max_size=3))
def test_wasserstein_distance_is_how_far_moments_move(a: list[Span], b: list[Span]) -> None:
    of_a, of_b = quantiles(a, 3 * 4 * 5 * 100), quantiles(b, 3 * 4 * 5 * 100)
    assert wasserstein_s(a, b) == pytest.approx(np.abs(of_a - of_b).mean(), abs=0.2)  # times go up to 100 s
    assert wasserstein_s(a, b) == pytest.approx(wasserstein_s(b, a))
    assert wasserstein_s(a, a) == pytest.approx(0.0)


def test_wasserstein_distance_by_hand() -> None:
    assert wasserstein_s([Span(0, 2)], [Span(10, 12)]) == pytest.approx(10)  # where every IoU is 0
    assert wasserstein_s([Span(0, 4)], [Span(1, 3)]) == pytest.approx(0.5)
    assert wasserstein_s([Span(0, 1), Span(9, 10)], [Span(0, 1)]) == pytest.approx(4.5)
    assert wasserstein_s([Span(3, 3)], [Span(5, 5)]) == pytest.approx(2)
    assert wasserstein_s([], [Span(5, 5)]) == np.inf


@given(spans, spans)
def test_boundaries_only_lower_the_iou(a: Span, b: Span) -> None:
    lowered = boundary_iou([a], [b], 1000.0)
    assert 0 <= lowered <= span_set_iou([a], [b]) + 1e-12
    expected = temporal_iou(a, b) * (1 - abs(a.start_s - b.start_s) / 1000) * (1 - abs(a.end_s - b.end_s) / 1000)
    assert lowered == pytest.approx(expected)  # Time-R1's formula
    assert boundary_iou([], [b], 1000.0) == 0


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
