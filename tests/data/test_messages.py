"""Message JSON in its several forms, in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from timesight.data import read_jsonl
from timesight.data.jsonl import with_root
from timesight.data.messages import read_messages, write_message
from timesight.errors import SampleError
from timesight.types import Sample
from timesight.world import unseen_samples


def llava(question: str, answer: str, **fields: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"<video>\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": "r1", "video": "clips/v.mp4", "conversations": turns} | fields


def convert(tmp_path: Path, *records: Any, task: str | None = None) -> list[Sample | SampleError]:
    (tmp_path / "m.json").write_text(json.dumps(records))
    return list(read_messages(tmp_path / "m.json", task))


@pytest.mark.parametrize(
    ("question", "answer", "task", "fields"),
    [
        (
            "What is she holding?\nA. a cup\nB. a book\nAnswer with the letter.",
            "B",
            "multiple_choice",
            {"question": "What is she holding?", "options": ("a cup", "a book"), "answer": 1},
        ),
        (
            "What is she holding?\n(A) a cup\n(B) a book",
            "(A) a cup",
            "multiple_choice",
            {"options": ("a cup", "a book"), "answer": 0},
        ),
        (
            'At what time does the event "a man opens a door" happen?',
            "It happens from 12.5 to 17.8 seconds.",
            "temporal_grounding",
            {"query": "a man opens a door", "spans": ((12.5, 17.8),)},
        ),
        ("How good is it?", "Low quality.", "quality_assessment", {"label": "low quality"}),
        (
            "Describe the video.",
            "From 3 to 5 people dance.",
            "captioning",
            {"caption": "From 3 to 5 people dance."},
        ),
        ("What is she holding?\nA. a cup\nB. a book", "C", "captioning", {"caption": "C"}),
    ],
)
def test_each_conversation_is_read_as_what_it_looks_like(
    tmp_path: Path, question: str, answer: str, task: str, fields: dict[str, Any]
) -> None:
    (sample,) = convert(tmp_path, llava(question, answer))
    assert isinstance(sample, Sample)
    assert sample.task == task
    assert sample.id == "m/r1"
    assert sample.video.path == tmp_path / "clips/v.mp4"
    assert {name: sample.model_dump()[name] for name in fields} == fields


def test_several_turns_give_several_samples(tmp_path: Path) -> None:
    record = llava("Describe it.", "A dog.")
    record["conversations"] += llava("And then?", "A cat.")["conversations"]
    record["conversations"].insert(0, {"from": "system", "value": "You are helpful."})
    assert [s.id for s in convert(tmp_path, record) if isinstance(s, Sample)] == ["m/r1#0", "m/r1#1"]


@pytest.mark.parametrize(
    ("record", "task", "message"),
    [
        (llava("a", "b", video=5), None, "record 0: has no path of a video"),
        (llava("a", "b", video=["x.mp4", "y.mp4"]), None, "record 0: has 2 videos where one belongs"),
        ({"id": "a", "video": "v.mp4"}, None, "has no conversations or messages"),
        (llava("a", "b", conversations=[{"from": "robot", "value": "x"}] * 2), None, "a turn is not a role"),
        (llava("a", "b"), "temporal_grounding", "cannot be read as temporal_grounding: 'b'"),
        ({"sample": '{"task": "dancing", "id": "a", "video": "v.mp4"}'}, None, "task 'dancing' is not one of"),
        ("text", None, "is not a JSON object"),
    ],
)
def test_what_cannot_be_converted_is_told(tmp_path: Path, record: Any, task: str | None, message: str) -> None:
    good = llava("When?", "2 to 3")
    told, fine = convert(tmp_path, record, good, task=task)
    assert isinstance(told, SampleError)
    assert isinstance(fine, Sample)
    with pytest.raises(SampleError, match=message):
        raise told


@pytest.mark.parametrize("style", ["trl", "swift"])
@pytest.mark.parametrize("think", [True, False])
def test_what_goes_out_comes_back(tmp_path: Path, style: Any, think: bool) -> None:
    samples = unseen_samples(12)
    kept = [sample for sample in samples if style == "trl" or sample.video.end_s is None]
    for sample in samples:
        if sample not in kept:
            with pytest.raises(SampleError, match="asks about a window of its video"):
                write_message(sample, style, think)
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(write_message(s, style, think)) for s in kept))
    assert list(read_messages(tmp_path / "m.jsonl")) == [with_root(sample, Path.cwd()) for sample in kept]
    assert len(kept) > 20


def test_trl_and_the_processor_take_what_goes_out(full_world: Path) -> None:
    from datasets import Dataset
    from trl import is_conversational

    from timesight.policy.load import load_policy

    rows = [write_message(sample, "trl") for sample in read_jsonl(full_world / "train.jsonl")]
    dataset = Dataset.from_list(rows)
    assert all(is_conversational(row) for row in dataset)
    processor = load_policy("tiny").processor
    text = processor.apply_chat_template(rows[0]["messages"], tokenize=False)
    assert "<|video_pad|>" in text
    assert rows[0]["messages"][1]["content"][0]["text"] in text


def test_files_of_other_kinds_are_told(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("[{]")
    with pytest.raises(SampleError, match=r"m\.json: is not JSON"):
        list(read_messages(tmp_path / "m.json"))
    with pytest.raises(SampleError, match="no such file"):
        list(read_messages(tmp_path / "none.json"))
    (tmp_path / "l.jsonl").write_text("{\n")
    (told,) = read_messages(tmp_path / "l.jsonl")
    assert "line 1: is not JSON" in str(told)
