"""From replies to figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from timesight.artifacts import line_of
from timesight.cli.eval_show import footnotes
from timesight.data import read_jsonl
from timesight.errors import InputError
from timesight.evaluation import Replies, Scoring, joined_json, score, score_replies, score_tasks
from timesight.tasks import TASKS
from timesight.types import Sample, Video
from timesight.video import probe
from timesight.world import WorldJudge

TASK = TASKS["temporal_grounding"]


@pytest.fixture
def samples(world: Path) -> list[Sample]:
    return read_jsonl(world / "test.jsonl")


def question(number: int, answer: int, kind: str, tags: Sequence[str] = (), num_options: int = 4) -> Sample:
    return TASKS["multiple_choice"].Sample.model_validate(
        {
            "id": f"q{number}",
            "task": "multiple_choice",
            "video": f"v{number // 2}.mp4",
            "question": "?",
            "options": [f"option {n}" for n in range(num_options)],
            "answer": answer,
            "meta": {"kind": kind, "tags": list(tags), "duration_s": 4.0},
        }
    )


def test_gold_replies_score_one(samples: list[Sample]) -> None:
    result = score_replies("w", samples, Replies({s.id: TASK.gold(s) for s in samples}), think=False)
    figures = result.results["official"]
    assert set(figures.metrics) == {"mIoU", "R1@0.3", "R1@0.5", "R1@0.7"}
    assert all(value == 1.0 for value in figures.metrics.values())
    assert result.num_unparsable == 0
    assert {"whole video", "best constant span"} <= set(figures.baselines)


def test_strict_scoring_takes_replies_in_the_asked_form_only(samples: list[Sample]) -> None:
    replies = Replies({s.id: ("Well: " if n else "") + TASK.gold(s) for n, s in enumerate(samples)})
    read = score_replies("w", samples, replies, think=False)
    strict = score_replies("w", samples, replies, think=False, scoring=Scoring(strict=True))
    assert read.results["official"].metrics["mIoU"] == 1.0
    assert strict.results["official"].metrics["mIoU"] == pytest.approx(1 / len(samples))
    assert strict.num_unparsable == len(samples) - 1


@pytest.mark.parametrize("num_videos", [8, 29, 30])
def test_intervals_over_few_videos_say_so(num_videos: int) -> None:
    samples = [
        TASK.Sample.model_validate(
            {
                "task": TASK.name,
                "id": str(n),
                "video": f"v{n % num_videos}.mp4",
                "query": "a",
                "spans": [(1, 2)],
                "meta": {"duration_s": 4.0, "kind": "ab"[n % 2]},
            }
        )
        for n in range(60)
    ]
    replies = Replies({s.id: "<answer>1.5 to 3.0</answer>" for s in samples[::3]})
    result = score_replies("w", samples, replies, think=False, scoring=Scoring(by=("kind",)))
    content = joined_json({"temporal_grounding": result})["results"]["official"]
    few = num_videos < 30
    assert content["few_videos"] == (dict.fromkeys(content["intervals"], num_videos) if few else {})
    both = joined_json({"temporal_grounding": result, "other": result})["results"]["official"]
    assert both["few_videos"].get("other/mIoU") == (num_videos if few else None)
    assert any("fewer than 30 videos are rough; " in line for line in footnotes(result)) == few
    parts = content["breakdowns"]["kind"].values()
    assert [part["num_videos"] for part in parts] == [
        len({n % num_videos for n in range(k, 60, 2)}) for k in (0, 1)
    ]
    assert all(0 <= low <= high <= 1 for low, high in content["intervals"].values())


def test_unparsable_and_missing_replies_are_wrong_and_counted(samples: list[Sample]) -> None:
    replies = {s.id: TASK.gold(s) for s in samples}
    replies[samples[0].id] = "dunno"
    del replies[samples[1].id]
    result = score_replies("w", samples, Replies(replies), think=False)
    assert result.num_unparsable == 2
    assert result.num_items == len(samples)
    assert result.results["official"].metrics["mIoU"] == pytest.approx(1 - 2 / len(samples))


def test_items_to_which_no_reply_could_be_had_are_no_items_but_named(samples: list[Sample]) -> None:
    replies = {s.id: TASK.gold(s) for s in samples[1:]}
    missing = {samples[0].id: "v.mp4: no such file", "of another suite": "?"}
    result = score_replies("w", samples, Replies(replies, missing), think=False)
    assert result.num_items == len(samples) - 1
    assert result.to_json()["quarantined"] == {samples[0].id: "v.mp4: no such file"}
    assert result.results["official"].metrics["mIoU"] == 1.0


def test_intervals_hold_the_mean_and_baselines_know_no_pixels(samples: list[Sample]) -> None:
    replies = Replies({s.id: "<answer>0 to 2</answer>" for s in samples})
    figures = score_replies("w", samples, replies, think=False).results["official"]
    low, high = figures.intervals["mIoU"]
    assert low <= figures.metrics["mIoU"] <= high
    assert figures.baselines["best constant span"]["mIoU"] >= figures.baselines["whole video"]["mIoU"]


@pytest.mark.parametrize("stated", [None, "1:05", -1.0, 1e12])
def test_a_duration_that_is_no_number_is_not_believed(samples: list[Sample], stated: object) -> None:
    odd = [sample.model_copy(update={"meta": sample.meta | {"duration_s": stated}}) for sample in samples]
    replies = Replies({s.id: TASK.gold(s) for s in odd})
    figures = score_replies("s", odd, replies, think=False).results["official"]
    assert figures.metrics["mIoU"] == 1


def test_a_file_is_probed_once(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no duration is stated; a file without an index is read to its end for it."""
    probed: list[Video] = []
    monkeypatch.setattr(score, "probe", lambda video: probed.append(video) or probe(video))
    silent = [sample.model_copy(update={"meta": {}}) for sample in samples]
    score_replies("w", silent, Replies({}), think=False)
    assert len(probed) == len(set(probed)) == len({sample.video for sample in samples}) < len(samples)


def test_breakdowns_split_the_items_and_values_may_share_one() -> None:
    items = [
        question(0, 0, "a", ["x"]),
        question(1, 1, "a", ["x", "y"]),
        question(2, 2, "b", ["y"]),
        question(3, 3, "b", ["y"]),
    ]
    replies = Replies({"q0": "A", "q1": "A", "q2": "C", "q3": "D"})
    scoring = Scoring(by=("kind", "tags"))
    result = score_replies("s", items, replies, think=False, scoring=scoring).results["official"]
    assert result.metrics == {"accuracy": 0.75}
    parts = {(key, value): p for key, values in result.breakdowns.items() for value, p in values.items()}
    assert {at: (part.num_items, part.metrics["accuracy"]) for at, part in parts.items()} == {
        ("kind", "a"): (2, 0.5),
        ("kind", "b"): (2, 1.0),
        ("tags", "x"): (2, 0.5),
        ("tags", "y"): (3, pytest.approx(2 / 3)),
    }


def test_kinds_can_count_alike_in_the_mean_its_interval_and_the_baselines() -> None:
    items = [question(n, 0, "few" if n < 2 else "many") for n in range(10)]
    replies = Replies({item.id: "A" if n < 2 else "B" for n, item in enumerate(items)})
    plain, alike = (
        score_replies("s", items, replies, think=False, scoring=Scoring(by=("kind",), average_over=over))
        for over in (None, "kind")
    )
    assert plain.results["official"].metrics["accuracy"] == pytest.approx(0.2)
    assert alike.results["official"].metrics["accuracy"] == pytest.approx(0.5)
    low, high = alike.results["official"].intervals["accuracy"]
    assert low < 0.5 < high


def test_guessing_has_its_exact_expectation() -> None:
    items = [question(n, 0, "k", num_options=1 + n) for n in range(4)]  # one, two, three, four options
    baselines = score_replies("s", items, Replies({}), think=False).results["official"].baselines
    assert baselines["random"]["accuracy"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_guessing_in_grounded_answers_gets_the_evidence_of_the_whole_video() -> None:
    sample = TASKS["grounded_qa"].Sample.model_validate(
        {
            "id": "g",
            "task": "grounded_qa",
            "video": "v.mp4",
            "question": "?",
            "options": ["a", "b", "c", "d", "e"],
            "answer": 2,
            "spans": [[0.0, 6.0]],
            "meta": {"duration_s": 10.0},
        }
    )
    result = score_replies("s", [sample], Replies({}), think=False).results
    assert result["official"].baselines["random + whole video"]["Acc@QA"] == pytest.approx(0.2)
    assert result["official"].baselines["random + whole video"]["Acc@GQA"] == pytest.approx(0.2)
    assert result["paper"].baselines["random + whole video"] == {
        "mIoU": pytest.approx(0.6),
        "accuracy": pytest.approx(0.2),
    }


def test_a_protocol_can_be_chosen_and_another_is_refused(full_world: Path) -> None:
    items = [s for s in read_jsonl(full_world / "test.jsonl") if s.task == "grounded_qa"]
    gold = Replies({s.id: TASKS[s.task].gold(s) for s in items})
    result = score_replies("s", items, gold, think=False, scoring=Scoring(("paper",)))
    assert list(result.results) == ["paper"]
    with pytest.raises(InputError, match="grounded_qa has no protocol mine: choose one of official, paper"):
        score_replies("s", items, gold, think=False, scoring=Scoring(("mine",)))
    tracks = [s for s in read_jsonl(full_world / "test.jsonl") if s.task == "object_tracking"]
    with pytest.raises(InputError, match="choose one of official_on_n_frames, paper"):
        score_replies("s", tracks, Replies({}), think=False, scoring=Scoring(("official",)))


def test_the_result_is_plain_json(samples: list[Sample]) -> None:
    result = score_replies("w", samples, Replies({}), think=True)
    content = json.loads(json.dumps(result.to_json()))
    assert content["suite"] == "w"
    assert len(content["results"]["official"]["intervals"]["mIoU"]) == 2
    item = json.loads(line_of(result.items[0]))
    assert item["spans"]["truth"] == [list(span) for span in getattr(samples[0], "spans", ())]
    assert item["metrics"]["official"]["mIoU"] == 0.0


def test_several_tasks_are_scored_side_by_side_with_their_protocols(full_world: Path) -> None:
    items = read_jsonl(full_world / "test.jsonl")
    gold = Replies({s.id: TASKS[s.task].gold(s) for s in items})
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


class Counts:
    """Finds as many events as its turn says, so that recall and precision differ between captions."""

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        return [tuple("abcd") for _ in captions]

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[Any]:
        return [tuple(k <= n % 4 for k in range(len(mine))) for n, mine in enumerate(events)]


def caption(number: int, subset: str) -> Sample:
    fields = {"id": f"c{number}", "task": "captioning", "video": f"v{number}.mp4", "caption": "A man runs."}
    return TASKS["captioning"].Sample.model_validate(fields | {"meta": {"subset": subset, "duration_s": 4.0}})


def test_the_f1_of_captions_has_an_interval_and_their_subsets_weigh_alike() -> None:
    items = [caption(n, "few" if n < 4 else "many") for n in range(20)]
    replies = Replies({item.id: "A man runs and falls." for item in items})
    result = score_replies("d", items, replies, False, Counts(), Scoring(by=("subset",)))
    figures = result.results["official"]
    assert list(figures.intervals) == list(figures.metrics) == ["event_recall", "event_precision", "event_f1"]
    low, high = figures.intervals["event_f1"]
    assert low < figures.metrics["event_f1"] < high
    assert all("event_f1" in part.intervals for part in figures.breakdowns["subset"].values())
    assert [item.weights["official"] for item in result.items] == [1 / 4] * 4 + [1 / 16] * 16


def test_what_an_item_counts_is_kept_with_it_and_0_where_it_is_not_scored() -> None:
    items = [question(n, 0, "few" if n < 2 else "many") for n in range(6)]
    result = score_replies("s", items, Replies({}), False, scoring=Scoring(average_over="kind"))
    assert [item.weights["official"] for item in result.items] == [1 / 2] * 2 + [1 / 4] * 4
    captions = [caption(n, "all") for n in range(2)]
    unscored = score_replies("d", captions, Replies({"c0": "A man."}), False, Down())
    assert [item.weights["official"] for item in unscored.items] == [0.0, 1.0]


def test_question_and_truth_tell_items_apart_and_the_place_of_their_video_does_not() -> None:
    first = question(0, 0, "k")
    moved = first.model_copy(update={"video": first.video.model_copy(update={"path": Path("elsewhere.mp4")})})
    other = first.model_copy(update={"answer": 1})
    kept = [score_replies("s", [one], Replies({}), False).items[0].data for one in (first, moved, other)]
    assert kept[0] == kept[1] != kept[2]


class Down:
    """A judge that is out of reach."""

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        return [None] * len(captions)

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[Any]:
        return [None] * len(captions)


def test_what_the_judge_cannot_score_is_counted_and_left_out(full_world: Path) -> None:
    items = [s for s in read_jsonl(full_world / "test.jsonl") if s.task == "captioning"]
    gold = Replies({s.id: TASKS[s.task].gold(s) for s in items[1:]} | {items[0].id: "?"})
    result = score_replies("captions", items, gold, think=False, judge=Down())
    assert result.num_unscored == len(items) - 1
    assert result.num_unparsable == 1
    assert result.results["official"].metrics["event_recall"] == 0.0


def test_captions_need_a_judge(full_world: Path) -> None:
    items = read_jsonl(full_world / "test.jsonl")
    with pytest.raises(InputError, match="captioning is scored by a judge"):
        score_tasks("all", items, Replies({}), think=False)
