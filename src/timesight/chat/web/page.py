"""The web page: a video with its timeline, and a conversation about it with one model or two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nicegui import Client, background_tasks, ui

from timesight.chat.session import ChatSettings, Session
from timesight.chat.timeline import write_spans
from timesight.chat.web.player import Lane, Player, within
from timesight.chat.web.replies import ReplyCell, show_item, show_turn
from timesight.chat.web.scheduler import Done, RequestScheduler
from timesight.chat.web.settings import MAX_QUESTION_CHARS
from timesight.chat.web.uploads import Upload
from timesight.chat.web.videos import StoredVideo, VideoStore
from timesight.errors import InputError, TimesightError
from timesight.generate.base import Generator
from timesight.infer.clue import PassEvent
from timesight.tasks import TASKS
from timesight.types import Box, Question, Reply, Span

Work = AsyncGenerator[str | PassEvent | Done[Reply], None]
COLORS = ("#1565c0", "#c2410c")
TRUTH_COLOR = "#15803d"
FORMS = TASKS.question_forms


@dataclass(frozen=True)
class HardItem:
    """An item of an evaluation with a low score, for the gallery.

    Args:
        token: Of its video in the store.
        task: Name of its task.
        question: Empty for tasks that ask none.
        truth: As shown; empty if it is ``true_spans``.
        reply: The model's.
        figure: Name and value of its first metric.
        true_spans: Of the truth, in seconds.
        reply_spans: Of the reply, in seconds.
        options: For multiple choice.
    """

    token: str
    task: str
    question: str
    truth: str
    reply: str
    figure: str
    true_spans: tuple[Span, ...]
    reply_spans: tuple[Span, ...]
    options: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The form in which it is asked again (``TaskRegistry.asked_again_as``)."""
        return TASKS.asked_again_as(self.task, bool(self.options))

    @property
    def typed(self) -> str:
        """The text to type to ask it again."""
        return " | ".join((self.question, *self.options))

    @property
    def title(self) -> str:
        """The question, or the name of the task if there is none."""
        return self.question or self.task.replace("_", " ")


@dataclass(frozen=True)
class Page:
    """The page; every visitor gets a ``Visit``.

    Args:
        models: Generators by the names in the menu.
        store: The videos to choose from.
        scheduler: Queues the questions.
        chat: How questions are answered.
        max_upload_bytes: Limit of one upload.
        hard: Items for the gallery; read at each visit.
    """

    models: Mapping[str, Generator]
    store: VideoStore
    scheduler: RequestScheduler
    chat: ChatSettings
    max_upload_bytes: int
    hard: Sequence[HardItem] = ()

    def add(self) -> None:
        """Register the page at ``/``."""
        css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")

        @ui.page("/", title="timesight")
        def index() -> None:
            ui.add_css(css)
            Visit(self, ui.context.client)


class Visit:
    """One visitor's page, built in NiceGUI's current context.

    Args:
        page: What all visitors share.
        client: The visitor's connection; when it is deleted, replies end and uploads are removed.
    """

    def __init__(self, page: Page, client: Client) -> None:
        self._page = page
        self._client = client
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sessions: dict[tuple[str, str], Session] = {}
        self._token = ""
        self._drawn: dict[str, Any] | None = None
        client.on_delete(self._leave)
        with ui.element("div").classes("ts-page"):
            with ui.column().classes("ts-side gap-2"):
                self._build_video()
            with ui.column().classes("ts-talk gap-2"):
                self._build_talk()
        self._choose(next(iter(page.store.names(client.id)), ""))

    def _build_video(self) -> None:
        names = self._page.store.names(self._client.id)
        self._pick = ui.select(names, label="Video", on_change=lambda event: self._choose(event.value))
        self._pick.classes("w-full")
        Upload(self._page.max_upload_bytes, self._uploaded)
        self._player = Player().classes("ts-player w-full")
        self._player.on("unplayable", lambda: _notify("this browser cannot play this video; it can be asked about"))
        self._player.on("drawn", self._drew)
        if self._page.hard:
            self._build_gallery()

    def _build_gallery(self) -> None:
        with (
            ui.expansion("Hardest items of the evaluation").classes("w-full"),
            ui.list().props("dense separator").classes("w-full"),
        ):
            for item in self._page.hard:
                with ui.item(on_click=lambda item=item: self._show_item(item)), ui.item_section():
                    ui.item_label(item.title).props("lines=2")
                    ui.item_label(item.figure).props("caption")

    def _build_talk(self) -> None:
        names = list(self._page.models)
        with ui.row().classes("w-full no-wrap"):
            self._left = ui.select(names, value=names[0], label="Model").classes("grow min-w-0")
            others = {"": "—", **{name: name for name in names}}
            self._right = ui.select(others, value="", label="Second model").classes("grow min-w-0")
        self._log = ui.column().classes("w-full gap-2").props('role="log"')
        with ui.column().classes("ts-ask w-full gap-2"):
            with ui.row().classes("w-full items-center gap-2"):
                labels = {task: form.label for task, form in FORMS.items()}
                self._kind = ui.toggle(labels, value=TASKS.plain_question, on_change=self._changed_kind)
                self._kind.props("dense no-caps")
                self._clue = ui.switch("look again").tooltip(
                    "Read the evidence again, larger and denser, and answer again"
                )
            with ui.row().classes("w-full no-wrap items-center gap-2"):
                self._box = ui.input(placeholder=FORMS[TASKS.plain_question].hint)
                self._box.props(f"maxlength={MAX_QUESTION_CHARS} outlined dense").classes("grow")
                self._box.on("keydown.enter", self._ask)
                self._ask_button = ui.button("Ask", on_click=self._ask).props("no-caps")
                self._stop_button = ui.button("Stop", on_click=self._stop, color="red").props("no-caps")
        self._buttons()

    def _choose(self, token: str | None) -> None:
        """Show the video of ``token``, if it exists and this visitor may see it."""
        stored = self._page.store.get(token or "")
        if token is None or token == self._token or stored is None or stored.owner not in (None, self._client.id):
            return
        self._token = token
        self._drawn = None
        self._player.show(src=f"/media/{token}", segments=[], tracks=[])
        self._pick.value = token if token in self._page.store.names(self._client.id) else None

    def _uploaded(self, token: str) -> None:
        names = self._page.store.names(self._client.id)
        if token in names:
            self._pick.set_options(names, value=token)

    def _changed_kind(self) -> None:
        self._box.props["placeholder"] = FORMS[self._kind.value].hint
        self._player.show(drawing=FORMS[self._kind.value].needs == "box")
        self._drawn = None

    def _drew(self, event: Any) -> None:
        self._drawn = event.args

    def _show_item(self, item: HardItem) -> None:
        self._choose(item.token)
        stored = self._stored()
        if stored is None:
            return
        lanes = [Lane(0, "truth", TRUTH_COLOR), Lane(1, "reply", COLORS[1])]
        for lane, spans in zip(lanes, (item.true_spans, item.reply_spans), strict=True):
            lane.take_spans(within(spans, stored.duration_s))
        self._player.draw(lanes)
        self._kind.value = item.kind
        self._box.value = item.typed
        with self._log:
            show_item(item.title, item.truth or write_spans(item.true_spans), item.reply)

    def _stored(self) -> StoredVideo | None:
        """The video that is shown; None if it has expired."""
        return self._page.store.get(self._token)

    def _question(self) -> Question:
        """The question in the form. Raises InputError if something is missing."""
        text = str(self._box.value or "").strip()[:MAX_QUESTION_CHARS]
        kind = self._kind.value
        if FORMS[kind].needs == "options":
            question, *options = (part.strip() for part in text.split("|"))
            return Question(question, kind, tuple(options))
        if FORMS[kind].needs != "box":
            return Question(text, kind)
        stored = self._stored()
        if self._drawn is None or stored is None:
            raise InputError("draw a box over the object first: stop the video where it is to be seen, and drag")
        try:
            box = Box(*(float(edge) for edge in self._drawn["box"]))
            start_s = float(self._drawn["time"])
        except (KeyError, TypeError, ValueError):
            raise InputError("this is not a box") from None
        return Question(
            text, kind, box=box, start_s=start_s, end_s=stored.duration_s, num_boxes=self._page.chat.num_boxes
        )

    def _ask(self) -> None:
        if self._tasks:
            return
        stored = self._stored()
        if stored is None:
            _notify("this video is no longer kept: choose another, or upload it again")
            return
        try:
            question = self._question()
            TASKS.sample_of(question, stored.video)
        except InputError as error:
            _notify(str(error))
            return
        self._box.value = ""
        self._drawn = None
        self._player.drop_box()
        chosen = [name for name in (self._left.value, self._right.value) if name in self._page.models]
        lanes = [Lane(number, name, COLORS[number]) for number, name in enumerate(chosen)]
        self._player.draw([])
        with self._log:
            cells = show_turn(
                question, lanes, "waiting for its turn …" if self._page.scheduler.is_busy else "looking …"
            )
        for lane, cell in zip(lanes, cells, strict=True):
            work = self._page.scheduler.ask(self._session(lane.name), question, clue=bool(self._clue.value))
            task = background_tasks.create(self._answer(lanes, lane, cell, work), name="answer")
            self._tasks.add(task)
            task.add_done_callback(self._done)
        self._buttons()

    async def _answer(self, lanes: list[Lane], lane: Lane, cell: ReplyCell, work: Work) -> None:
        """Stream one model's reply into ``cell``."""
        token = self._token
        try:
            async with aclosing(work) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Done):
                        self._show_evidence(token, lanes, lane, cell, piece.result)
                    elif isinstance(piece, PassEvent):
                        cell.end_look(piece)
                    else:
                        cell.add(piece)
        except asyncio.CancelledError:
            if not self._client.is_deleted:
                cell.fail(" [stopped]")
            raise
        except TimesightError as error:
            cell.fail(str(error))

    def _show_evidence(self, token: str, lanes: Sequence[Lane], lane: Lane, cell: ReplyCell, reply: Reply) -> None:
        stored = self._stored()
        if token != self._token or stored is None:  # another video was chosen in the meantime
            return
        lane.take_spans(within(reply.spans, stored.duration_s))
        lane.take_boxes(reply)
        self._player.draw(lanes)
        cell.end(reply, stored.duration_s, self._player.play)

    def _session(self, model: str) -> Session:
        key = (model, self._token)
        if key not in self._sessions:
            stored = self._stored()
            assert stored is not None  # looked up before anything is asked
            pool = self._page.store.pool(stored)
            self._sessions[key] = Session(self._page.models[model], stored.video, self._page.chat, pool)
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


def _notify(text: str) -> None:
    ui.notify(text, type="warning", position="top", multi_line=True)  # not over the box of the question
