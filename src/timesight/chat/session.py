"""A conversation with one model about one video: questions, and streamed replies with their evidence."""

from __future__ import annotations

import collections.abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from timesight.generate.base import Generator, Sampling
from timesight.infer.answer import MAX_NEW_TOKENS
from timesight.infer.ask import build_question, exchange, read_reply
from timesight.infer.clue import ClueGenerator, ClueSettings, PassEvent
from timesight.model.prompt import Exchange
from timesight.tasks import TASKS
from timesight.types import Question, Reply, Span, Video
from timesight.video import FrameBudget, FrameReader
from timesight.video.pool import Pending, VideoPool

T = TypeVar("T")
HELD_BYTES = 64 << 20  # of frames kept: about one video's, so that the next question does not decode it again


@dataclass(frozen=True)
class ChatSettings:
    """How questions are answered.

    Args:
        budget: How many frames of which size; None: the model's own.
        clue: For questions that are asked with a second look.
        think: Ask in think mode.
        temperature: 0 is greedy.
        max_new_tokens: Limit of one reply.
        remembered: Number of earlier exchanges that the model sees.
        num_boxes: Number of boxes in a track.
    """

    budget: FrameBudget | None = None
    clue: ClueSettings = field(default_factory=ClueSettings)
    think: bool = False
    temperature: float = 0.0
    max_new_tokens: int = MAX_NEW_TOKENS
    remembered: int = 4
    num_boxes: int = 8


@dataclass(frozen=True)
class Turn:
    """A question and the reply to it."""

    question: Question
    reply: Reply


class Session:
    """A conversation: the exchanges so far (``turns``), and the next question.

    Args:
        generator: The model.
        video: What all questions are about.
        settings: None: the defaults.
        pool: Processes that read the video; they may be shared. None: it is read in this process.
    """

    def __init__(
        self,
        generator: Generator,
        video: Video,
        settings: ChatSettings | None = None,
        pool: VideoPool | None = None,
    ) -> None:
        self.video = video
        self.turns: list[Turn] = []
        self._settings = settings or ChatSettings()
        self._generator = generator
        self._budget = self._settings.budget or generator.default_budget
        self._reads = None if pool is None else _Reads(pool)
        self._reader = FrameReader(self._budget, generator.factor, memory_bytes=HELD_BYTES, pool=self._reads)
        self._said: list[Exchange] = []

    def recall(self, said: Sequence[Exchange]) -> None:
        """Replace the exchanges so far, such as by those of a conversation that a client sends along."""
        self._said = list(said)

    def read(self, question: Question) -> None:
        """Read the frames for a question in advance.

        Raises:
            InputError: If the question cannot be asked.
            VideoError: If the video cannot be read.
        """
        build_question(question, self.video, self._settings.think, self._reader)

    def stop_reading(self) -> None:
        """Cancel this conversation's reads in the pool; a thread that waits for one gets CancelledError."""
        if self._reads is not None:
            self._reads.close()

    def ask(
        self, question: Question, *, clue: bool = False
    ) -> collections.abc.Generator[str | PassEvent, None, Reply]:
        """Ask a question and stream the reply.

        Closing the generator ends the reply; the question then is not part of the conversation.

        Args:
            question: The question.
            clue: Take a second look, if the question's task names spans.

        Yields:
            Pieces of the reply's text, and a ``PassEvent`` after each pass over the video.

        Returns:
            The whole reply with its evidence.

        Raises:
            InputError: If the question cannot be asked.
            VideoError: If the video cannot be read.
            ModelError: If the model gives no reply.
        """
        settings = self._settings
        earlier = self._said[-settings.remembered :] if settings.remembered else []
        sample, prompt = build_question(question, self.video, settings.think, self._reader, earlier)
        again = clue and TASKS.of(sample).names_spans  # boxes name no time to look at again
        passes = settings.clue if again else settings.clue.model_copy(update={"max_passes": 1})
        looking = ClueGenerator(self._generator, self._budget, passes, self._reads)
        sampling = Sampling(temperature=settings.temperature, max_new_tokens=settings.max_new_tokens)
        completion = yield from looking.stream_passes(prompt, sampling)
        reply = read_reply(sample, completion, settings.think)
        self._said.append(exchange(prompt, completion.text))
        self.turns.append(Turn(question, reply))
        return reply


class _Reads(VideoPool):
    """One conversation's view of a shared pool: closing it cancels the reads of this conversation only."""

    def __init__(self, pool: VideoPool) -> None:
        self._shared = pool
        self._under_way: list[Pending[Any]] = []

    def submit(self, path: Path, work: Callable[..., T], *args: Any) -> Pending[T]:
        pending = self._shared.submit(path, work, *args)
        self._under_way = [*(one for one in self._under_way if not one.done()), pending]
        return pending

    def close(self) -> None:
        for pending in self._under_way:
            pending.future.cancel()  # type: ignore[no-untyped-call]


def as_record(reply: Reply) -> dict[str, Any]:
    """Return a reply as plain values for JSON.

    Returns:
        ``text``, ``answer`` (a text or ``[start_s, end_s]``; None if the reply does not parse or its answer is of
        another kind, such as boxes), ``spans`` and ``times_s`` in seconds, ``boxes`` as ``[x0, y0, x1, y1]``
        fractions of the frame, ``passes``, and ``note``.
    """
    answer = reply.answer
    return {
        "text": reply.text,
        "answer": _pair(answer) if isinstance(answer, Span) else answer if isinstance(answer, str) else None,
        "spans": [_pair(span) for span in reply.spans],
        "boxes": [[box.x0, box.y0, box.x1, box.y1] for box in reply.boxes],
        "times_s": list(reply.times_s),
        "passes": [
            {
                "text": seen.text,
                "spans": [_pair(span) for span in seen.spans],
                "segments": [_pair(span) for span in seen.segments],
                "num_frames": seen.num_frames,
                "size_px": list(seen.size_px),
                "prompt_tokens": seen.prompt_tokens,
                "seconds": round(seen.seconds, 3),
            }
            for seen in reply.passes
        ],
        "note": reply.note,
    }


def _pair(span: Span) -> list[float]:
    return [round(span.start_s, 3), round(span.end_s, 3)]
