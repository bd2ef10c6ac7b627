from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesight.data import read
from timesight.tasks import TASKS, Graded
from timesight.tasks.aggregate import metrics_of
from timesight.tasks.temporal_grounding import TemporalGroundingSample
from timesight.types import Span

TASK = TASKS["temporal_grounding"]


def sample(*spans: tuple[float, float], **rest: Any) -> TemporalGroundingSample:
    return TemporalGroundingSample.model_validate(
        {"id": "x", "task": "temporal_grounding", "video": "v.mp4", "query": "a door opens", "spans": spans} | rest
    )


@given(st.floats(0, 99_999), st.floats(0, 99_999))
def test_gold_reads_back_exactly(a: float, b: float) -> None:
    start, end = sorted((round(a, 3), round(b, 3)))
    assert TASK.parse(TASK.gold(sample((start, end)))) == Span(start, end)


def test_reward_is_the_iou() -> None:
    assert TASK.reward("<answer>0 to 5</answer>", sample((2.5, 7.5)))["iou"] == pytest.approx(1 / 3)


def test_any_of_several_true_spans_is_right() -> None:
    twice = sample((1.0, 2.0), (7.0, 9.0))
    assert TASK.reward("<answer>7 to 9</answer>", twice)["iou"] == 1.0
    assert TASK.reward("<answer>1 to 9</answer>", twice)["iou"] == pytest.approx(0.25)


@pytest.mark.parametrize("spans", [[(9.0, 3.0)], [], [(math.nan, 1.0)], [(-5.0, -1.0)]])
def test_odd_truth_cannot_be_judged(spans: list[tuple[float, float]]) -> None:
    odd = sample(*spans)
    assert TASK.problems(odd)
    assert TASK.reward("<answer>3 to 9</answer>", odd) == {"format": None, "iou": None}
    assert metrics_of(TASK, [Graded(odd, "3 to 9", Span(3, 9))])["mIoU"] == 0.0


def test_metrics_use_the_sources_own_numbers() -> None:
    assert metrics_of(TASK, [Graded(sample((-5.0, 2.0)), "", Span(0, 2))])["mIoU"] == pytest.approx(2 / 7)
    noted = sample((1.0, 2.0), problems=["ends past the video"])
    assert metrics_of(TASK, [Graded(noted, "", Span(1, 2))])["mIoU"] == 1.0


def test_an_overlap_of_exactly_a_half_reaches_the_threshold() -> None:
    assert metrics_of(TASK, [Graded(sample((6.4, 26.9)), "", Span(1.3, 19.2))])["R1@0.5"] == 1.0


def test_negative_starts_are_clipped() -> None:
    assert TASK.gold(sample((-0.5, 4.0))) == "<answer>0.0 to 4.0</answer>"


def test_metrics_by_hand() -> None:
    graded = [
        Graded(sample((0.0, 10.0)), "", Span(0, 10)),
        Graded(sample((0.0, 10.0)), "", Span(0, 5)),  # IoU 0.5 reaches the threshold of 0.5
        Graded(sample((0.0, 10.0)), "?", None),
        Graded(sample((0.0, 10.0)), "", Span(20, 30)),
    ]
    assert metrics_of(TASK, graded) == {"mIoU": 0.375, "R1@0.3": 0.5, "R1@0.5": 0.5, "R1@0.7": 0.25}


def test_whole_video_baseline_on_the_charades_excerpt(samples_dir: Path) -> None:
    items = read("charades_sta", samples_dir / "annotations/charades_sta", split="test")
    answers = TASK.baselines(items, [item.meta["duration_s"] for item in items])["whole video"]
    metrics = metrics_of(TASK, [Graded(s, "", a) for s, a in zip(items, answers, strict=True)])
    assert {name: round(value, 4) for name, value in metrics.items()} == {
        "mIoU": 0.2727,
        "R1@0.3": 0.3417,
        "R1@0.5": 0.0083,
        "R1@0.7": 0.0,
    }


def test_whole_video_baseline_on_the_activitynet_excerpt(samples_dir: Path) -> None:
    items = read("activitynet_captions", samples_dir / "annotations/activitynet_captions", split="val")
    answers = TASK.baselines(items, [item.meta["duration_s"] for item in items])["whole video"]
    metrics = metrics_of(TASK, [Graded(s, "", a) for s, a in zip(items, answers, strict=True)])
    assert round(metrics["mIoU"], 4) == 0.3319
