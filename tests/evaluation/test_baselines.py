"""What needs no model."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from timesight.geometry import temporal_iou
from timesight.tasks.evidence import best_constant_span
from timesight.types import Span


def plain(truths: Sequence[Sequence[Span]], videos: Sequence[Span]) -> list[Span]:
    """Every share tried on every video, one after another."""
    shares = np.linspace(0.0, 1.0, 21)

    def answers(share: tuple[float, float]) -> list[Span]:
        return [Span(float(share[0] * video.end_s), float(share[1] * video.end_s)) for video in videos]

    def score(share: tuple[float, float]) -> float:
        pairs = zip(answers(share), truths, strict=True)
        return sum(max((temporal_iou(span, true) for true in spans), default=0.0) for span, spans in pairs)

    return answers(max(((a, b) for a in shares for b in shares if a < b), key=score))


@pytest.mark.parametrize("seed", range(20))
def test_the_best_constant_span_is_the_one_that_trying_all_finds(seed: int) -> None:
    draws = random.Random(seed)
    videos = [Span(0.0, draws.choice([0.0, 20.0, draws.uniform(1, 99)])) for _ in range(draws.randrange(12))]

    def truth() -> Span:
        return Span(*sorted(draws.choice([0.0, 5.0, 10.0, draws.uniform(0, 30)]) for _ in range(2)))

    truths = [[truth() for _ in range(draws.randrange(4))] for _ in videos]
    assert best_constant_span(truths, videos) == plain(truths, videos)
