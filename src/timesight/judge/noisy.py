"""A judge with mistakes, which stands in for a language model where the truth is known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from timesight.types import Judge


class NoisyJudge:
    """A ``Judge`` whose verdicts are those of another judge, except for a known share that is flipped.

    Whether a verdict is flipped depends on the caption and the event alone: like a language model at temperature 0,
    it makes the same mistake every time, so that training can learn to profit from it.

    Args:
        judge: Whose verdicts are flipped.
        error_rate: Share of flipped verdicts, in [0, 1].
    """

    def __init__(self, judge: Judge, error_rate: float) -> None:
        self._judge, self._error_rate = judge, error_rate

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        """The events of the other judge, without mistakes."""
        return self._judge.events(captions)

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[tuple[bool, ...] | None]:
        """The verdicts of the other judge, a share of them flipped."""
        return [
            verdicts
            and tuple(verdict ^ self._errs(caption, event) for verdict, event in zip(verdicts, mine, strict=True))
            for caption, mine, verdicts in zip(
                captions, events, self._judge.entailed(captions, events), strict=True
            )
        ]

    def _errs(self, caption: str, event: str) -> bool:
        drawn = hashlib.sha256(f"{caption}\0{event}".encode()).digest()
        return int.from_bytes(drawn[:8], "big") < self._error_rate * 2**64
