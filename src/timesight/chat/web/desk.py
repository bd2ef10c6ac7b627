"""Whose turn it is: so many replies at once, so many questions waiting, and one model shared token by token.

Replies are written by threads. The ones under way take turns at the model, a token each, so that a long video or a
long reply does not keep the others from going on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from timesight.chat.web.settings import RefusedError
from timesight.errors import ModelError
from timesight.policy.answering import Answered, Answerer, Prompt, stream_answer
from timesight.video import FrameBudget

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Done(Generic[R]):
    """The end of a reply, with what came of it."""

    result: R


class Desk:
    """Runs generators in threads, ``max_active`` at once, and refuses more than ``max_waiting`` beyond these."""

    def __init__(self, max_active: int, max_waiting: int) -> None:
        self._places = asyncio.Semaphore(max_active)
        self._max_waiting = max_waiting
        self._threads = ThreadPoolExecutor(max_active, thread_name_prefix="reply")
        self._stops: set[threading.Event] = set()
        self.num_waiting = 0

    @property
    def num_active(self) -> int:
        """Replies under way."""
        return len(self._stops)

    def require_room(self) -> None:
        """Raise RefusedError where a question could not even wait."""
        if self._places.locked() and self.num_waiting >= self._max_waiting:
            raise RefusedError(503, f"{self.num_waiting} questions are waiting already; try again in a minute")

    async def run(self, work: Generator[T, None, R]) -> AsyncGenerator[T | Done[R], None]:
        """What ``work`` yields, then ``Done`` with what it returns. Leaving early ends it at the next token.

        Raises RefusedError where there is no room, and what ``work`` raises.
        """
        self.require_room()
        self.num_waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.num_waiting -= 1
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[T | Done[R] | BaseException] = asyncio.Queue()
        stop = threading.Event()
        self._stops.add(stop)

        def put(piece: T | Done[R] | BaseException) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def leave(_: Any) -> None:
            self._stops.discard(stop)
            self._places.release()

        running = loop.run_in_executor(self._threads, _go_through, work, stop, put)
        running.add_done_callback(leave)
        try:
            while True:
                piece = await pieces.get()
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
                if isinstance(piece, Done):
                    return
        finally:
            stop.set()

    def close(self) -> None:
        """End all replies at their next token."""
        for stop in self._stops:
            stop.set()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _go_through(work: Generator[Any, None, Any], stop: threading.Event, put: Any) -> None:
    with closing(work):
        try:
            while not stop.is_set():
                put(next(work))
        except StopIteration as end:
            put(Done(end.value))
        except BaseException as error:
            put(error)
        else:
            put(ModelError("the reply was stopped"))


class TakingTurns:
    """An answerer that several threads may use: it goes from one to the next after every token."""

    def __init__(self, answerer: Answerer) -> None:
        self.name = answerer.name
        self._answerer = answerer
        self._turn = FairLock()

    @property
    def factor(self) -> int:
        """The answerer's own."""
        return self._answerer.factor

    @property
    def default_budget(self) -> FrameBudget:
        """The answerer's own."""
        return self._answerer.default_budget

    def answer(
        self, prompts: Sequence[Prompt], *, temperature: float, max_new_tokens: int
    ) -> list[Answered | ModelError]:
        """All of them in one turn."""
        with self._turn:
            return self._answerer.answer(prompts, temperature=temperature, max_new_tokens=max_new_tokens)

    def stream(self, prompt: Prompt, *, temperature: float, max_new_tokens: int) -> Generator[str, None, Answered]:
        """A turn for every piece."""
        pieces = stream_answer(self._answerer, prompt, temperature=temperature, max_new_tokens=max_new_tokens)
        with closing(pieces):
            while True:
                try:
                    with self._turn:
                        piece = next(pieces)
                except StopIteration as end:
                    answered: Answered = end.value
                    return answered
                yield piece


class FairLock:
    """A lock that is passed on in the order in which it was asked for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next_ticket = 0
        self._served = 0

    def __enter__(self) -> None:
        with self._changed:
            ticket = self._next_ticket
            self._next_ticket += 1
            self._changed.wait_for(lambda: self._served == ticket)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._served += 1
            self._changed.notify_all()
