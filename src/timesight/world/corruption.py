"""Label noise: answers that are wrong on purpose, as in data from the web; the videos are not changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from timesight.geometry import clip_box
from timesight.types import Box, Span
from timesight.world.settings import WorldSettings

T = TypeVar("T")
SHIFT_SHARE = 0.05  # of the frame: the largest shift of a corrupted box


@dataclass(frozen=True)
class Corruption:
    """Adds the label noise of ``settings`` to answers (``label_noise``, ``boundary_jitter_s``)."""

    settings: WorldSettings

    def span(self, span: Span, duration_s: float, rng: np.random.Generator) -> Span:
        """Jitter the ends of a span, or replace it by a random one.

        Args:
            span: The true one.
            duration_s: Of the video.
            rng: Of the noise.

        Returns:
            With probability ``label_noise`` a random span of the video. Otherwise ``span``, each end moved by up to
            ``boundary_jitter_s``, cut to the video. Ends are rounded to 0.1 s.
        """
        if rng.random() < self.settings.label_noise:
            ends_s = rng.uniform(0.0, duration_s, size=2)
        else:
            ends_s = np.array([span.start_s, span.end_s]) + rng.uniform(
                -self.settings.boundary_jitter_s, self.settings.boundary_jitter_s, size=2
            )
        start_s, end_s = sorted(np.clip(ends_s, 0.0, duration_s).round(1).tolist())
        return Span(start_s, end_s)

    def choice(self, right: T, choices: Sequence[T], rng: np.random.Generator) -> T:
        """Return ``right``, or with probability ``label_noise`` a random one of ``choices``, which may equal it."""
        other = choices[int(rng.integers(len(choices)))]  # always drawn, so that later draws do not change
        return other if rng.random() < self.settings.label_noise else right

    def boxes(self, boxes: Sequence[Box], rng: np.random.Generator) -> list[Box]:
        """Shift each box with probability ``label_noise``, by up to 0.05 of the frame, and clip it to the frame."""
        moved = []
        for box in boxes:
            share = SHIFT_SHARE if rng.random() < self.settings.label_noise else 0.0
            x, y = rng.uniform(-share, share, size=2)
            moved.append(clip_box(box.x0 + x, box.y0 + y, box.x1 + x, box.y1 + y))
        return moved
