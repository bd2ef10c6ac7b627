"""The conversation on the page: questions, and a cell for each model's reply, which grows while it is streamed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from string import ascii_uppercase

from nicegui import ui

from timesight.chat.timeline import write_spans
from timesight.chat.web.pictures import contact_sheet
from timesight.chat.web.player import Lane, within
from timesight.infer.clue import PassEvent
from timesight.types import Question, Reply, Span

REDRAW_S = 0.1  # a growing reply is sent as a whole each time, so not for every token


def show_item(question: str, truth: str, reply: str) -> None:
    """Show an item of an evaluation: its question, truth and reply."""
    with ui.column().classes("ts-turn w-full gap-2") as turn:
        _say(f"{question}\ntruth: {truth}", "self-end bg-green-1")
        _say(reply, "bg-grey-2")
    _reveal(turn)


def show_turn(question: Question, lanes: Sequence[Lane], status: str) -> list[ReplyCell]:
    """Show a question, with an empty cell for each reply.

    Args:
        question: With its options, if it has any.
        lanes: The models that answer.
        status: Text of a cell before its reply begins.

    Returns:
        A cell for each lane.
    """
    options = [f"{letter} {option}" for letter, option in zip(ascii_uppercase, question.options, strict=False)]
    with ui.column().classes("ts-turn w-full gap-2") as turn:
        _say("\n".join([question.text, *options]), "self-end bg-blue-1")
        with ui.element("div").classes("ts-replies"):
            cells = [ReplyCell(lane, turn, status) for lane in lanes]
    _reveal(turn)
    return cells


class ReplyCell:
    """One model's reply: its passes, next to each other if there is space, then the answer.

    Args:
        lane: Name and color of the model.
        turn: The element around question and replies, which is scrolled into view.
        status: Text before the reply begins.
    """

    def __init__(self, lane: Lane, turn: ui.element, status: str) -> None:
        self._turn = turn
        self._label: ui.label | None = None
        self._text = ""
        self._drawn_at = 0.0
        self._num_looks = 0
        with ui.column().classes("min-w-0 bg-gray-2 rounded p-2 gap-1") as self._cell:
            ui.label(lane.name).classes("text-caption").style(f"color: {lane.color}")
            self._status = ui.label(status).classes("text-caption text-gray-7")
            self._looks = ui.element("div").classes("ts-looks")

    def add(self, piece: str, *, now: bool = False) -> None:
        """Append text to the current pass.

        Args:
            piece: The text.
            now: Send it at once; otherwise at most every ``REDRAW_S`` seconds.
        """
        self._status.set_visibility(False)
        self._text += piece
        if self._label is None:
            with self._looks, ui.column().classes("ts-look gap-1") as self._look:
                self._label = ui.label("").classes("ts-text ts-reply")
        if now or time.monotonic() - self._drawn_at > REDRAW_S:
            self._label.text = self._text
            self._drawn_at = time.monotonic()

    def end_look(self, seen: PassEvent) -> None:
        """Show the frames and the cost of a pass that has ended."""
        self.add("", now=True)
        look, self._label, self._text = seen.look, None, ""
        self._num_looks += 1
        with self._look:
            width, height = look.size_px
            shown = f"{look.num_frames} frames of {width} × {height} px from {write_spans(look.segments)}"
            cost = f"{look.prompt_tokens} tokens, {look.seconds:.1f} s"
            ui.label(f"look {self._num_looks}: {shown}; {cost}").classes("text-caption text-gray-7")
            picture = ui.element("img").classes("ts-sheet")
            picture.props["src"] = contact_sheet(seen.frames)
            picture.props["alt"] = f"frames of look {self._num_looks}"
        _reveal(self._turn)

    def end(self, reply: Reply, duration_s: float, play: Callable[[Span], None]) -> None:
        """Show the answer of the whole reply, and a button for each span.

        Args:
            reply: The reply.
            duration_s: Length of the video, to which spans are clipped.
            play: Called with a span when its button is pressed.
        """
        shown = within(reply.spans, duration_s)
        if reply.boxes:
            shown = within([Span(reply.times_s[0], reply.times_s[-1])], duration_s)
        with self._cell:
            if isinstance(reply.answer, str):
                ui.label(reply.answer).classes("ts-text text-weight-bold")
            if reply.note:
                ui.label(reply.note).classes("ts-text text-caption text-gray-7")
            elif not shown:
                ui.label("no span named").classes("text-caption text-gray-7")
            with ui.row().classes("gap-1"):
                for span in shown:
                    button = ui.button(write_spans([span]), on_click=lambda span=span: play(span))
                    button.props("dense no-caps size=sm outline icon=play_arrow")
        _reveal(self._turn)

    def fail(self, reason: str) -> None:
        """End the reply with the reason why there is no more of it."""
        self.add(reason, now=True)
        _reveal(self._turn)


def _say(text: str, classes: str) -> None:
    ui.label(text).classes(f"ts-text rounded px-3 py-2 {classes}")


def _reveal(turn: ui.element) -> None:
    """Scroll just far enough to bring it into view."""
    turn.run_method("scrollIntoView", {"block": "nearest", "behavior": "smooth"})
