"""Looking again: what is read when, what is asked, and what happens when there is nothing to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import timesight
from timesight.data import read_jsonl
from timesight.errors import ModelError
from timesight.generate.base import Completion, Generator, Sampling
from timesight.infer.answer import InferenceConfig, answer_batches
from timesight.infer.clue import (
    LOST_SPAN,
    NO_SPAN,
    NOT_ONE_VIDEO,
    ClueGenerator,
    ClueSettings,
    choose_segments,
)
from timesight.model.prompt import Prompt
from timesight.tasks.evidence import spans_of_reply
from timesight.types import Span, TextPart, Video, VideoPart
from timesight.video import FrameBudget, ReadingSettings, read, reading_pool

BUDGET = FrameBudget(fps=2.0, min_pixels=784, max_pixels=784, max_frames=16)


class Script(Generator):
    """Answers with what a function of the prompt says, and keeps the prompts."""

    name = "script"
    factor = 28
    default_budget = BUDGET

    def __init__(self, *replies: str | Callable[[], str]) -> None:
        self._replies = list(replies)
        self.prompts: list[Prompt] = []

    def generate(
        self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
    ) -> list[list[Completion] | ModelError]:
        reply = self._replies[min(len(self.prompts), len(self._replies) - 1)]
        self.prompts += prompts
        text = reply if isinstance(reply, str) else reply()
        if text.startswith("!"):
            return [ModelError(text[1:]) for _ in prompts]
        return [[Completion(text, prompt_tokens=7, completion_tokens=3)] for _ in prompts]


def prompt(video: Path, **window: float) -> Prompt:
    source = Video(path=video, **window)  # type: ignore[arg-type]
    return Prompt([VideoPart(source), TextPart("When?")], [read(source, BUDGET)])


def look(
    video: Path, *replies: str | Callable[[], str], settings: ClueSettings | None = None
) -> tuple[Completion, Script]:
    script = Script(*replies)
    (answer,) = ClueGenerator(script, BUDGET, settings).answer([prompt(video)])
    assert isinstance(answer, Completion)
    return answer, script


def test_the_second_look_is_read_from_the_file_closer_and_denser(video: Path) -> None:
    answer, script = look(video, "<answer>1.0 to 2.0</answer>", "<answer>1.2 to 1.9</answer>")
    first, second = script.prompts
    segment, question = second.parts[1], second.parts[-1]
    assert [type(part) for part in second.parts] == [TextPart, VideoPart, TextPart]
    assert second.parts[0] == TextPart("Seconds 0.5 to 2.5 of the video: ")
    assert isinstance(segment, VideoPart)
    assert (segment.video.start_s, segment.video.end_s) == (0.5, 2.5)
    assert question == first.parts[-1]
    wide, close = first.frames[0], second.frames[0]
    assert close.pixels.shape[1] * close.pixels.shape[2] > 2 * wide.pixels.shape[1] * wide.pixels.shape[2]
    assert close.sampled_fps == pytest.approx(8.0)
    direct = read(segment.video, ClueSettings().budget(BUDGET, 1.0))
    assert np.array_equal(close.pixels, direct.pixels)
    assert np.array_equal(close.times_s, direct.times_s)
    assert answer.text == "<answer>1.2 to 1.9</answer>"
    assert [seen.segments[0].start_s for seen in answer.passes] == [0.0, 0.5]
    assert [seen.segments[0].end_s for seen in answer.passes] == pytest.approx([3.0, 2.5])
    assert [seen.spans for seen in answer.passes] == [(Span(1.0, 2.0),), (Span(1.2, 1.9),)]
    assert [seen.num_frames for seen in answer.passes] == [6, 16]
    assert answer.note == ""


def test_processes_read_all_segments_of_a_pass_at_once(video: Path) -> None:
    """Before the first of them is waited for; what is shown is the same."""
    replies = "<answer>1.0 to 2.0</answer>", "<answer>2.0 to 2.5</answer>"
    asked = [prompt(video) for _ in replies]

    class Two(Script):
        def generate(
            self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
        ) -> list[list[Completion] | ModelError]:
            self.prompts += prompts
            return [[Completion(reply)] for reply, _ in zip(replies, prompts, strict=True)]

    submitted: list[int] = []
    with reading_pool(ReadingSettings(workers=1)) as pool:
        assert pool is not None
        submit = pool.submit
        pool.submit = lambda *args: submitted.append(len(ahead.prompts)) or submit(*args)  # type: ignore[assignment]
        ahead, alone = Two(), Two()
        ClueGenerator(ahead, BUDGET, pool=pool).answer(asked)
        ClueGenerator(alone, BUDGET).answer(asked)
    assert submitted == [2, 2]
    for one, other in zip(ahead.prompts, alone.prompts, strict=True):
        assert one.parts == other.parts
        for mine, theirs in zip(one.frames, other.frames, strict=True):
            np.testing.assert_array_equal(mine.pixels, theirs.pixels)


@pytest.mark.parametrize("reply", ["no idea", "<answer>9 to 10</answer>", "<answer>B</answer><glue>[]</glue>"])
def test_without_a_usable_span_the_first_answer_stands_and_says_so(video: Path, reply: str) -> None:
    answer, script = look(video, reply, "never asked")
    assert (answer.text, len(answer.passes), len(script.prompts)) == (reply, 1, 1)
    assert answer.note == NO_SPAN


@pytest.mark.parametrize("max_passes", [2, 3])
def test_a_later_look_without_a_usable_span_does_not_replace_the_answer(video: Path, max_passes: int) -> None:
    good = "<answer>1 to 2</answer>"
    for lost in ("<answer>rubbish", "<answer>9 to 10</answer>"):
        answer, script = look(video, good, lost, settings=ClueSettings(max_passes=max_passes))
        assert (answer.text, answer.note) == (good, LOST_SPAN)
        assert [seen.text for seen in answer.passes] == [good, lost]
        assert len(script.prompts) == 2


def test_passes_go_on_until_the_spans_settle(video: Path) -> None:
    moving = [f"<answer>{n / 10} to {n / 10 + 1}</answer>" for n in (0, 8, 8, 3)]
    settled, _ = look(video, *moving, settings=ClueSettings(max_passes=9))
    assert [seen.spans[0].start_s for seen in settled.passes] == [0.0, 0.8, 0.8]
    limited, _ = look(video, *moving, settings=ClueSettings(max_passes=2))
    assert len(limited.passes) == 2
    once, _ = look(video, *moving, settings=ClueSettings(max_passes=1))
    assert (len(once.passes), once.note) == (1, "")


def test_a_second_look_that_fails_leaves_the_first_answer(video: Path, tmp_path: Path) -> None:
    refused, _ = look(video, "<answer>1 to 2</answer>", "!too long")
    assert (refused.text, refused.note) == ("<answer>1 to 2</answer>", "too long: its last answer stands")
    copy = tmp_path / "v.mp4"
    copy.write_bytes(video.read_bytes())

    def vanish() -> str:
        copy.unlink()
        return "<answer>1 to 2</answer>"

    gone, _ = look(copy, vanish)
    assert gone.note == f"{copy}: no such file: its last answer stands"
    script = Script("!down")
    assert isinstance(ClueGenerator(script, BUDGET).answer([prompt(video)])[0], ModelError)


def test_prompts_with_no_or_several_videos_are_answered_once(video: Path) -> None:
    whole = prompt(video)
    two = Prompt([*whole.parts, VideoPart(Video(path=video))], [*whole.frames, *whole.frames])
    words = Prompt([TextPart("Hello?")], [])
    for odd in (two, words):
        (answer,) = ClueGenerator(Script("<answer>1 to 2</answer>"), BUDGET).answer([odd])
        assert isinstance(answer, Completion)
        assert (len(answer.passes), answer.note) == (1, NOT_ONE_VIDEO)


def test_segments_stay_in_the_window_of_the_question(video: Path) -> None:
    script = Script("<answer>0.2 to 1.4</answer>")
    asked = prompt(video, start_s=1.0, end_s=2.0)
    for grid_s, segment in ((0.0, Span(1.0, 1.9)), (0.5, Span(1.0, 2.0))):
        (answer,) = ClueGenerator(script, BUDGET, ClueSettings(grid_s=grid_s)).answer([asked])
        assert isinstance(answer, Completion)
        assert answer.passes[1].segments == (segment,)


spans = st.lists(
    st.tuples(st.floats(-50, 150), st.floats(0, 60)).map(lambda pair: Span(pair[0], pair[0] + pair[1])), max_size=8
)


@given(spans, st.integers(1, 4), st.floats(0, 5), st.floats(0, 1))
def test_segments_are_disjoint_inside_and_hold_the_spans(
    found: list[Span], most: int, padding_s: float, padding_share: float
) -> None:
    settings = ClueSettings(max_segments=most, padding_s=padding_s, padding_share=padding_share)
    segments = choose_segments(found, (0.0, 100.0), settings)
    assert len(segments) <= most
    assert all(0 <= segment.start_s < segment.end_s <= 100 for segment in segments)
    assert all(a.end_s < b.start_s for a, b in pairwise(segments))
    for span in [span for span in found if span.end_s >= 0 and span.start_s < 100][:most]:
        start_s, end_s = max(0.0, span.start_s), min(100.0, span.end_s)
        if start_s < end_s:
            assert any(segment.start_s <= start_s and end_s <= segment.end_s for segment in segments)


@given(st.lists(st.floats(0.1, 30), min_size=1, max_size=3), st.integers(20_000, 2_000_000))
def test_all_segments_together_keep_to_the_budget(lengths_s: list[float], total_pixels: int) -> None:
    settings = ClueSettings(resolution_boost=2.0, fps_boost=4.0, total_pixels=total_pixels)
    shares = [length_s / sum(lengths_s) for length_s in lengths_s]
    budgets = [settings.budget(BUDGET, share) for share in shares]
    assert sum(budget.total_pixels for budget in budgets) <= total_pixels + len(budgets)
    assert all(budget.fps == 8.0 and budget.max_pixels == 4 * BUDGET.max_pixels for budget in budgets)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("<answer>B</answer><glue>[(1, 2), (4.5, 6)]</glue>", [(1, 2), (4.5, 6)]),
        ("<answer>1.5 to 2</answer>", [(1.5, 2)]),
        ("<think>3 to 4</think><answer>1.5 to 2</answer>", [(1.5, 2)]),
        ("<think>3 to 4</think><answer>B</answer>", []),
        ("from 2.0 to 3.5 seconds", [(2.0, 3.5)]),
        ("<answer>1 to 2</answer><answer>3 to 4</answer>", []),
        ("", []),
    ],
)
def test_spans_of_any_reply(reply: str, expected: list[tuple[float, float]]) -> None:
    assert [(span.start_s, span.end_s) for span in spans_of_reply(reply)] == expected


def test_options_are_asked_for_with_their_evidence(full_world: Path) -> None:
    items = [s for s in read_jsonl(full_world / "test.jsonl") if s.task == "multiple_choice"][:4]
    script = Script("<answer>B</answer><glue>[(0.5, 1.0)]</glue>")
    config = InferenceConfig(BUDGET, evidence=True)
    outcomes = [o for batch in answer_batches(ClueGenerator(script, BUDGET), items, config) for _, o in batch]
    assert all("<glue>" in str(asked.parts[-1]) for asked in script.prompts)
    assert all(isinstance(o, Completion) and len(o.passes) == 2 for o in outcomes)


def test_ask_looks_again(world: Path) -> None:
    sample = read_jsonl(world / "test.jsonl")[0]
    policy = timesight.load_policy()
    when = timesight.Question(sample.query, "temporal_grounding")  # type: ignore[attr-defined]
    once, twice = (timesight.ask(policy, sample.video, when, clue=clue) for clue in (False, True))
    assert (len(once.passes), len(twice.passes)) == (1, 2)
    assert twice.passes[0].text == once.text
    assert twice.passes[1].num_frames > 0
