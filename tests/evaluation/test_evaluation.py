from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from timesight.data import read_jsonl
from timesight.errors import InputError
from timesight.evaluation import (
    EvalSettings,
    Replies,
    collect_replies,
    joined_json,
    read_replies,
    score_replies,
    score_tasks,
)
from timesight.policy.load import load_policy
from timesight.policy.policy import Policy
from timesight.tasks import TASKS
from timesight.types import Sample
from timesight.world import WorldJudge

TASK = TASKS["temporal_grounding"]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


@pytest.fixture
def samples(world: Path) -> list[Sample]:
    return read_jsonl(world / "test.jsonl")


def settings(policy: Policy, batch_size: int = 8) -> EvalSettings:
    return EvalSettings(policy.default_budget, batch_size=batch_size, max_new_tokens=16)


def test_gold_replies_score_one(samples: list[Sample]) -> None:
    result = score_replies("w", samples, Replies({s.id: TASK.gold(s) for s in samples}, {}), think=False)
    figures = result.results["official"]
    assert set(figures.metrics) == {"mIoU", "R1@0.3", "R1@0.5", "R1@0.7"}
    assert all(value == 1.0 for value in figures.metrics.values())
    assert result.num_unparsable == 0
    assert {"whole video", "best constant span"} <= set(figures.baselines)


def test_unparsable_and_missing_replies_are_wrong_and_counted(samples: list[Sample]) -> None:
    replies = {s.id: TASK.gold(s) for s in samples}
    replies[samples[0].id] = "dunno"
    del replies[samples[1].id]
    result = score_replies("w", samples, Replies(replies, {}), think=False)
    assert result.num_unparsable == 2
    assert result.num_items == len(samples)
    assert result.results["official"].metrics["mIoU"] == pytest.approx(1 - 2 / len(samples))


def test_items_without_a_readable_video_are_no_items_but_named(samples: list[Sample]) -> None:
    replies = {s.id: TASK.gold(s) for s in samples[1:]}
    result = score_replies("w", samples, Replies(replies, {samples[0].id: "v.mp4: no such file"}), think=False)
    assert result.num_items == len(samples) - 1
    assert result.to_json()["quarantined"] == {samples[0].id: "v.mp4: no such file"}
    assert result.results["official"].metrics["mIoU"] == 1.0


def test_intervals_hold_the_mean_and_baselines_know_no_pixels(samples: list[Sample]) -> None:
    replies = Replies({s.id: "<answer>0 to 2</answer>" for s in samples}, {})
    figures = score_replies("w", samples, replies, think=False).results["official"]
    low, high = figures.intervals["mIoU"]
    assert low <= figures.metrics["mIoU"] <= high
    assert figures.baselines["best constant span"]["mIoU"] >= figures.baselines["whole video"]["mIoU"]


def test_replies_are_kept_and_an_evaluation_goes_on(policy: Policy, samples: list[Sample], tmp_path: Path) -> None:
    whole = collect_replies(policy, samples, settings(policy), tmp_path / "whole.jsonl").replies
    assert list(whole) == [s.id for s in samples]

    lines = (tmp_path / "whole.jsonl").read_text().splitlines()
    part = tmp_path / "part.jsonl"
    part.write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])  # killed while writing a line
    done: list[int] = []
    resumed = collect_replies(policy, samples, settings(policy), part, done.append).replies
    assert done[0] == 5
    assert sum(done) == len(samples)
    assert resumed == whole
    assert read_replies(part) == whole


def test_batch_size_does_not_change_greedy_replies(samples: list[Sample], tmp_path: Path) -> None:
    exact = load_policy(dtype="float32")
    one = collect_replies(exact, samples[:9], settings(exact, 1), tmp_path / "1.jsonl").replies
    nine = collect_replies(exact, samples[:9], settings(exact, 9), tmp_path / "9.jsonl").replies
    assert one == nine


def test_a_broken_video_does_not_stop_the_others(policy: Policy, samples: list[Sample], tmp_path: Path) -> None:
    gone = samples[0].model_copy(
        update={"video": samples[0].video.model_copy(update={"path": tmp_path / "no.mp4"})}
    )
    replies = collect_replies(policy, [gone, *samples[1:4]], settings(policy), tmp_path / "r.jsonl")
    assert replies.quarantined == {gone.id: f"{tmp_path / 'no.mp4'}: no such file"}
    assert len(replies.replies) == 3


def test_the_result_is_plain_json(samples: list[Sample]) -> None:
    result = score_replies("w", samples, Replies({}, {}), think=True)
    content = json.loads(json.dumps(result.to_json()))
    assert content["suite"] == "w"
    assert len(content["results"]["official"]["intervals"]["mIoU"]) == 2


def test_several_tasks_are_scored_side_by_side_with_their_protocols(full_world: Path) -> None:
    items = read_jsonl(full_world / "test.jsonl")
    gold = Replies({s.id: TASKS[s.task].gold(s) for s in items}, {})
    results = score_tasks("all", items, gold, think=False, judge=WorldJudge())
    assert set(results) == set(TASKS)
    content = joined_json(results)
    assert (content["num_items"], content["num_unparsable"], content["num_unscored"]) == (len(items), 0, 0)
    assert set(content["results"]) == {"official", "official_on_n_frames", "paper"}
    figures = content["results"]["official"]["metrics"]
    assert {"temporal_grounding/mIoU", "grounded_qa/Acc@GQA", "captioning/event_f1"} <= set(figures)
    assert all(v == pytest.approx(1.0) for r in content["results"].values() for v in r["metrics"].values())
    tracking = content["results"]["official_on_n_frames"]["baselines"]["repeat the given box"]
    assert tracking["object_tracking/AO"] < 1.0


def test_what_the_judge_cannot_score_is_counted_and_left_out(full_world: Path) -> None:
    class Down:
        def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
            return [None] * len(captions)

        def entailed(
            self, captions: Sequence[str], events: Sequence[Sequence[str]]
        ) -> list[tuple[bool, ...] | None]:
            return [None] * len(captions)

    items = [s for s in read_jsonl(full_world / "test.jsonl") if s.task == "captioning"]
    gold = Replies({s.id: TASKS[s.task].gold(s) for s in items[1:]} | {items[0].id: "?"}, {})
    result = score_replies("captions", items, gold, think=False, judge=Down())
    assert result.num_unscored == len(items) - 1
    assert result.num_unparsable == 1
    assert result.results["official"].metrics["event_recall"] == 0.0


def test_captions_need_a_judge(full_world: Path) -> None:
    items = read_jsonl(full_world / "test.jsonl")
    with pytest.raises(InputError, match="captioning is scored by a judge"):
        score_tasks("all", items, Replies({}, {}), think=False)
