"""The judge that errs on purpose."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from timesight.judge import JudgeSettings, open_judge
from timesight.judge.noisy import NoisyJudge
from timesight.world import WorldJudge

CAPTIONS = [f"A red circle appears at {n} s. A green square leaves." for n in range(1000)]
EVENTS = [("a red circle leaves", "a green square leaves")] * len(CAPTIONS)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_a_known_share_of_verdicts_is_flipped_and_the_same_ones_each_time(rate: float) -> None:
    judge = open_judge(JudgeSettings(kind="world", error_rate=rate), WorldJudge())
    assert judge is not None
    verdicts = judge.entailed(CAPTIONS, EVENTS)
    flipped = [
        got != true
        for mine, right in zip(verdicts, WorldJudge().entailed(CAPTIONS, EVENTS), strict=True)
        for got, true in zip(mine or (), right or (), strict=True)
    ]
    assert sum(flipped) / len(flipped) == pytest.approx(rate, abs=0.03)
    assert judge.entailed(CAPTIONS, EVENTS) == verdicts
    assert judge.events(CAPTIONS[:1]) == WorldJudge().events(CAPTIONS[:1])


def test_what_is_not_judged_stays_unjudged() -> None:
    class Silent(WorldJudge):
        def entailed(
            self, captions: Sequence[str], events: Sequence[Sequence[str]]
        ) -> list[tuple[bool, ...] | None]:
            return [None] * len(captions)

    assert NoisyJudge(Silent(), 1.0).entailed(CAPTIONS[:2], EVENTS[:2]) == [None, None]


def test_only_the_exact_judge_errs_on_purpose() -> None:
    with pytest.raises(ValidationError, match="error_rate is for the world's judge"):
        JudgeSettings(kind="local", model="judge", error_rate=0.1)
