"""Whoever answers questions about videos: a policy of ours, any other local model, or one that is served.

Frames come sized and timed; what happens to them and to the text is up to the model's own processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from timesight.errors import ModelError
from timesight.types import Part, Pass
from timesight.video import FrameBudget, Frames


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is asked: texts and videos, with the frames of each video part, in their order."""

    parts: Sequence[Part]
    frames: Sequence[Frames]


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
