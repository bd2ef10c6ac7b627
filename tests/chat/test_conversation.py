"""Questions, replies and the terminal."""

from __future__ import annotations

import collections.abc
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.chat.scripted import Scripted

from timesight.chat.session import ChatSettings, Session, as_record
from timesight.chat.terminal import Conversation, parse_question
from timesight.chat.timeline import EMPTY, SHOWN, draw_timeline
from timesight.data import read_jsonl
from timesight.errors import InputError, ModelError, VideoError
from timesight.generate.base import Completion, Generator, Sampling
from timesight.generate.local import LocalGenerator
from timesight.infer.ask import Question
from timesight.infer.clue import PassEvent
from timesight.model.encode import encode_prompt
from timesight.model.load import load_policy
from timesight.model.prompt import Exchange, Prompt
from timesight.tasks import TASKS
from timesight.types import Box, Span, TextPart, Video, VideoPart
from timesight.video import FrameReader, Wanted


def finish(pieces: collections.abc.Generator[Any, None, Any]) -> tuple[list[Any], Any]:
    seen = []
    while True:
        try:
            seen.append(next(pieces))
        except StopIteration as end:
            return seen, end.value


def test_a_reply_comes_in_pieces_and_ends_as_a_whole(video: Path) -> None:
    session = Session(Scripted("m"), Video(path=video))
    pieces, reply = finish(session.ask(Question("What moves?")))
    texts = [piece for piece in pieces if isinstance(piece, str)]
    assert len(texts) > 3
    assert "".join(texts) == reply.text
    assert (reply.answer, reply.spans) == ("What moves?", (Span(1.0, 2.0), Span(2.4, 2.8)))
    (look,) = [piece for piece in pieces if isinstance(piece, PassEvent)]
    assert look.look == reply.passes[0]
    assert look.look.num_frames == len(look.frames[0].times_s)
    assert session.turns[0].reply is reply
    assert json.loads(json.dumps(as_record(reply)))["spans"] == [[1.0, 2.0], [2.4, 2.8]]


def test_looking_again_streams_both_looks(video: Path) -> None:
    pieces, reply = finish(Session(Scripted("m"), Video(path=video)).ask(Question("What?"), clue=True))
    looks = [piece for piece in pieces if isinstance(piece, PassEvent)]
    assert [len(look.frames) for look in looks] == [1, 1]  # the two segments meet once they are padded
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == 2 * reply.text
    assert reply.passes == tuple(look.look for look in looks)


def test_later_questions_know_the_earlier_ones(video: Path) -> None:
    model = Scripted("m")
    session = Session(model, Video(path=video), ChatSettings(remembered=2))
    for text in ("one?", "two?", "three?", "four?"):
        finish(session.ask(Question(text)))
    said = [[exchange.question.split("\n")[0] for exchange in prompt.earlier] for prompt in model.prompts]
    assert said == [[], ["one?"], ["one?", "two?"], ["two?", "three?"]]
    assert model.prompts[1].earlier[0].reply.startswith("<answer>one?</answer>")
    finish(Session(model, Video(path=video), ChatSettings(remembered=0)).ask(Question("alone?")))
    assert model.prompts[-1].earlier == []


def test_a_conversation_is_one_chat_with_the_video_first(video: Path) -> None:
    policy = load_policy()
    frames = FrameReader(policy.default_budget, policy.factor).read(Wanted(Video(path=video)))
    prompt = Prompt([VideoPart(Video(path=video)), TextPart("two?")], [frames], [Exchange("one?", "yes")])
    roles = [(message.role, len(message.parts)) for message in prompt.messages()]
    assert roles == [("user", 2), ("assistant", 1), ("user", 1)]
    encoded = encode_prompt(policy, prompt)
    text = policy.processor.tokenizer.decode(encoded.input_ids)
    order = [text.index(mark) for mark in ("<|video_pad|>", "one?", "assistant\nyes", "user\ntwo?")]
    assert order == sorted(order)
    assert text.rindex("<|video_pad|>") < text.index("one?")  # the video is shown once


def test_a_stopped_question_was_not_asked(video: Path) -> None:
    model = Scripted("m")
    session = Session(model, Video(path=video))
    pieces = session.ask(Question("one?"))
    next(pieces)
    assert model.running == 1
    pieces.close()
    assert model.running == 0
    finish(session.ask(Question("two?")))
    assert model.prompts[-1].earlier == []
    assert [turn.question.text for turn in session.turns] == ["two?"]


@pytest.mark.parametrize("clue", [False, True])
def test_streamed_replies_are_those_of_an_evaluation(full_world: Path, clue: bool) -> None:
    from timesight.infer.ask import ask

    policy = load_policy()
    sample = next(s for s in read_jsonl(full_world / "test.jsonl") if s.task == "temporal_grounding")
    question = Question(sample.query, "temporal_grounding")  # type: ignore[attr-defined]
    pieces, reply = finish(Session(LocalGenerator(policy), sample.video).ask(question, clue=clue))
    at_once = ask(policy, sample.video, question, clue=clue)
    assert reply.text == at_once.text
    assert [seen.text for seen in reply.passes] == [seen.text for seen in at_once.passes]
    assert "".join(p for p in pieces if isinstance(p, str)) == "".join(seen.text for seen in reply.passes)
    assert len(pieces) > 5


def test_tracking_gives_boxes_at_their_times(video: Path) -> None:
    boxes = "[[0.1, 0.1, 0.2, 0.2], [0.2, 0.1, 0.3, 0.2]]"
    model = Scripted("m", f"<answer>{boxes}</answer>")
    question = Question(
        "red circle", "object_tracking", box=Box(0.1, 0.1, 0.2, 0.2), start_s=1.0, end_s=2.0, num_boxes=2
    )
    _, reply = finish(Session(model, Video(path=video)).ask(question, clue=True))
    assert reply.boxes == (Box(0.1, 0.1, 0.2, 0.2), Box(0.2, 0.1, 0.3, 0.2))
    assert (reply.times_s, reply.spans, len(reply.passes)) == ((1.0, 1.5), (), 1)
    assert list(model.prompts[0].frames[0].times_s) == pytest.approx([1.0, 1.5], abs=0.051)


def test_choosing_gives_the_option_and_a_whole_prompt_stays_as_it_is(video: Path) -> None:
    model = Scripted("m", "<answer>B</answer><glue>[(1.0, 2.0)]</glue>")
    session = Session(model, Video(path=video))
    _, reply = finish(session.ask(Question("Which?", "grounded_qa", ("a cat", "a dog"))))
    assert reply.answer == "a dog"
    whole = "Say <answer>yes</answer> or <answer>no</answer>."
    finish(session.ask(Question(whole)))
    assert model.prompts[-1].parts[-1] == TextPart(whole)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (Question("  "), "the question is empty"),
        (Question("Which?", "grounded_qa", ("one",)), "two options"),
        (Question("it", "object_tracking"), "first box"),
        (Question("it", "object_tracking", box=Box(0, 0, 1, 1), start_s=2, end_s=1), "an end after it"),
        (Question("it", "object_tracking", box=Box(0, 0, 1, 1), end_s=math.inf), "an end after it"),
        (Question("it", "object_tracking", box=Box(0, 0, 1, 1), start_s=math.nan, end_s=1), "an end after it"),
        (Question("it", "object_tracking", box=Box(-5, 0, 1, 1), end_s=1), "leaves the frame"),
        (Question("what?", "captioning"), "cannot be asked"),
    ],
)
def test_what_cannot_be_asked_is_told(video: Path, question: Question, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        finish(Session(Scripted("m"), Video(path=video)).ask(question))


def test_errors_of_videos_and_models_reach_who_asks(video: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no such file"):
        finish(Session(Scripted("m"), Video(path=tmp_path / "no.mp4")).ask(Question("what?")))
    with pytest.raises(ModelError, match="too long"):
        finish(Session(Scripted("m", "!too long"), Video(path=video)).ask(Question("what?")))


def test_what_a_policy_cannot_take_is_one_line(video: Path) -> None:
    generator = LocalGenerator(load_policy())
    session = Session(generator, Video(path=video))
    with pytest.raises(ModelError, match=r"the text holds <\|image_pad\|>, a special token of the model"):
        finish(session.ask(Question("<|image_pad|> what?")))
    with pytest.raises(ModelError, match=r"the prompt is too long: \d+ tokens, .* takes 32768"):
        finish(session.ask(Question("word " * 40_000)))
    assert session.turns == []


def test_a_batch_answers_what_can_be_put(video: Path) -> None:
    generator = LocalGenerator(load_policy())
    frames = FrameReader(generator.default_budget, generator.factor).read(Wanted(Video(path=video)))
    texts = ("<|im_end|>", "the first shape is visible", "word " * 40_000)
    prompts = [Prompt([VideoPart(Video(path=video)), TextPart(text)], [frames]) for text in texts]
    marked, answered, long = generator.answer(prompts, Sampling(max_new_tokens=2))
    assert isinstance(answered, Completion)
    assert "a special token of the model" in str(marked)
    assert "too long" in str(long)
    assert len(generator.answer(prompts[:1], Sampling(max_new_tokens=2))) == 1


def test_hardly_any_temperature_is_none_and_failures_are_told(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = LocalGenerator(load_policy())

    def said(temperature: float) -> str:
        settings = ChatSettings(temperature=temperature, max_new_tokens=8)
        return finish(Session(generator, Video(path=video), settings).ask(Question("what?")))[1].text

    assert said(1e-300) == said(0.0)
    monkeypatch.setattr("timesight.generate.local.build_tree", lambda *_, **__: 1 / 0)
    with pytest.raises(ModelError, match=r"gives no reply \(division by zero\)"):
        said(0.0)


spans = st.lists(
    st.tuples(st.floats(0, 120), st.floats(0, 60)).map(lambda pair: Span(pair[0], pair[0] + pair[1])), max_size=5
)


@given(spans, st.floats(0.1, 100), st.integers(1, 100))
def test_a_timeline_fills_what_is_named_and_nothing_else(found: list[Span], duration_s: float, width: int) -> None:
    line = draw_timeline(found, duration_s, width)
    assert len(line) == width
    assert set(line) <= {SHOWN, EMPTY}
    for place, mark in enumerate(line):
        middle_s = (place + 0.5) / width * duration_s
        if any(span.start_s <= middle_s <= span.end_s for span in found):
            assert mark == SHOWN
        cell = place / width * duration_s, (place + 1) / width * duration_s
        slack = 1e-6 * (duration_s + 1)
        if mark == SHOWN:
            assert any(span.start_s <= cell[1] + slack and span.end_s >= cell[0] - slack for span in found)
    for span in found:
        if span.start_s < duration_s * (1 - 1e-9):
            assert line[min(width - 1, math.floor(span.start_s / duration_s * width))] == SHOWN


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("what moves?", Question("what moves?")),
        ("/when it falls", Question("it falls", "temporal_grounding")),
        ("/which Is it? | a | b b", Question("Is it?", "grounded_qa", ("a", "b b"))),
        (
            "/track 0 0 0.5 1 2 4.5 the red car",
            Question("the red car", "object_tracking", box=Box(0, 0, 0.5, 1), start_s=2, end_s=4.5),
        ),
    ],
)
def test_lines_of_the_terminal(line: str, expected: Question) -> None:
    assert parse_question(line) == expected


@pytest.mark.parametrize(
    "line", ["/track 0 0 1 1 2 x it", "/track 0 0 1 1 2 3", "/track 1 1 0 0 2 3 it", "/what it"]
)
def test_lines_that_make_no_sense(line: str) -> None:
    with pytest.raises(InputError, match=r"write /track|no command"):
        parse_question(line)


def test_the_conversation_fits_80_columns(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=False)
    lines = iter(["/help", "What moves? [bold]not markup[/bold]", "/nonsense", "/clue", "/when it moves", "/quit"])
    monkeypatch.setattr(console, "input", lambda _: next(lines))
    Conversation(Session(Scripted("m"), Video(path=video)), console, 3.0).run()
    text = out.getvalue()
    # Replies are written word by word, and it is the terminal that breaks their lines.
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("<answer>"))
    assert "answer What moves? [bold]not markup[/bold]" in text
    assert "no command /nonsense; /help shows what there is" in text
    assert text.count("looked at") == 3
    assert draw_timeline([Span(1.0, 2.0), Span(2.4, 2.8)], 3.0, 56) in text
    assert "1.0 to 2.0 s, 2.4 to 2.8 s; saw 6 frames" in text


def test_tracking_in_the_terminal_shows_times_and_boxes(video: Path) -> None:
    out = io.StringIO()
    model = Scripted("m", "<answer>[[0.1, 0.1, 0.2, 0.2], [0.2, 0.1, 0.3, 0.2]]</answer>")
    console = Console(file=out, width=80, force_terminal=False)
    talk = Conversation(Session(model, Video(path=video)), console, 3.0, num_boxes=2)
    talk.show(parse_question("/track 0.1 0.1 0.2 0.2 1 2 red circle", 2))
    assert "1.0 s 0.10 0.10 0.20 0.20\n     1.5 s 0.20 0.10 0.30 0.20" in out.getvalue()
    assert "no span named" not in out.getvalue()


def test_open_questions_are_scored() -> None:
    task = TASKS["open_qa"]
    sample = task.Sample.model_validate(
        {
            "id": "q",
            "task": "open_qa",
            "video": "v.mp4",
            "question": "?",
            "answer": "Red  Circle",
            "spans": [(1, 3)],
        }
    )
    assert task.reward("<answer>red circle.</answer><glue>[(2, 3)]</glue>", sample) == {
        "format": 1.0,
        "iou": 0.5,
        "accuracy": 1.0,
    }
    assert task.parse("<answer>red circle</answer>", strict=False, sample=sample).spans == ()
    assert task.parse("<answer>red circle</answer>", sample=sample) is None
    odd = sample.model_copy(update={"answer": "</answer>"})
    assert not task.usable(odd)


def test_a_generator_that_cannot_stream_gives_its_reply_in_one_piece() -> None:
    class Whole(Generator):
        name = "w"
        factor = 28
        default_budget = Scripted.default_budget

        def generate(self, prompts: Any, *how: Any) -> Any:
            return [[Completion("all at once")]]

    pieces, completion = finish(Whole().stream(Prompt([], [])))
    assert (pieces, completion.text) == (["all at once"], "all at once")
    with pytest.raises(ModelError, match="w: does not take new weights"):
        Whole().update_weights(None, 1)
