from __future__ import annotations

from pathlib import Path

import pytest

import timesight
from timesight.data import read_jsonl


def test_ask_gives_text_answer_and_evidence(world: Path) -> None:
    sample = read_jsonl(world / "test.jsonl")[0]
    question = timesight.Question(sample.query, "temporal_grounding")  # type: ignore[attr-defined]
    reply = timesight.ask(timesight.load_policy(), sample.video.path, question)
    assert reply.text.startswith("<answer>")
    assert reply.spans == (reply.answer,)
    (seen,) = reply.passes
    assert seen.num_frames >= 4
    assert seen.prompt_tokens > 20


def test_ask_in_think_mode_lists_what_is_seen(world: Path) -> None:
    sample = read_jsonl(world / "test.jsonl")[0]
    reply = timesight.ask(timesight.load_policy(), sample.video, sample.query, think=True)  # type: ignore[attr-defined]
    assert reply.text.startswith("<think>0 ")


def test_ask_names_what_is_wrong(tmp_path: Path) -> None:
    policy = timesight.load_policy()
    with pytest.raises(timesight.VideoError, match="no such file"):
        timesight.ask(policy, tmp_path / "no.mp4", "a door opens")
