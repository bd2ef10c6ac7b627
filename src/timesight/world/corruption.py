"""Answers that are wrong on purpose, as answers scraped from the web are wrong; the videos stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from timesight.geometry import clip_box
from timesight.types import Box, Span
from timesight.world.settings import WorldSettings

T = TypeVar("T")
SHIFT_SHARE = 0.05  # of the frame: how far the edges of a corrupted box move at most


@dataclass(frozen=True)
class Corruption:
    """Wrong answers as ``settings`` ask for them (``label_noise``, ``boundary_jitter_s``)."""

    settings: WorldSettings

    def span(self, span: Span, duration_s: float, rng: np.random.Generator) -> Span:
        """``span``, its ends moved, each on its own; or another one of the same video."""
        if rng.random() < self.settings.label_noise:
            ends_s = rng.uniform(0.0, duration_s, size=2)
        else:
            ends_s = np.array([span.start_s, span.end_s]) + rng.uniform(
                -self.settings.boundary_jitter_s, self.settings.boundary_jitter_s, size=2
            )
        start_s, end_s = sorted(np.clip(ends_s, 0.0, duration_s).round(1).tolist())
        return Span(start_s, end_s)

    def choice(self, right: T, choices: Sequence[T], rng: np.random.Generator) -> T:
        """``right``, or any of ``choices``."""
        other = choices[int(rng.integers(len(choices)))]  # drawn always, so that what follows draws the same
        return other if rng.random() < self.settings.label_noise else right

    def boxes(self, boxes: Sequence[Box], rng: np.random.Generator) -> list[Box]:
        """``boxes``, now and then moved."""
        moved = []
        for box in boxes:
            share = SHIFT_SHARE if rng.random() < self.settings.label_noise else 0.0
            x, y = rng.uniform(-share, share, size=2)
            moved.append(clip_box(box.x0 + x, box.y0 + y, box.x1 + x, box.y1 + y))
        return moved
