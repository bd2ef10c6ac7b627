from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from timesight.data import read
from timesight.data.sources.got10k import read_predictions
from timesight.errors import SampleError
from timesight.tasks import TASKS, Graded
from timesight.tasks.aggregate import metrics_of
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
    assert metrics_of(TASK, [Graded(hidden, "", (Box(*A),) * 3)], "paper")["overlap"] == pytest.approx(2 / 3)
    assert metrics_of(TASK, [Graded(hidden, "", (Box(*A),) * 3)])["AO"] == 1.0


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
    metrics_of(TASK, [Graded(odd, "", (Box(*A), Box(*B)))])


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
    figures = metrics_of(TASK, [Graded(s, "", predictions[s.id][0]) for s in items], "official")
    report = json.loads((golden / "got10k_reference_report.json").read_text())["T"]
    assert figures["AO"] == pytest.approx(report["overall"]["ao"], abs=1e-12)
    assert figures["SR@0.5"] == pytest.approx(report["overall"]["sr"], abs=1e-12)
    assert round(figures["SR@0.75"], 4) == 0.2162
    for item, row in zip(
        items, TASK.item_metrics([Graded(s, "", predictions[s.id][0]) for s in items], "official"), strict=True
    ):
        assert row is not None
        assert row["AO"] == pytest.approx(report["seq_wise"][item.id.partition("/")[2]]["ao"], abs=1e-12)


TOOLKIT_CASES = {
    # prediction, truth (x, y, width, height in pixels of a frame of 400 × 300), the toolkit's IoU by hand
    "a negative x moves to 0, the width stays": ((-50, 10, 100, 100), (0, 10, 100, 100), 1.0),
    "a negative y as well": ((20, -30, 50, 60), (20, 0, 50, 60), 1.0),
    "the far edge cuts": ((350, 0, 100, 100), (350, 0, 50, 100), 1.0),
    "truth is bounded alike": ((0, 0, 80, 40), (-20, 0, 80, 40), 1.0),
    "half": ((-50, 0, 100, 50), (50, 0, 100, 50), 1 / 3),
    "no size": ((10, 10, 0, 0), (10, 10, 20, 20), 0.0),
    "no size in both": ((10, 10, 0, 0), (10, 10, 0, 0), 0.0),
    "one half": ((10, 10, 10, 20), (10, 10, 20, 20), 0.5),
    "a negative width is none": ((10, 10, -5, 20), (10, 10, 20, 20), 0.0),
}


def got10k_tree(root: Path, boxes: list[tuple[int, ...]], cover: list[int], absence: list[int]) -> Path:
    """The official layout with one sequence, whose first frame shows the object at the origin."""
    folder = root / "val" / "S"
    folder.mkdir(parents=True)
    (root / "val" / "list.txt").write_text("S\n")
    (folder / "meta_info.ini").write_text("[METAINFO]\nobject_class: cat\nresolution: (400, 300)\n")
    (folder / "groundtruth.txt").write_text("\n".join(",".join(map(str, box)) for box in boxes))
    (folder / "cover.label").write_text("\n".join(map(str, cover)))
    (folder / "absence.label").write_text("\n".join(map(str, absence)))
    return root


def write_track(folder: Path, boxes: list[tuple[int, ...]], number: int = 1) -> None:
    (folder / "S").mkdir(parents=True, exist_ok=True)
    lines = "\n".join(",".join(map(str, box)) for box in boxes)
    (folder / "S" / f"S_{number:03d}.txt").write_text(lines)


@pytest.mark.parametrize("case", TOOLKIT_CASES)
def test_boxes_are_bounded_as_the_toolkit_bounds_them(case: str, tmp_path: Path) -> None:
    prediction, truth, iou = TOOLKIT_CASES[case]
    root = got10k_tree(tmp_path, [(0, 0, 9, 9), truth], [8, 8], [0, 0])
    write_track(tmp_path / "out", [(0, 0, 9, 9), prediction])
    (item,) = read("got10k", root, split="val", num_frames=None)
    (track,) = read_predictions(tmp_path / "out", [item])[item.id]
    (row,) = TASK.item_metrics([Graded(item, "", track)], "official")
    assert row is not None
    assert row["AO"] == pytest.approx(iou, abs=1e-12)
    assert row["SR@0.5"] == float(iou > 0.5)


def test_official_counts_frames_by_their_cover_alone(tmp_path: Path) -> None:
    boxes = [(0, 0, 9, 9)] * 4
    root = got10k_tree(tmp_path, boxes, cover=[8, 8, 0, 8], absence=[0, 1, 0, 0])
    (every,) = read("got10k", root, split="val", num_frames=None)
    (shown,) = read("got10k", root, split="val", num_frames=4)
    assert isinstance(every, ObjectTrackingSample)
    assert isinstance(shown, ObjectTrackingSample)
    assert every.absent == (2,)
    assert shown.absent == (1, 2)  # a model is not asked for what cannot be seen


def test_repetitions_are_read_and_other_lengths_refused(tmp_path: Path) -> None:
    boxes = [(0, 0, 9, 9)] * 3
    (item,) = read("got10k", got10k_tree(tmp_path, boxes, [8] * 3, [0] * 3), split="val", num_frames=None)
    write_track(tmp_path / "out", boxes)
    write_track(tmp_path / "out", [(100, 100, 9, 9)] * 3, number=2)
    tracks = read_predictions(tmp_path / "out", [item])[item.id]
    assert metrics_of(TASK, [Graded(item, "", track) for track in tracks], "official")["AO"] == 0.5
    write_track(tmp_path / "out", boxes[:2], number=2)
    with pytest.raises(SampleError, match=r"S_002\.txt: 2 boxes for 3 frames"):
        read_predictions(tmp_path / "out", [item])


def test_repeating_the_given_box_on_the_authors_boxes(samples_dir: Path) -> None:
    items = read("videochat_r1", samples_dir / "annotations/videochat_r1", part="got_val")
    answers = TASK.baselines(items, [None] * len(items))["repeat the given box"]
    graded = [Graded(s, "", a) for s, a in zip(items, answers, strict=True)]
    assert round(metrics_of(TASK, graded, "paper")["overlap"], 4) == 0.4163
    assert round(metrics_of(TASK, graded)["AO"], 4) == 0.3329
