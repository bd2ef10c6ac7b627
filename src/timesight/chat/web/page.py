"""What a visitor sees: a video with its timeline, and a conversation about it with one model or two."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nicegui import Client, background_tasks, ui

from timesight.chat.session import ChatSettings, Session
from timesight.chat.timeline import write_spans
from timesight.chat.web.desk import Desk, Done
from timesight.chat.web.pictures import strip
from timesight.chat.web.videos import VideoStore
from timesight.errors import InputError, TimesightError
from timesight.infer.ask import Question
from timesight.infer.clue import Seen
from timesight.policy.answering import Answerer
from timesight.types import Box, Reply, Span
from timesight.video.pool import VideoPool

COLORS = ("#1565c0", "#c2410c")
TRUTH_COLOR = "#15803d"
MAX_QUESTION = 2000  # characters
REDRAW_S = 0.1  # a growing reply is sent whole, so not for every token
KINDS = {
    "open_qa": "Ask",
    "temporal_grounding": "When",
    "grounded_qa": "Which",
    "object_tracking": "Follow",
}
HINTS = {
    "open_qa": "A question in words",
    "temporal_grounding": "Something that happens",
    "grounded_qa": "Question | one | another | …",
    "object_tracking": "Draw a box over the object, and name it",
}
UPLOAD = """async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  const headers = {'X-Visitor': window.clientId, 'X-Name': encodeURIComponent(file.name)};
  const sent = await fetch(window.path_prefix + '/upload', {method: 'PUT', body: file, headers}).catch(() => null);
  const answer = sent ? await sent.json().catch(() => ({})) : {};
  emit(answer.token || '', answer.error?.message || (answer.token ? '' : 'the upload was cut off'));
  event.target.value = '';
}"""


@dataclass(frozen=True)
class HardItem:
    """An item of an evaluation that went badly; ``spans`` are those of the truth and of the reply."""

    token: str
    task: str
    question: str
    truth: str
    reply: str
    figure: str
    true_spans: tuple[Span, ...]
    reply_spans: tuple[Span, ...]


class Evidence(ui.element, component="evidence.js"):
    """The player with its timeline and boxes."""

    def show(self, **props: Any) -> None:
        """Set what is shown."""
        self._props.update(props)
        self.update()

    def play(self, span: Span) -> None:
        """Play from the start of ``span`` to its end."""
        self.run_method("play", span.start_s, span.end_s)


@dataclass(frozen=True)
class Page:
    """The page, for ``models`` by name; every visitor gets a ``Visit``."""

    models: Mapping[str, Answerer]
    store: VideoStore
    desk: Desk
    pool: VideoPool
    chat: ChatSettings
    hard: Sequence[HardItem] = ()

    def add(self) -> None:
        """Serve it at ``/``."""
        css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")

        @ui.page("/", title="timesight")
        def index() -> None:
            ui.add_css(css)
            Visit(self, ui.context.client)


@dataclass
class Lane:
    """One model's replies to a visitor: where they are written, and in which color they are drawn."""

    model: str
    color: str
    segments: list[dict[str, Any]] = field(default_factory=list)
    tracks: list[dict[str, Any]] = field(default_factory=list)


class Visit:
    """One visitor's page."""

    def __init__(self, page: Page, client: Client) -> None:
        self._page = page
        self._client = client
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sessions: dict[tuple[str, str], Session] = {}
        self._token = ""
        self._drawn: dict[str, Any] | None = None
        client.on_delete(self._leave)
        with ui.element("div").classes("ts-page"):
            with ui.column().classes("gap-2"):
                self._build_video()
            with ui.column().classes("gap-2"):
                self._build_talk()
        self._choose(next(iter(page.store.names(client.id)), ""))

    def _build_video(self) -> None:
        names = self._page.store.names(self._client.id)
        self._pick = ui.select(names, label="Video", on_change=lambda event: self._choose(event.value))
        self._pick.classes("w-full")
        with ui.row().classes("items-center gap-2 w-full"):
            ui.label("or one of yours:").classes("text-caption text-grey-8")
            upload = ui.element("input").props('type=file accept="video/*" aria-label="Upload a video"')
            upload.classes("ts-file").on("change", self._uploaded, js_handler=UPLOAD)
        self._player = Evidence().classes("w-full")
        self._player.on(
            "unplayable", lambda: ui.notify("This browser cannot play this video; it can be asked about.")
        )
        self._player.on("drawn", self._drew)
        if self._page.hard:
            with (
                ui.expansion("Hardest items of the evaluation").classes("w-full"),
                ui.list().props("dense separator"),
            ):
                for item in self._page.hard:
                    with ui.item(on_click=lambda item=item: self._show_item(item)), ui.item_section():
                        ui.item_label(item.question).props("lines=2")
                        ui.item_label(item.figure).props("caption")

    def _build_talk(self) -> None:
        names = list(self._page.models)
        with ui.row().classes("w-full no-wrap"):
            self._left = ui.select(names, value=names[0], label="Model").classes("grow min-w-0")
            beside = {"": "—", **{name: name for name in names}}
            self._right = ui.select(beside, value="", label="Beside it").classes("grow min-w-0")
        self._log = ui.column().classes("w-full gap-2").props('role="log"')
        with ui.row().classes("w-full items-center gap-2"):
            self._kind = ui.toggle(KINDS, value="open_qa", on_change=self._changed_kind).props("dense no-caps")
            self._clue = ui.switch("look again").tooltip(
                "Read the evidence again, larger and denser, and answer again"
            )
        with ui.row().classes("w-full no-wrap items-center gap-2"):
            self._box = ui.input(placeholder=HINTS["open_qa"]).props(f"maxlength={MAX_QUESTION} outlined dense")
            self._box.classes("grow").on("keydown.enter", self._ask)
            self._ask_button = ui.button("Ask", on_click=self._ask).props("no-caps")
            self._stop_button = ui.button("Stop", on_click=self._stop, color="red").props("no-caps")
        self._buttons()

    def _choose(self, token: str) -> None:
        if token not in self._page.store.names(self._client.id) or token == self._token:
            return
        self._token = token
        self._drawn = None
        self._player.show(src=f"/media/{token}", segments=[], tracks=[])
        self._pick.value = token

    def _uploaded(self, event: Any) -> None:
        token, error = event.args
        names = self._page.store.names(self._client.id)
        if error or token not in names:
            ui.notify(str(error)[:300] or "no such upload", type="negative", multi_line=True)
            return
        self._pick.set_options(names, value=token)

    def _changed_kind(self) -> None:
        self._box.props["placeholder"] = HINTS[self._kind.value]
        self._player.show(drawing=self._kind.value == "object_tracking")
        self._drawn = None

    def _drew(self, event: Any) -> None:
        self._drawn = event.args

    def _show_item(self, item: HardItem) -> None:
        self._choose(item.token)
        lanes = [Lane("truth", TRUTH_COLOR), Lane("reply", COLORS[1])]
        for lane, (row, spans) in enumerate(zip(lanes, (item.true_spans, item.reply_spans), strict=True)):
            row.segments = _segments(row, lane, spans)
        self._draw(lanes)
        self._kind.value = item.task if item.task in KINDS else "open_qa"
        self._box.value = item.question
        with self._log:
            _say(f"{item.question}\ntruth: {item.truth or write_spans(item.true_spans)}", "self-end bg-green-1")
            _say(item.reply, "bg-grey-2")

    def _question(self) -> Question:
        """What is asked. Raises InputError for what is missing."""
        text = str(self._box.value or "").strip()[:MAX_QUESTION]
        kind = self._kind.value
        if kind == "grounded_qa":
            question, *options = (part.strip() for part in text.split("|"))
            return Question(question, kind, tuple(options))
        if kind != "object_tracking":
            return Question(text, kind)
        stored = self._page.store.get(self._token)
        if self._drawn is None or stored is None:
            raise InputError("draw a box over the object first: stop the video where it is to be seen, and drag")
        try:
            box = Box(*(float(edge) for edge in self._drawn["box"]))
            start_s = float(self._drawn["time"])
        except (KeyError, TypeError, ValueError):
            raise InputError("this is no box") from None
        return Question(
            text, kind, box=box, start_s=start_s, end_s=stored.duration_s, num_boxes=self._page.chat.num_boxes
        )

    def _ask(self) -> None:
        if self._tasks or self._page.store.get(self._token) is None:
            return
        try:
            question = self._question()
            question.sample(self._session(self._left.value).video)
        except InputError as error:
            ui.notify(str(error), type="warning")
            return
        self._box.value = ""
        chosen = [name for name in (self._left.value, self._right.value) if name in self._page.models]
        lanes = [Lane(name, color) for name, color in zip(chosen, COLORS, strict=False)]
        self._draw([])
        with self._log:
            _say(question.text, "self-end bg-blue-1")
            with ui.element("div").classes(f"w-full grid grid-cols-{len(lanes)} gap-2"):
                cells = [ui.column().classes("min-w-0 bg-grey-2 rounded p-2 gap-1") for _ in lanes]
        for lane, cell in zip(lanes, cells, strict=True):
            task = background_tasks.create(self._answer(lanes, lane, cell, question), name="answer")
            self._tasks.add(task)
            task.add_done_callback(self._done)
        self._buttons()

    async def _answer(self, lanes: list[Lane], lane: Lane, cell: ui.column, question: Question) -> None:
        """Write one model's reply into ``cell`` while it comes."""
        token, clue = self._token, bool(self._clue.value)
        with cell:
            ui.label(lane.model).classes("text-caption").style(f"color: {lane.color}")
            status = ui.label("waiting for its turn …" if self._page.desk.num_waiting else "looking …")
            status.classes("text-caption text-grey-7")
        session = self._session(lane.model)
        writing = _Writing(cell)
        try:
            work = session.ask(question, clue=clue)
            async with aclosing(self._page.desk.run(work)) as pieces:
                async for piece in pieces:
                    status.set_visibility(False)
                    if isinstance(piece, Done):
                        if token == self._token:  # else another video was chosen meanwhile
                            self._show_evidence(lanes, lane, cell, piece.result)
                    elif isinstance(piece, Seen):
                        writing.end(piece)
                    else:
                        writing.add(piece)
        except asyncio.CancelledError:
            if not self._client.is_deleted:
                writing.add(" [stopped]", now=True)
            raise
        except TimesightError as error:
            status.set_visibility(False)
            writing.add(str(error), now=True)

    def _show_evidence(self, lanes: list[Lane], lane: Lane, cell: ui.column, reply: Reply) -> None:
        number = lanes.index(lane)
        lane.segments = _segments(lane, number, reply.spans)
        points = [
            [time_s, box.x0, box.y0, box.x1, box.y1]
            for time_s, box in zip(reply.times_s, reply.boxes, strict=False)
        ]
        lane.tracks = [{"label": lane.model, "color": lane.color, "points": points}] if points else []
        self._draw(lanes)
        with cell:
            if isinstance(reply.answer, str):
                ui.label(reply.answer).classes("ts-text text-weight-bold")
            if reply.note:
                ui.label(reply.note).classes("ts-text text-caption text-grey-7")
            with ui.row().classes("gap-1"):
                shown = reply.spans or ((Span(reply.times_s[0], reply.times_s[-1]),) if points else ())
                for span in shown:
                    button = ui.button(write_spans([span]), on_click=lambda span=span: self._player.play(span))
                    button.props("dense no-caps size=sm outline icon=play_arrow")

    def _draw(self, lanes: Sequence[Lane]) -> None:
        self._player.show(
            segments=[segment for lane in lanes for segment in lane.segments],
            tracks=[track for lane in lanes for track in lane.tracks],
        )

    def _session(self, model: str) -> Session:
        key = (model, self._token)
        if key not in self._sessions:
            stored = self._page.store.get(self._token)
            assert stored is not None  # looked up before anything is asked
            self._sessions[key] = Session(self._page.models[model], stored.video, self._page.chat, self._page.pool)
        return self._sessions[key]

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not self._client.is_deleted:
            self._buttons()

    def _buttons(self) -> None:
        self._stop_button.set_visibility(bool(self._tasks))
        self._ask_button.set_visibility(not self._tasks)

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _leave(self) -> None:
        self._stop()
        self._page.store.forget(self._client.id)


class _Writing:
    """The passes of a reply, one after another: text that grows, then what was looked at."""

    def __init__(self, cell: ui.column) -> None:
        self._cell = cell
        self._label: ui.label | None = None
        self._text = ""
        self._drawn_at = 0.0
        self._number = 0

    def add(self, piece: str, *, now: bool = False) -> None:
        """More of the text."""
        self._text += piece
        if self._label is None:
            with self._cell:
                self._label = ui.label("").classes("ts-text ts-reply")
        if now or time.monotonic() - self._drawn_at > REDRAW_S:
            self._label.text = self._text
            self._drawn_at = time.monotonic()

    def end(self, seen: Seen) -> None:
        """The pass is over."""
        self.add("", now=True)
        look, self._label, self._text = seen.look, None, ""
        self._number += 1
        with self._cell:
            about = (
                f"look {self._number}: {look.num_frames} frames of {look.size_px[0]} × {look.size_px[1]} px from "
                f"{write_spans(look.segments)}; {look.prompt_tokens} tokens, {look.seconds:.1f} s"
            )
            ui.label(about).classes("text-caption text-grey-7")
            picture = ui.element("img").classes("ts-strip")
            picture.props["src"] = strip(seen.frames)
            picture.props["alt"] = f"frames of look {self._number}"


def _segments(lane: Lane, number: int, spans: Sequence[Span]) -> list[dict[str, Any]]:
    return [
        {
            "start": span.start_s,
            "end": span.end_s,
            "label": f"{lane.model}: {write_spans([span])}",
            "color": lane.color,
            "lane": number,
        }
        for span in spans
    ]


def _say(text: str, classes: str) -> None:
    ui.label(text).classes(f"ts-text rounded px-3 py-2 {classes}")
