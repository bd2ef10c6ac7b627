"""Label noise: answers that are wrong on purpose, in the ways of hasty annotators; the videos are not changed.

A model that is pretrained on them sees more than it says, which leaves something for GRPO to bring out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from timesight.tasks.quality_assessment import Label
from timesight.types import Box, Span
from timesight.world.settings import WorldSettings

# Weak defects, and shapes visible for less than ``BRIEF_S``, are overlooked this many times as often as other noise
# strikes: in most answers, so that the likeliest reply is wrong where the model knows better. Noise that is alike
# everywhere costs what a model samples something, but its greedy replies nothing.
WEAK, BRIEF_S, OVERLOOKED = 0.6, 1.5, 2.5


@dataclass(frozen=True)
class Corruption:
    """Adds the noise of ``settings`` to answers (``label_noise``, ``boundary_jitter_s``, ``boundary_delay_s``)."""

    settings: WorldSettings

    def _is_noisy(self, rng: np.random.Generator, *, overlooked: bool = False) -> bool:
        times = OVERLOOKED if overlooked else 1.0
        return bool(rng.random() < times * self.settings.label_noise)

    def span(self, span: Span, duration_s: float, rng: np.random.Generator) -> Span:
        """Jitter the ends of a span, or replace it by a random one.

        Args:
            span: The true one.
            duration_s: Of the video.
            rng: Of the noise.

        Returns:
            With probability ``label_noise`` a random span of the video. Otherwise ``span``, each end moved by up to
            ``boundary_jitter_s`` and both later by up to ``boundary_delay_s``, cut to the video. Ends are rounded
            to 0.1 s.
        """
        jitter_s, delay_s = self.settings.boundary_jitter_s, self.settings.boundary_delay_s
        if self._is_noisy(rng):
            ends_s = rng.uniform(0.0, duration_s, size=2)
        else:
            ends_s = np.array([span.start_s, span.end_s]) + rng.uniform(-jitter_s, jitter_s, size=2)
            if delay_s:  # only then drawn: worlds without it keep their later random numbers
                ends_s += rng.uniform(0.0, delay_s)
        start_s, end_s = sorted(np.clip(ends_s, 0.0, duration_s).round(1).tolist())
        return Span(start_s, end_s)

    def option(self, right: int, visible_s: float, rng: np.random.Generator) -> int:
        """The index of the right option, or the first one: what is ticked without a look, mostly where it is brief.

        Args:
            right: The right option.
            visible_s: For how long what is asked about is visible.
            rng: Of the noise.
        """
        return 0 if self._is_noisy(rng, overlooked=visible_s < BRIEF_S) else right

    def label(self, right: Label, strength: float, rng: np.random.Generator) -> Label:
        """The right label, or "high quality": what is said without a close look, mostly where a defect is weak.

        Args:
            right: The true label.
            strength: Of the defect; 0 without one.
            rng: Of the noise.
        """
        return "high quality" if self._is_noisy(rng, overlooked=strength < WEAK) else right

    def words(self, right: str, others: Sequence[str], rng: np.random.Generator) -> str:
        """The right answer, or a random one of ``others``."""
        other = others[int(rng.integers(len(others)))]  # always drawn, so that later draws do not change
        return other if self._is_noisy(rng) else right

    def boxes(self, boxes: Sequence[Box], rng: np.random.Generator) -> list[Box]:
        """The boxes of a track, or the first one over and over."""
        return [boxes[0]] * len(boxes) if self._is_noisy(rng) else list(boxes)

    def sentences(
        self, sentences: Sequence[str], visible_s: Sequence[float], rng: np.random.Generator
    ) -> list[str]:
        """The sentences of a caption without those on shapes that were overlooked, mostly brief ones.

        Args:
            sentences: One for each shape; at least one is left.
            visible_s: For how long each shape is visible.
            rng: Of the noise.
        """
        said = [
            sentence
            for sentence, shape_s in zip(sentences, visible_s, strict=True)
            if not self._is_noisy(rng, overlooked=shape_s < BRIEF_S)
        ]
        return said or list(sentences[:1])
