from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from timesight.data import read
from timesight.data.sources.got10k import read_predictions
from timesight.tasks import TASKS, Graded
from timesight.tasks.object_tracking import ObjectTrackingSample
from timesight.types import Box, FrameRequest

TASK = TASKS["object_tracking"]
A, B, C = (0.0, 0.0, 0.5, 0.5), (0.25, 0.0, 0.75, 0.5), (0.5, 0.5, 1.0, 1.0)


def sample(*boxes: tuple[float, ...], **rest: Any) -> ObjectTrackingSample:
    times = [float(n) for n in range(len(boxes))]
    record = {"id": "x", "task": "object_tracking", "video": "v", "object": "cat", "times_s": times, "boxes": boxes}
    return ObjectTrackingSample.model_validate(record | rest)


def reply(*boxes: tuple[float, ...]) -> str:
    return f"<answer>{[list(box) for box in boxes]}</answer>"


def test_the_given_box_is_not_rewarded() -> None:
    moved = sample(A, B, C)
    assert TASK.reward(reply(A, A, A), moved)["iou"] == pytest.approx((1 / 3 + 0) / 2)
    assert TASK.reward(reply(C, B, C), moved)["iou"] == 1.0


def test_under_the_papers_protocol_it_is() -> None:
    assert TASK.with_reward_protocol("paper").reward(reply(A, A, A), sample(A, B, C))["iou"] == pytest.approx(
        (1 + 1 / 3 + 0) / 3
    )


def test_under_the_papers_protocol_every_frame_is_scored() -> None:
    hidden = sample(A, C, A, absent=[1])
    assert TASK.metrics([Graded(hidden, "", (Box(*A),) * 3)], "paper")["overlap"] == pytest.approx(2 / 3)
    assert TASK.metrics([Graded(hidden, "", (Box(*A),) * 3)])["AO"] == 1.0


def test_in_evaluation_boxes_past_the_frame_are_clipped() -> None:
    boxes = TASK.parse("[[0, 0, 1.001, 0.5]]", strict=False)
    assert boxes == (Box(0.0, 0.0, 1.0, 0.5),)


def test_frames_without_the_object_do_not_count() -> None:
    hidden = sample(A, (0, 0, 0, 0), B, absent=[1])
    assert TASK.reward(reply(A, C, B), hidden)["iou"] == 1.0
    assert TASK.reward(TASK.gold(hidden), hidden) == {"format": 1.0, "iou": 1.0}


def test_there_must_be_a_box_a_frame() -> None:
    for count in (1, 2, 4):
        assert TASK.reward(reply(*[A] * count), sample(A, A, A)) == {"format": 0.0, "iou": 0.0}


def test_boxes_past_the_frames_edge_are_clipped_and_long_numbers_rounded() -> None:
    outside = sample(A, (-0.2, 0.123456789, 1.2, 0.5))
    assert TASK.gold(outside).endswith("[0.0, 0.123, 1.0, 0.5]]</answer>")
    assert TASK.reward(TASK.gold(outside), outside)["iou"] == 1.0


@pytest.mark.parametrize(
    ("boxes", "rest"),
    [
        ([A], {}),
        ([A, B], {"absent": [0]}),
        ([A, B], {"absent": [1]}),
        ([A, (0.5, 0, 0.1, 1)], {}),
        ([A, (float("nan"), 0, 0.1, 1)], {}),
    ],
)
def test_odd_truth_cannot_be_judged(boxes: list[tuple[float, ...]], rest: dict[str, Any]) -> None:
    odd = sample(*boxes, **rest)
    assert TASK.problems(odd)
    assert TASK.reward(reply(*[A] * len(boxes)), odd) == {"format": None, "iou": None}
    TASK.metrics([Graded(odd, "", (Box(*A), Box(*B)))])


def test_a_sample_must_fit_together() -> None:
    with pytest.raises(ValidationError, match="one for each"):
        sample(A, B, times_s=[0.0])
    with pytest.raises(ValidationError, match="names no frame"):
        sample(A, B, absent=[2])


def test_the_frames_are_those_whose_boxes_are_known() -> None:
    assert TASK.frames(sample(A, B, times_s=[1.0, 2.5])) == FrameRequest(2, (1.0, 2.5))


def test_missing_boxes_of_a_tagless_reply_score_zero() -> None:
    still = sample(A, A, A)
    (row,) = TASK.item_metrics([Graded(still, "", (Box(*A), Box(*A)))], "official_on_n_frames")
    assert row == {"AO": 0.5, "SR@0.5": 0.5, "SR@0.75": 0.5}


def test_overlap_and_success_equal_the_official_toolkit(samples_dir: Path) -> None:
    golden = samples_dir / "golden"
    items = read("got10k", golden / "got10k_tree", split="val", num_frames=None)
    predictions = read_predictions(golden / "got10k_predictions", items)
    figures = TASK.metrics([Graded(s, "", predictions[s.id]) for s in items], "official")
    report = json.loads((golden / "got10k_reference_report.json").read_text())["T"]
    assert figures["AO"] == pytest.approx(report["overall"]["ao"], abs=1e-12)
    assert figures["SR@0.5"] == pytest.approx(report["overall"]["sr"], abs=1e-12)
    assert round(figures["SR@0.75"], 4) == 0.2162
    for item, row in zip(
        items, TASK.item_metrics([Graded(s, "", predictions[s.id]) for s in items], "official"), strict=True
    ):
        assert row is not None
        assert row["AO"] == pytest.approx(report["seq_wise"][item.id.partition("/")[2]]["ao"], abs=1e-12)


def test_repeating_the_given_box_on_the_authors_boxes(samples_dir: Path) -> None:
    items = read("videochat_r1", samples_dir / "annotations/videochat_r1", part="got_val")
    answers = TASK.baselines(items, [None] * len(items))["repeat the given box"]
    graded = [Graded(s, "", a) for s, a in zip(items, answers, strict=True)]
    assert round(TASK.metrics(graded, "paper")["overlap"], 4) == 0.4163
    assert round(TASK.metrics(graded)["AO"], 4) == 0.3329
