from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from timesight.evaluation import Replies, score_replies
from timesight.tasks import TASKS, Graded
from timesight.tasks.aggregate import metrics_of
from timesight.tasks.captioning import CaptioningSample

TASK = TASKS["captioning"]
DOWN = "down"


class Words:
    """An event is said when all its words are in the caption; a caption that says "down" cannot be judged."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        self.asked += captions
        return [None if DOWN in c else tuple(e.strip() for e in c.split(".") if e.strip()) for c in captions]

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[tuple[bool, ...] | None]:
        return [
            None
            if DOWN in c
            else tuple(set(event.lower().split()) <= set(c.lower().replace(".", " ").split()) for event in mine)
            for c, mine in zip(captions, events, strict=True)
        ]


def sample(caption: str = "Cats eat. Dogs run", **rest: Any) -> CaptioningSample:
    record = {"id": "x", "task": "captioning", "video": "v.mp4", "caption": caption}
    return CaptioningSample.model_validate(record | rest)


def test_recall_is_the_share_of_reference_events_that_are_told() -> None:
    assert TASK.reward("<answer>dogs run fast</answer>", sample(), judge=Words()) == {
        "format": 1.0,
        "event_recall": 0.5,
    }


def test_f1_pays_for_precision_too() -> None:
    task = TASKS["captioning"].with_reward("event_f1")  # type: ignore[attr-defined]
    assert task.component_names == ("format", "event_f1")

    def f1(caption: str) -> float | None:
        rewards: dict[str, float | None] = task.reward(f"<answer>{caption}</answer>", sample(), judge=Words())
        return rewards["event_f1"]

    assert f1("Cats eat. Dogs run") == 1
    assert f1("Cats eat") == pytest.approx(2 / 3)  # precision 1, recall 1/2
    assert f1("Cats eat. Dogs run. Birds sing. Fish swim") == pytest.approx(2 / 3)  # precision 1/2, recall 1
    assert f1("Birds sing") == 0
    assert f1("all is down") is None
    assert TASKS["captioning"].component_names == ("format", "event_recall")


def test_without_a_judge_or_with_one_that_is_down_nothing_is_zero() -> None:
    unknown = {"format": 1.0, "event_recall": None}
    assert TASK.reward("<answer>dogs run</answer>", sample()) == unknown
    assert TASK.reward("<answer>dogs are down</answer>", sample(), judge=Words()) == unknown


def test_a_reply_that_does_not_parse_is_zero_and_no_judge_is_asked() -> None:
    judge = Words()
    assert TASK.reward("dogs run", sample(), judge=judge) == {"format": 0.0, "event_recall": 0.0}
    assert judge.asked == []


def test_reference_events_are_extracted_once_for_a_group() -> None:
    judge = Words()
    TASK.rewards(["<answer>cats eat</answer>"] * 8, [sample()] * 8, judge=judge)
    assert judge.asked == ["cats eat. dogs run"]
    judge = Words()
    TASK.rewards(["<answer>cats eat</answer>"], [sample(events=["cats eat"])], judge=judge)
    assert judge.asked == []


def test_metrics_are_means_over_subsets() -> None:
    one, two = {"subset": "one"}, {"subset": "two"}
    graded = [
        Graded(sample(meta=one), "", "cats eat. birds sing"),  # recall 1/2, precision 1/2
        Graded(sample(meta=one), "?", None),  # 0 and 0
        Graded(sample(meta=two), "", "Cats eat. Dogs run"),  # 1 and 1
        Graded(sample(meta=two), "", "all is down"),  # not judged: left out
    ]
    figures = metrics_of(TASK, graded, judge=Words())
    assert figures == {"event_recall": 0.625, "event_precision": 0.625, "event_f1": pytest.approx(0.625)}
    assert TASK.item_metrics(graded, "official", Words())[3] is None


def test_an_empty_list_of_events_scores_one() -> None:
    assert TASK.reward("<answer>x</answer>", sample(events=[]), judge=Words())["event_recall"] == 1.0


class Silent(Words):
    """Finds no event in a caption that says "nice", and affirms whatever it is asked."""

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        return [() if "nice" in c else mine for c, mine in zip(captions, super().events(captions), strict=True)]

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[tuple[bool, ...] | None]:
        return [(True,) * len(mine) for mine in events]


def test_a_caption_that_tells_no_event_stays_in_the_mean() -> None:
    """Saying nothing has recall 0 and precision 1; left out, it would raise the F1 of the rest."""
    graded = [
        Graded(sample(id="told"), "<answer>cats eat</answer>", "cats eat"),
        Graded(sample(id="silent"), "<answer>how nice</answer>", "how nice"),
    ]
    assert TASK.item_metrics(graded, "official", Silent()) == [
        {"event_recall": 1.0, "event_precision": 1.0},
        {"event_recall": 0.0, "event_precision": 1.0},
    ]


def test_a_reference_without_events_is_recalled_but_rewards_nothing() -> None:
    reference = sample("A nice view")
    graded = [Graded(reference, "<answer>cats eat</answer>", "cats eat")]
    (row,) = TASK.item_metrics(graded, "official", Silent())
    assert row is not None
    assert row["event_recall"] == 1.0
    assert TASK.reward("<answer>cats eat</answer>", reference, judge=Silent())["event_recall"] is None


def test_an_interval_is_of_the_same_mean_as_its_metric() -> None:
    subsets = ["one"] * 9 + ["two"]
    samples = [
        sample(id=f"{n}", video=f"{n}.mp4", meta={"subset": subset, "duration_s": 1.0})
        for n, subset in enumerate(subsets)
    ]
    replies = {s.id: "cats eat. dogs run" for s in samples[:9]} | {"9": "birds sing"}
    figures = score_replies("d", samples, Replies(replies, {}), False, Words()).results["official"]
    assert figures.metrics["event_recall"] == pytest.approx(0.5)
    low, high = figures.intervals["event_recall"]
    assert low <= 0.5 <= high


@pytest.mark.parametrize("caption", ["", "...", "<answer>a dog</answer>", "x" * 9000])
def test_a_reference_that_no_reply_could_repeat_is_a_problem(caption: str) -> None:
    assert TASK.problems(sample(caption)) == ["no usable caption"]
    assert TASK.reward("<answer>a dog</answer>", sample(caption), judge=Words())["event_recall"] is None


def test_a_judge_that_raises_leaves_it_unscored() -> None:
    class Broken(Words):
        def entailed(
            self, captions: Sequence[str], events: Sequence[Sequence[str]]
        ) -> list[tuple[bool, ...] | None]:
            raise ConnectionError("gone")

    assert TASK.reward("<answer>dogs run</answer>", sample(), judge=Broken())["event_recall"] is None


def test_half_a_surrogate_pair_is_no_crash() -> None:
    assert TASK.reward("<answer>dogs run \ud800</answer>", sample(), judge=Words())["event_recall"] == 0.5


def test_a_judge_that_answers_too_little_is_not_believed() -> None:
    class Short(Words):
        def entailed(
            self, captions: Sequence[str], events: Sequence[Sequence[str]]
        ) -> list[tuple[bool, ...] | None]:
            return [(True,) for _ in captions]

    assert TASK.reward("<answer>dogs run</answer>", sample(), judge=Short())["event_recall"] is None
