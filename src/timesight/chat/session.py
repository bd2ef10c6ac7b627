"""A conversation about one video with one model: questions in, replies with their evidence out, piece by piece."""

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
HELD_BYTES = 64 << 20  # of frames: about one video's, so that the next question does not decode it again


@dataclass(frozen=True)
class ChatSettings:
    """How questions are answered. Of what was said before, the model sees the last ``remembered`` exchanges."""

    budget: FrameBudget | None = None  # the model's own if None
    clue: ClueSettings = field(default_factory=ClueSettings)  # for questions that look again
    think: bool = False
    temperature: float = 0.0
    max_new_tokens: int = MAX_NEW_TOKENS
    remembered: int = 4
    num_boxes: int = 8  # of a track


@dataclass(frozen=True)
class Turn:
    """A question that was answered."""

    question: Question
    reply: Reply


class Session:
    """The conversation so far, and the next question. A ``pool`` of processes reads the video, if one is given."""

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
        """Take ``said`` for what was said so far: a conversation that was held elsewhere."""
        self._said = list(said)

    def read(self, question: Question) -> None:
        """Read the frames that ``question`` is put with; asking it then begins at once. Raises as ``ask`` does."""
        build_question(question, self.video, self._settings.think, self._reader)

    def stop_reading(self) -> None:
        """Call off what a pool of processes is reading: whoever waits for it gets CancelledError."""
        if self._reads is not None:
            self._reads.close()

    def ask(
        self, question: Question, *, clue: bool = False
    ) -> collections.abc.Generator[str | PassEvent, None, Reply]:
        """The reply in pieces, after each look what was seen in it, and at the end the whole.

        Closing the generator ends the writing, and the question counts as not asked. Raises InputError for a
        question that cannot be asked, VideoError for a video that cannot be read, ModelError where no reply comes.
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
    """A pool that others use too, as one conversation sees it: closing it ends this conversation's reads only."""

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
    """``reply`` as plain values: what scripts and other programs get."""
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
