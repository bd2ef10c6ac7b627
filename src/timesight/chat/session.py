"""A conversation about one video with one model: questions in, replies with their evidence out, piece by piece."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from timesight.infer.answer import MAX_NEW_TOKENS, put
from timesight.infer.ask import Question, exchange, read_reply
from timesight.infer.clue import ClueAnswerer, ClueSettings
from timesight.policy.answering import Answerer, Exchange
from timesight.types import Pass, Reply, Video
from timesight.video import FrameBudget, FrameReader, ReadingSettings

HELD_BYTES = 256 << 20  # of frames: one video's, so that the next question does not decode it again


@dataclass(frozen=True)
class ChatSettings:
    """How questions are answered. Of what was said before, the last ``remembered`` exchanges are told the model."""

    budget: FrameBudget | None = None  # the model's own if None
    clue: ClueSettings = field(default_factory=ClueSettings)  # for questions that look again
    think: bool = False
    temperature: float = 0.0
    max_new_tokens: int = MAX_NEW_TOKENS
    remembered: int = 4
    reading: ReadingSettings = field(default_factory=lambda: ReadingSettings(workers=0))


@dataclass(frozen=True)
class Turn:
    """A question that was answered."""

    question: Question
    reply: Reply


class Session:
    """The conversation so far, and the next question. Close it when done, or use it in a ``with`` statement."""

    def __init__(self, answerer: Answerer, video: Video, settings: ChatSettings | None = None) -> None:
        self.video = video
        self.turns: list[Turn] = []
        self._settings = settings or ChatSettings()
        self._answerer = answerer
        self._budget = self._settings.budget or answerer.default_budget
        self._reader = FrameReader(self._budget, answerer.factor, self._settings.reading, memory_bytes=HELD_BYTES)
        self._said: list[Exchange] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, question: Question, *, clue: bool = False) -> Generator[str | Pass, None, Reply]:
        """The reply in pieces, after each look what was seen in it, and at the end the whole.

        Closing the generator ends the writing, and the question counts as not asked. Raises InputError for a
        question that cannot be asked, VideoError for a video that cannot be read, ModelError where there is no reply.
        """
        settings = self._settings
        sample = question.sample(self.video)
        earlier = self._said[-settings.remembered :] if settings.remembered else []
        prompt = put(sample, settings.think, self._reader, earlier)
        passes = settings.clue if clue else settings.clue.model_copy(update={"max_passes": 1})
        looking = ClueAnswerer(self._answerer, self._budget, passes, settings.reading)
        try:
            answered = yield from looking.stream(
                prompt, temperature=settings.temperature, max_new_tokens=settings.max_new_tokens
            )
        finally:
            looking.close()
        reply = read_reply(sample, answered, settings.think)
        self._said.append(exchange(prompt, answered.text))
        self.turns.append(Turn(question, reply))
        return reply

    def close(self) -> None:
        """End the processes that read the video, where there are any."""
        self._reader.close()
