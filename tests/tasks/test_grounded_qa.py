from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from timesight.data import read
from timesight.tasks import TASKS, Graded
from timesight.tasks.aggregate import metrics_of
from timesight.tasks.grounded_qa import GroundedAnswer, GroundedQaSample
from timesight.types import Span

TASK = TASKS["grounded_qa"]


def sample(**rest: Any) -> GroundedQaSample:
    record = {"id": "x", "task": "grounded_qa", "video": "v.mp4", "question": "Why?", "options": ["a", "b"]}
    return GroundedQaSample.model_validate(record | {"answer": 1, "spans": [[0, 4], [6, 8]]} | rest)


def test_evidence_is_compared_as_sets_of_seconds() -> None:
    parts = TASK.reward("<answer>B</answer><glue>[(0, 2), (1, 4)]</glue>", sample())
    assert parts == {"format": 1.0, "iou": pytest.approx(4 / 6), "accuracy": 1.0}


@pytest.mark.parametrize(
    "reply",
    [
        "<answer>B</answer>",
        "<answer>B</answer><glue></glue>",
        "<answer>B</answer><glue>[]</glue>",
        "<answer>B</answer><glue>[(4, 0)]</glue>",
        "<answer>B</answer><glue>0 to 4</glue>",
        "<glue>[(0, 4)]</glue><answer>B</answer>",
        "<answer></answer><glue>[(0, 4)]</glue>",
        "<answer>B</answer><glue>[(0, 4)]</glue><glue>[(6, 8)]</glue>",
        "<answer>B<glue>[(0, 4)]</glue></answer>",
    ],
)
def test_both_tags_are_needed_in_order(reply: str) -> None:
    assert TASK.reward(reply, sample()) == {"format": 0.0, "iou": 0.0, "accuracy": 0.0}


def test_without_strictness_one_of_the_two_is_an_answer() -> None:
    assert TASK.parse("B", strict=False) == GroundedAnswer(1, ())
    assert TASK.parse("<glue>[(1, 2)]</glue>", strict=False) == GroundedAnswer(None, (Span(1, 2),))
    assert TASK.parse("<answer>B</answer> at <glue>[(1, 2)]</glue>", strict=False) == GroundedAnswer(
        1, (Span(1, 2),)
    )
    assert TASK.parse("who knows", strict=False) is None


def test_a_moment_inside_the_evidence_has_iop_one_and_iou_zero() -> None:
    (row,) = TASK.item_metrics([Graded(sample(), "", GroundedAnswer(1, (Span(7, 7),)))], "official")
    assert row is not None
    assert (row["mIoU"], row["mIoP"], row["Acc@GQA"]) == (0.0, 1.0, 1.0)


def test_official_takes_the_best_single_span_and_paper_the_union() -> None:
    graded = [Graded(sample(), "", GroundedAnswer(0, (Span(0, 4), Span(6, 8))))]
    assert metrics_of(TASK, graded, "official")["mIoU"] == 1.0
    assert metrics_of(TASK, graded, "paper") == {"mIoU": 1.0, "accuracy": 0.0}
    assert metrics_of(TASK, [Graded(sample(), "", GroundedAnswer(0, (Span(0, 8),)))], "official")["mIoU"] == 0.5
    assert metrics_of(TASK, [Graded(sample(), "", GroundedAnswer(0, (Span(0, 8),)))], "paper")["mIoU"] == 0.75


def test_odd_spans_do_not_spoil_the_others_of_a_question() -> None:
    odd = sample(spans=[[1, 2], [5, 3], [-5, 2]])
    (row,) = TASK.item_metrics([Graded(odd, "", GroundedAnswer(1, (Span(1, 2),)))], "official")
    assert row is not None
    assert row["mIoU"] == 1.0


def test_questions_without_evidence_are_left_out() -> None:
    bare = sample(spans=[])
    assert TASK.problems(bare) == ["no span"]
    assert TASK.item_metrics([Graded(bare, "", None)], "official") == [None]


def test_figures_equal_the_benchmarks_own_script(samples_dir: Path) -> None:
    items = read("nextgqa", samples_dir / "annotations/nextgqa", split="val")
    golden = json.loads((samples_dir / "golden/nextgqa_val.json").read_text())
    graded = []
    for item in items:
        key = item.id.partition("/")[2]
        answer = GroundedAnswer(golden["answers"][key]["prediction"], (Span(*golden["predictions"][key]),))
        graded.append(Graded(item, "", answer))
    figures = metrics_of(TASK, graded, "official")
    names = ("Acc@GQA", "mIoP", "IoP@0.3", "IoP@0.5", "mIoU", "IoU@0.3", "IoU@0.5")
    printed = golden["reference_output"].splitlines()[1].split()
    assert [f"{100 * figures[name]:.1f}" for name in names] == printed
