"""Message JSON in its several forms, in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from timesight.data import read_jsonl
from timesight.data.jsonl import parse_line, with_root
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
        *(
            (
                f"What is she holding?{options}",
                answer,
                "multiple_choice",
                {"options": ("a cup", "a book"), "answer": 1},
            )
            for options in ("\nA. a cup\nB. a book", " A. a cup B. a book", " (A) a cup; (B) a book")
            for answer in ("B", "(B) a book", "The answer is B.", "Answer: B", "<answer>B</answer>", "**B**")
        ),
        (
            "Find the pancake.",
            "3.5 - 8 s",
            "temporal_grounding",
            {"query": "Find the pancake.", "spans": ((3.5, 8),)},
        ),
        ("When is it?", "<answer>2 to 3</answer>", "temporal_grounding", {"spans": ((2.0, 3.0),)}),
        *(
            (question, answer, "captioning", {"caption": answer, "question": question})
            for question, answer in (
                ("How many times does he jump?", "He jumps 2 to 3 times."),
                ("What time of the day is it, and who is there?", "It is noon. 2-3 people."),
                ("What period is shown in this segment?", "1960 to 1975"),
                ("When did he live?", "1960 to 1975"),
                ("What is the score at the start?", "The score is 3-5."),
                ("What happens?", "From 3 to 5 seconds a man dances."),
                ("How long does it take?", "2 to 3 seconds"),
                ("Which plan is it?", "Plan A. It is a plan B. to be followed."),
            )
        ),
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


def test_a_task_that_is_said_overrules_the_look(tmp_path: Path) -> None:
    (sample,) = convert(tmp_path, llava("The man jumps.", "2 to 3"), task="temporal_grounding")
    assert isinstance(sample, Sample)
    assert sample.model_dump()["spans"] == ((2.0, 3.0),)


def test_a_window_of_the_video_comes_back_without_our_column(tmp_path: Path) -> None:
    record = {
        "id": "w",
        "task": "captioning",
        "video": {"path": "v.mp4", "start_s": 3.0, "end_s": 9.0},
        "caption": "c",
    }
    message = write_message(parse_line(json.dumps(record), "x", tmp_path), "trl")
    del message["sample"]
    in_record = llava("Describe it.", "c", video_start=3.0, video_end=9.0)
    for sample in convert(tmp_path, message, in_record):
        assert isinstance(sample, Sample)
        assert (sample.video.start_s, sample.video.end_s) == (3.0, 9.0)
    (told,) = convert(tmp_path, llava("Describe it.", "c", video_start=9.0, video_end=3.0))
    assert isinstance(told, SampleError)


def test_a_prompt_and_its_completion_are_read(tmp_path: Path) -> None:
    texts = {"prompt": "Describe it.", "completion": "A dog.", "video": "v.mp4"}
    turns = llava("Describe it.", "A dog.")["conversations"]
    for sample in convert(tmp_path, texts, texts | {"prompt": turns[:1], "completion": turns[1:]}):
        assert isinstance(sample, Sample)
        assert (sample.model_dump()["question"], sample.model_dump()["caption"]) == ("Describe it.", "A dog.")
    (told,) = convert(tmp_path, texts | {"completion": None})
    assert "a turn is not a role with a text" in str(told)


def test_the_caption_of_a_whole_video_is_read_from_sharegpt4video(tmp_path: Path) -> None:
    pieces = [{"idx": "1-2", "content": "It turns."}, {"idx": "-1", "content": "A wheel turns."}]
    whole, none = convert(
        tmp_path,
        {"video_id": "w1", "video_path": "panda/w1.mp4", "captions": pieces},
        {"video_id": "w2", "video_path": "panda/w2.mp4", "captions": pieces[:1]},
    )
    assert isinstance(whole, Sample)
    assert (whole.id, whole.video.path) == ("m/w1", tmp_path / "panda/w1.mp4")
    assert (whole.model_dump()["caption"], whole.model_dump()["question"]) == ("A wheel turns.", None)
    assert "record 1: has no conversations" in str(none)


def test_several_turns_give_several_samples(tmp_path: Path) -> None:
    record = llava("Describe it.", "A dog.")
    record["conversations"] += llava("And then?", "A cat.")["conversations"]
    record["conversations"].insert(0, {"from": "system", "value": "You are helpful."})
    assert [s.id for s in convert(tmp_path, record) if isinstance(s, Sample)] == ["m/r1#0", "m/r1#1"]


def test_a_question_without_an_answer_is_told_next_to_those_with_one(tmp_path: Path) -> None:
    record = llava("Describe it.", "A dog.")
    record["conversations"].append({"from": "human", "value": "And then?"})
    answered, told = convert(tmp_path, record)
    assert isinstance(answered, Sample)
    assert "record 0: turn 2 has no answer" in str(told)
    record["conversations"][1:] = [{"from": "gpt", "value": "b"}, *llava("When?", "2 to 3")["conversations"]]
    told, answered = convert(tmp_path, record, task="temporal_grounding")
    assert "cannot be read as temporal_grounding: 'b'" in str(told)
    assert isinstance(answered, Sample)
    system = [{"from": "system", "value": "You are helpful."}, {"from": "human", "value": "Describe it."}]
    (told,) = convert(tmp_path, llava("", "", conversations=system))
    assert "a question and its answer" in str(told)


def test_ids_that_are_there_several_times_are_numbered(tmp_path: Path) -> None:
    samples = convert(tmp_path, *(llava("Describe it.", answer) for answer in "abc"))
    assert [s.id for s in samples if isinstance(s, Sample)] == ["m/r1", "m/r1#1", "m/r1#2"]


def test_text_may_stand_in_a_list(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": ["<video>", "q"]}, {"role": "assistant", "content": ["a"]}]
    (sample,) = convert(tmp_path, {"video": "v.mp4", "messages": turns})
    assert isinstance(sample, Sample)
    assert (sample.model_dump()["question"], sample.model_dump()["caption"]) == ("q", "a")


@pytest.mark.parametrize(
    ("record", "task", "message"),
    [
        (llava("a", "b", video=5), None, "record 0: has no path of a video"),
        (llava("a", "b", video=["x.mp4", "y.mp4"]), None, "record 0: has 2 videos where one belongs"),
        ({"id": "a", "video": "v.mp4"}, None, "has no conversations or messages"),
        (llava("a", "b", conversations=[{"from": "robot", "value": "x"}] * 2), None, "a turn is not a role"),
        (llava("a", "b"), "temporal_grounding", "cannot be read as temporal_grounding: 'b'"),
        (llava("a", "b", conversations=[{"from": ["human"], "value": "x"}] * 2), None, "a turn is not a role"),
        (llava("a", "b", conversations=[{"from": "human", "value": [5]}] * 2), None, "a turn is not a role"),
        (llava("Where is it?", "<bbox>", objects={"bbox": [[1, 2, 3, 4]]}), None, "has <bbox>: boxes of messages"),
        ({"messages": None, "conversations": llava("a", "b")["conversations"]}, None, "has 0 videos where one"),
        ({"sample": "hello"}, None, "record 0, sample: is not JSON"),
        ({"sample": "[1]"}, None, "record 0, sample: is not a JSON object"),
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


@pytest.mark.parametrize("style", ["trl", "swift"])
def test_the_rate_of_a_folder_of_frames_is_not_lost_without_a_word(tmp_path: Path, style: Any) -> None:
    record = {"id": "f", "task": "captioning", "video": {"path": "frames", "fps": 3}, "caption": "c"}
    with pytest.raises(SampleError, match="f: asks about frames at a certain fps"):
        write_message(parse_line(json.dumps(record), "x", tmp_path), style)


@pytest.mark.parametrize("style", ["trl", "swift"])
def test_what_goes_out_finds_its_video_from_anywhere(
    tmp_path: Path, style: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = {"id": "f", "task": "captioning", "video": "clips/v.mp4", "caption": "c"}
    message = write_message(parse_line(json.dumps(record), "x", Path("proj")), style)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/m.jsonl").write_text(json.dumps(message))
    (back,) = read_messages(tmp_path / "other/m.jsonl")
    assert isinstance(back, Sample)
    assert str(back.video.path) == message["videos"][0] == str(tmp_path / "proj/clips/v.mp4")


@pytest.mark.slow
def test_trl_and_the_processor_take_what_goes_out(full_world: Path) -> None:
    from datasets import Dataset
    from trl import is_conversational

    from timesight.model.load import load_policy

    rows = [write_message(sample, "trl") for sample in read_jsonl(full_world / "train.jsonl")]
    dataset = Dataset.from_list(rows)
    assert all(is_conversational(row) for row in dataset)
    processor = load_policy("tiny").processor
    text = processor.apply_chat_template(rows[0]["messages"], tokenize=False)
    assert "<|video_pad|>" in text
    assert rows[0]["messages"][1]["content"][0]["text"] in text


def test_files_of_other_kinds_are_told(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps([llava("When?", "2 to 3")]), encoding="utf-8-sig")
    assert len(list(read_messages(tmp_path / "b.json"))) == 1
    (tmp_path / "m.json").write_text("[{]")
    with pytest.raises(SampleError, match=r"m\.json: is not JSON"):
        list(read_messages(tmp_path / "m.json"))
    with pytest.raises(SampleError, match="no such file"):
        list(read_messages(tmp_path / "none.json"))
    (tmp_path / "l.jsonl").write_text("{\n")
    (told,) = read_messages(tmp_path / "l.jsonl")
    assert "line 1: is not JSON" in str(told)
