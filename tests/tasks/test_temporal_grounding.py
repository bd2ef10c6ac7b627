from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesight.data import read_jsonl
from timesight.tasks import TASKS, Graded
from timesight.tasks.temporal_grounding import TemporalGroundingSample, find_span, parse_span
from timesight.types import Span, TextPart, VideoPart

TASK = TASKS["temporal_grounding"]


def sample(*spans: tuple[float, float], **rest: Any) -> TemporalGroundingSample:
    return TemporalGroundingSample.model_validate(
        {"id": "x", "task": "temporal_grounding", "video": "v.mp4", "query": "a door opens", "spans": spans} | rest
    )


@pytest.mark.parametrize("think", [False, True])
def test_gold_earns_everything_in_the_made_world(world: Path, think: bool) -> None:
    for item in read_jsonl(world / "train.jsonl"):
        assert TASK.reward(TASK.gold(item, think), item, think) == {"format": 1.0, "iou": 1.0}


@pytest.mark.parametrize("think", [False, True])
def test_gold_earns_everything_on_real_records(samples_dir: Path, think: bool) -> None:
    captions = json.loads((samples_dir / "annotations/activitynet_captions/val_2.json").read_text())
    records = [tuple(span) for video in captions.values() for span in video["timestamps"]]
    for line in (samples_dir / "annotations/charades_sta/charades_sta_train.txt").read_text().splitlines():
        _, start, end = line.partition("##")[0].split()
        records.append((float(start), float(end)))
    usable = [r for r in records if r[0] <= r[1]]
    assert len(usable) > 300
    assert len(records) - len(usable) == 2  # the two reversed rows of the excerpt
    for record in usable:
        item = sample(record)
        assert TASK.reward(TASK.gold(item, think), item, think) == {"format": 1.0, "iou": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "12.5 to 17.8",
        " 12.5 to 17.8 ",
        "12.5s - 17.8s",
        "12.5 – 17.8",
        "from 12.5 to 17.8 seconds",
        "between 12.5 and 17.8",
        "12.5 seconds to 17.8 seconds.",
        "00:12.5 to 00:17.8",
        "0:00:12.5 - 0:00:17.8",
    ],
)
def test_forms_that_models_write(text: str) -> None:
    assert parse_span(text) == Span(12.5, 17.8)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "17.8 to 12.5",
        "-1 to 5",
        "nan to 5",
        "1e3 to 1e4",
        "0 to inf",
        "1 to 2 to 3",
        "1 to 2, 3 to 4",
        "one to two",
        "1 to 2 or so",
        "9999999 to 99999999",
        "1 to " + "9" * 300,
        "1.2.3 to 4",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    assert parse_span(text) is None


def test_loose_parsing_wants_exactly_one_span() -> None:
    assert find_span("It happens from 3 to 4.5 seconds, I think.") == Span(3, 4.5)
    assert find_span("Either 3 to 4 or 6 to 7.") is None
    assert find_span("No idea.") is None


@given(st.text(max_size=300))
def test_any_text_is_scored_without_an_error(text: str) -> None:
    for reply in (text, f"<answer>{text}</answer>"):
        parts = TASK.reward(reply, sample((1.0, 2.0)))
        assert all(value is not None and 0.0 <= value <= 1.0 for value in parts.values())
        TASK.parse(reply, strict=False)


@given(st.floats(0, 99_999), st.floats(0, 99_999))
def test_gold_reads_back_exactly(a: float, b: float) -> None:
    start, end = sorted((round(a, 3), round(b, 3)))
    assert TASK.parse(TASK.gold(sample((start, end)))) == Span(start, end)


def test_reward_is_the_iou() -> None:
    assert TASK.reward("<answer>0 to 5</answer>", sample((2.5, 7.5)))["iou"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "reply", ["", "1 to 2", "<answer>2 to 1</answer>", "<answer>1 to 2</answer><answer>1 to 2</answer>"]
)
def test_garbage_earns_nothing(reply: str) -> None:
    assert TASK.reward(reply, sample((1.0, 2.0))) == {"format": 0.0, "iou": 0.0}


@pytest.mark.parametrize("spans", [[(9.0, 3.0)], [], [(math.nan, 1.0)], [(-5.0, -1.0)]])
def test_odd_truth_cannot_be_judged(spans: list[tuple[float, float]]) -> None:
    odd = sample(*spans)
    assert TASK.problems(odd)
    assert TASK.reward("<answer>3 to 9</answer>", odd) == {"format": None, "iou": None}
    assert TASK.metrics([Graded(odd, "3 to 9", Span(3, 9))])["mIoU"] == 0.0


def test_negative_starts_are_clipped() -> None:
    assert TASK.gold(sample((-0.5, 4.0))) == "<answer>0.0 to 4.0</answer>"


def test_metrics_by_hand() -> None:
    graded = [
        Graded(sample((0.0, 10.0)), "", Span(0, 10)),
        Graded(sample((0.0, 10.0)), "", Span(0, 5)),  # IoU 0.5 reaches the threshold of 0.5
        Graded(sample((0.0, 10.0)), "?", None),
        Graded(sample((0.0, 10.0)), "", Span(20, 30)),
    ]
    assert TASK.metrics(graded) == {"mIoU": 0.375, "R1@0.3": 0.5, "R1@0.5": 0.5, "R1@0.7": 0.25}


def test_whole_video_baseline_on_the_charades_excerpt(samples_dir: Path) -> None:
    root = samples_dir / "annotations/charades_sta"
    with (root / "Charades_v1_test.csv").open(newline="") as rows:
        durations = {row["id"]: float(row["length"]) for row in csv.DictReader(rows)}
    items, lengths = [], []
    for line in (root / "charades_sta_test.txt").read_text().splitlines():
        video, start, end = line.partition("##")[0].split()
        items.append(sample((float(start), float(end))))
        lengths.append(durations[video])
    answers = TASK.baselines(items, lengths)["whole video"]
    metrics = TASK.metrics([Graded(s, "", a) for s, a in zip(items, answers, strict=True)])
    assert {name: round(value, 4) for name, value in metrics.items()} == {
        "mIoU": 0.2727,
        "R1@0.3": 0.3417,
        "R1@0.5": 0.0083,
        "R1@0.7": 0.0,
    }


def test_prompt_shows_the_video_first_and_asks_for_the_form() -> None:
    video, text = TASK.prompt(sample((1.0, 2.0)), think=True)
    assert isinstance(video, VideoPart)
    assert isinstance(text, TextPart)
    assert "a door opens" in text.text
    assert "<think>" in text.text
