"""What holds for every task, in both modes, on the synthetic world and on real records."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesight.bench.rewards import fuzz
from timesight.data import read
from timesight.errors import InputError
from timesight.tasks import TASKS, Graded
from timesight.tasks.aggregate import metrics_of
from timesight.types import Sample, TextPart, Video, VideoPart
from timesight.world import QUESTIONS, WorldJudge, unseen_samples

SAMPLES = unseen_samples(40)
BY_TASK = {name: [sample for sample in SAMPLES if sample.task == name] for name in TASKS}
MODES = pytest.mark.parametrize("think", [False, True])
EACH = pytest.mark.parametrize("name", list(TASKS))
SOURCES = [
    ("charades_sta", "train", 120),
    ("charades_sta", "test", 120),
    ("activitynet_captions", "val", 215),
    ("nextgqa", "val", 150),
    ("vidtab_quality", "train", 60),
    ("vidtab_quality", "test", 60),
    ("dream1k", "test", 17),
    ("videochat_r1", "train", 321),
]


class Oracle:
    """Knows the reference's own events, as DREAM-1K's authors do."""

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        return [(caption,) for caption in captions]

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[tuple[bool, ...] | None]:
        return [(True,) * len(mine) for mine in events]


def rewards(sample: Sample, reply: str, think: bool) -> dict[str, float | None]:
    return TASKS[sample.task].reward(reply, sample, think, WorldJudge())


def test_the_world_asks_for_every_task() -> None:
    assert list(QUESTIONS) == list(TASKS)
    assert all(len(samples) >= 10 for samples in BY_TASK.values())


@EACH
@MODES
def test_gold_earns_everything_in_the_made_world(name: str, think: bool) -> None:
    task = TASKS[name]
    for sample in BY_TASK[name]:
        parts = rewards(sample, task.gold(sample, think), think)
        assert parts == dict.fromkeys(("format", *task.components), 1.0)


@MODES
@pytest.mark.parametrize(("source", "split", "usable"), SOURCES)
def test_gold_earns_everything_on_real_records(
    samples_dir: Path, source: str, split: str, usable: int, think: bool
) -> None:
    samples = [s for s in read(source, samples_dir / "annotations" / source, split=split) if not s.problems]
    assert len(samples) == usable
    for sample in samples:
        task = TASKS[sample.task]
        parts = task.reward(task.gold(sample, think), sample, think, Oracle())
        assert parts == dict.fromkeys(("format", *task.components), 1.0), sample.id


@EACH
@MODES
@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "no idea",
        "<answer></answer>",
        "<answer> \n </answer>",
        "<answer>[]</answer><glue>[]</glue>",
        "<answer>...</answer>",
        "<answer>" * 500,
        "<think></think><answer></answer>",
    ],
)
def test_garbage_earns_nothing(name: str, think: bool, garbage: str) -> None:
    for sample in BY_TASK[name][:5]:
        assert rewards(sample, garbage, think) == dict.fromkeys(("format", *TASKS[name].components), 0.0)


@EACH
@MODES
def test_a_gold_reply_in_any_other_shape_earns_nothing(name: str, think: bool) -> None:
    task = TASKS[name]
    sample = BY_TASK[name][0]
    gold = task.gold(sample, think)
    answer = task.gold(sample)
    others = [
        gold + gold,
        gold + answer,
        f"Sure! {gold}",
        f"{gold} I hope this helps.",
        gold.replace("answer>", "Answer>"),
        gold.replace("<answer>", "<answer><answer>").replace("</answer>", "</answer></answer>"),
        gold.replace("</answer>", ""),
        f"<think>{gold}</think>" if think else f"<think>I see.</think>{gold}",
        task.gold(sample, not think),
        f"```{gold}```",
        f"<answer>{gold}</answer>",
        f"<extra>{gold}</extra>",
    ]
    for other in others:
        assert rewards(sample, other, think) == dict.fromkeys(("format", *task.components), 0.0), other


@EACH
@pytest.mark.parametrize("thought", ["", "  ", "\u200b", "<answer>1</answer>", "</think>", "x" * 30_000])
def test_a_thought_that_cannot_stand_in_a_reply_is_replaced(name: str, thought: str) -> None:
    sample = BY_TASK[name][0].model_copy(update={"meta": {"thought": thought}})
    assert set(rewards(sample, TASKS[name].gold(sample, think=True), True).values()) == {1.0}


@EACH
def test_a_sample_without_usable_truth_has_no_gold_and_no_reward(name: str) -> None:
    task = TASKS[name]
    odd = BY_TASK[name][0].model_copy(update={"problems": ("broken",)})
    with pytest.raises(InputError, match="has no gold reply: broken"):
        task.gold(odd)
    assert rewards(odd, task.gold(BY_TASK[name][0]), False) == dict.fromkeys(task.component_names)


@EACH
@pytest.mark.parametrize("duration_s", [math.nan, math.inf, -1.0, None])
def test_baselines_without_a_usable_duration_are_left_out(name: str, duration_s: float | None) -> None:
    samples = BY_TASK[name][:3]
    for answers in TASKS[name].baselines(samples, [duration_s] * 3).values():
        assert len(answers) == 3


@EACH
def test_an_unknown_protocol_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="has no protocol papre: choose one of"):
        metrics_of(TASKS[name], [], "papre")


@EACH
def test_lenient_rewards_pay_for_the_answer_alone(name: str) -> None:
    sample = BY_TASK[name][0]
    chatty = f"Here you are: {TASKS[name].gold(sample)}"
    assert set(rewards(sample, chatty, think=False).values()) <= {0.0, None}
    earned = TASKS[name].with_reward_parsing("lenient").reward(chatty, sample, judge=WorldJudge())
    assert earned == {**rewards(sample, TASKS[name].gold(sample), think=False), "format": 0.0}


@EACH
def test_an_unknown_way_of_parsing_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="strict or lenient"):
        TASKS[name].with_reward_parsing("loose")


@EACH
def test_two_answers_are_unparsable_everywhere(name: str) -> None:
    sample = BY_TASK[name][0]
    twice = TASKS[name].gold(sample) * 2
    for think in (False, True):
        for strict in (False, True):
            assert TASKS[name].parse(twice, think, strict, sample) is None


@EACH
def test_an_answer_in_a_thought_is_no_answer(name: str) -> None:
    sample = BY_TASK[name][0]
    assert TASKS[name].parse(f"<think>{TASKS[name].gold(sample)}</think>", strict=False, sample=sample) is None


@EACH
@MODES
def test_hostile_replies_are_scored_within_bounds_and_always_the_same(name: str, think: bool) -> None:
    task, samples = TASKS[name], BY_TASK[name]
    golds = [task.gold(sample, think) for sample in samples]
    for number, reply in zip(range(1500), fuzz(golds, random.Random(7)), strict=False):
        sample = samples[number % len(samples)]
        parts = rewards(sample, reply, think)
        assert set(parts) == {"format", *task.components}
        assert all(isinstance(v, float) and 0.0 <= v <= 1.0 for v in parts.values()), (reply, parts)
        assert parts == rewards(sample, reply, think)
        if parts["format"] == 0.0:
            assert set(parts.values()) == {0.0}


@EACH
@given(st.text(st.characters(), max_size=200))
def test_any_text_is_scored(name: str, text: str) -> None:
    sample = BY_TASK[name][0]
    for reply in (text, f"<answer>{text}</answer>", f"<answer>A</answer><glue>{text}</glue>"):
        values = rewards(sample, reply, False).values()
        assert all(value is not None and math.isfinite(value) for value in values)
        TASKS[name].parse(reply, strict=False, sample=sample)


@EACH
@MODES
def test_the_prompt_asks_for_the_tags_that_are_rewarded_video_first(name: str, think: bool) -> None:
    task, sample = TASKS[name], BY_TASK[name][0]
    video, text = task.prompt(sample, think)
    assert isinstance(video, VideoPart)
    assert isinstance(text, TextPart)
    assert all(f"<{tag.name}>" in text.text for tag in task.form.asked(think))


@EACH
def test_what_is_written_is_read_back(name: str) -> None:
    task = TASKS[name]
    for sample in BY_TASK[name]:
        truth = task.truth(sample)
        assert task.parse(task.render(truth), sample=sample) == truth
        assert task.parse(task.render(truth), strict=False, sample=sample) == truth


@EACH
def test_gold_is_perfect_by_every_protocol_and_better_than_any_blind_answer(name: str) -> None:
    task, samples = TASKS[name], BY_TASK[name]
    durations = [float(sample.meta["duration_s"]) for sample in samples]
    for protocol in (*task.metric_protocols, "official", "paper"):
        perfect = metrics_of(task, [Graded(s, "", task.truth(s)) for s in samples], protocol, WorldJudge())
        assert perfect
        assert all(value == pytest.approx(1.0) for value in perfect.values()), protocol
        nothing = metrics_of(task, [Graded(s, "", None) for s in samples], protocol, WorldJudge())
        assert set(nothing.values()) == {0.0}
        for answers in task.baselines(samples, durations).values():
            blind = metrics_of(task, [Graded(s, "", a) for s, a in zip(samples, answers, strict=True)], protocol)
            assert all(0.0 <= value <= 1.0 for value in blind.values())
            assert sum(blind.values()) < sum(perfect.values())


def test_rewards_of_many_are_the_rewards_of_each() -> None:
    for name, task in TASKS.items():
        samples = BY_TASK[name][:6]
        replies = [task.gold(samples[0]) for _ in samples]
        together = task.rewards(replies, samples, False, WorldJudge())
        assert together == [rewards(sample, reply, False) for sample, reply in zip(samples, replies, strict=True)]


def test_segments_are_shown_after_their_times() -> None:
    task = TASKS["temporal_grounding"]
    record = {"id": "a", "task": task.name, "video": "v.mp4", "query": "it falls", "spans": [[1, 2]]}
    sample = task.Sample.model_validate(record | {"segments": [[0.5, 2.25], [4, 5]]})
    first, one, second, other, asked = task.prompt(sample, think=False)
    assert (first, second) == (
        TextPart("Seconds 0.5 to 2.2 of the video: "),
        TextPart("Seconds 4.0 to 5.0 of the video: "),
    )
    assert one == VideoPart(Video(path=Path("v.mp4"), start_s=0.5, end_s=2.25))
    assert other == VideoPart(Video(path=Path("v.mp4"), start_s=4, end_s=5))
    assert asked == task.prompt(task.Sample.model_validate(record), think=False)[-1]


@pytest.mark.parametrize("segments", [[[2, 1]], [[1, 1]], [[-1, 1]], [[0, float("inf")]], [[float("nan"), 1]]])
def test_invalid_segments_are_refused(segments: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="not a valid interval"):
        Sample(id="a", task="t", video="v.mp4", segments=segments)  # type: ignore[arg-type]


def test_tracking_takes_no_segments() -> None:
    record = {"id": "a", "task": "object_tracking", "video": "v.mp4", "object": "it", "times_s": [0]}
    with pytest.raises(ValueError, match="segments are not for tracking"):
        TASKS["object_tracking"].Sample.model_validate(record | {"boxes": [[0, 0, 1, 1]], "segments": [[0, 1]]})
