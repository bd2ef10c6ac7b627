"""Whoever answers questions about videos: a policy of ours, any other local model, or one that is served.

Frames come sized and timed; what happens to them and to the text is up to the model's own processor.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from timesight.errors import ModelError
from timesight.model.prompt import Prompt
from timesight.types import Pass
from timesight.video import FrameBudget


@dataclass(frozen=True)
class Answered:
    """A reply, and what it took. Token counts are None where the model does not tell.

    ``passes`` are the looks that led to it, where there was more than one to take; ``note`` says why there was not.
    """

    text: str
    truncated: bool  # ran into the limit of new tokens
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    passes: tuple[Pass, ...] = ()
    note: str = ""


class Answerer(Protocol):
    """A model that answers questions about videos."""

    name: str

    @property
    def factor(self) -> int:
        """Frame sides are multiples of this many pixels."""

    @property
    def default_budget(self) -> FrameBudget:
        """What is read of a video unless somebody says otherwise."""

    def answer(
        self, prompts: Sequence[Prompt], *, temperature: float, max_new_tokens: int
    ) -> list[Answered | ModelError]:
        """The reply to each prompt, or why this one got none; ``temperature`` 0 is greedy.

        Raises ModelError where none can be answered, such as a server that is not there.
        """


@runtime_checkable
class StreamingAnswerer(Protocol):
    """An answerer whose replies can be read while they are written."""

    def stream(self, prompt: Prompt, *, temperature: float, max_new_tokens: int) -> Generator[str, None, Answered]:
        """The reply piece by piece, and at the end as a whole. Closing the generator ends the writing.

        Raises ModelError where there is no reply.
        """


def stream_answer(
    answerer: Answerer, prompt: Prompt, *, temperature: float, max_new_tokens: int
) -> Generator[str, None, Answered]:
    """``StreamingAnswerer.stream``; of an answerer that cannot stream, the whole reply in one piece."""
    if isinstance(answerer, StreamingAnswerer):
        return (yield from answerer.stream(prompt, temperature=temperature, max_new_tokens=max_new_tokens))
    (answered,) = answerer.answer([prompt], temperature=temperature, max_new_tokens=max_new_tokens)
    if isinstance(answered, ModelError):
        raise answered
    yield answered.text
    return answered
