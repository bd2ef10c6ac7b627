"""The queue of questions: a limit of active replies and of waiting questions, and one model shared token by token.

Each reply runs in a thread. The active ones take turns at the model, a token each, so that a long video or a long
reply does not block the others.
"""

from __future__ import annotations

import asyncio
import collections.abc
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from timesight.chat.session import Session
from timesight.chat.web.settings import RefusedError
from timesight.errors import ModelError, TimesightError
from timesight.generate.base import Completion, CompletionStream, Generator, Sampling, WrappedGenerator
from timesight.infer.clue import PassEvent
from timesight.model.prompt import Prompt
from timesight.types import Question, Reply

LOG = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Done(Generic[R]):
    """The end of a stream, with its result."""

    result: R


class RequestScheduler:
    """Runs generators in threads and limits their number.

    Args:
        max_active: Most generators that run at the same time.
        max_waiting: Most that wait for their turn; more are refused.
    """

    def __init__(self, max_active: int, max_waiting: int) -> None:
        self._most = max_active + max_waiting
        self._places = asyncio.Semaphore(max_active)
        self._threads = ThreadPoolExecutor(max_active, thread_name_prefix="reply")
        self._reading = ThreadPoolExecutor(self._most, thread_name_prefix="reading")
        self._stops: set[threading.Event] = set()
        self.num_waiting = 0

    @property
    def num_active(self) -> int:
        """Number of active replies."""
        return len(self._stops)

    @property
    def is_busy(self) -> bool:
        """Whether a question has to wait for its turn."""
        return self._places.locked()

    def require_room(self) -> None:
        """Raise RefusedError (503) if the queue is full."""
        if self.num_active + self.num_waiting >= self._most:
            raise RefusedError(
                503, f"it is full: {self.num_waiting} questions are waiting already; try again in a minute"
            )

    async def ask(
        self, session: Session, question: Question, *, clue: bool
    ) -> AsyncGenerator[str | PassEvent | Done[Reply], None]:
        """Run ``session.ask``; the video is read before the question becomes active.

        Closing the generator early also cancels the reading.

        Args:
            session: The conversation.
            question: The question.
            clue: Take a second look.

        Yields:
            What ``session.ask`` yields, then ``Done`` with the reply.

        Raises:
            RefusedError: As ``run``.
            TimesightError: As ``session.ask``.
        """
        work = session.ask(question, clue=clue)
        try:
            async with aclosing(self.run(work, lambda: session.read(question))) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            session.stop_reading()

    async def run(
        self, work: collections.abc.Generator[T, None, R], before: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[T | Done[R], None]:
        """Run a generator in a thread when its turn comes.

        Closing the returned generator early ends ``work`` at its next piece.

        Args:
            work: Closed at the end.
            before: Called in another thread before ``work`` queues for its turn.

        Yields:
            What ``work`` yields, then ``Done`` with what it returns.

        Raises:
            RefusedError: 503 if the queue is full; 500 for an unexpected error, which is logged.
            TimesightError: As raised by ``before`` and ``work``.
        """
        self.require_room()
        loop = asyncio.get_running_loop()
        self.num_waiting += 1
        try:
            await loop.run_in_executor(self._reading, before)
            await self._places.acquire()
        except TimesightError:
            raise
        except Exception as error:
            raise _unforeseen(error) from None
        finally:
            self.num_waiting -= 1
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
        """End all replies at their next piece; the scheduler cannot be used afterwards."""
        for stop in self._stops:
            stop.set()
        for threads in (self._reading, self._threads):
            threads.shutdown(wait=False, cancel_futures=True)


def _go_through(work: collections.abc.Generator[Any, None, Any], stop: threading.Event, put: Any) -> None:
    with closing(work):
        try:
            while not stop.is_set():
                put(next(work))
        except StopIteration as end:
            put(Done(end.value))
        except TimesightError as error:
            put(error)
        except Exception as error:
            if not stop.is_set():  # else nothing waits for it, and its reading may have been canceled
                put(_unforeseen(error))
        else:
            put(ModelError("the reply was stopped"))


def _unforeseen(error: Exception) -> RefusedError:
    """Log an unexpected error, and return the error that the visitor sees."""
    LOG.error("a reply failed", exc_info=error)
    return RefusedError(500, "the reply failed; the administrator finds the reason in the server's log")


class InterleavedGenerator(WrappedGenerator):
    """A generator that several threads can use at once: they take turns, a piece each.

    Args:
        generator: The model, which is used by one thread at a time.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator)
        self._turn = FairLock()

    def generate(
        self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
    ) -> list[list[Completion] | ModelError]:
        """As in the base, in one turn."""
        with self._turn:
            return self._generator.generate(prompts, num_generations, sampling)

    def stream(self, prompt: Prompt, sampling: Sampling | None = None) -> CompletionStream:
        """As in the base, with a turn for each piece."""
        pieces = self._generator.stream(prompt, sampling)
        with closing(pieces):
            while True:
                try:
                    with self._turn:
                        piece = next(pieces)
                except StopIteration as end:
                    completion: Completion = end.value
                    return completion
                yield piece


class FairLock:
    """A lock that threads get in the order in which they ask for it."""

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
