"""What a model is asked: texts and videos in turn, with the frames that were read of each video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from timesight.types import PromptPart, TextPart, VideoPart
from timesight.video import Frames


class Exchange(NamedTuple):
    """An earlier question about the same video, as it was put, and the reply to it."""

    question: str
    reply: str


class Message(NamedTuple):
    """What one side says in a conversation."""

    role: Literal["user", "assistant"]
    parts: Sequence[PromptPart]


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is asked: texts and videos, with the frames of each video part, in their order.

    Videos come before the last text, which is the question; ``earlier`` is what was said before it.
    """

    parts: Sequence[PromptPart]
    frames: Sequence[Frames]
    earlier: Sequence[Exchange] = ()

    def messages(self) -> list[Message]:
        """The conversation: the videos stand in its first message, whatever was asked about them since."""
        shown = 1 + max((n for n, part in enumerate(self.parts) if isinstance(part, VideoPart)), default=-1)
        messages: list[Message] = []
        for question, reply in self.earlier:
            messages += [Message("user", [TextPart(question)]), Message("assistant", [TextPart(reply)])]
        messages.append(Message("user", self.parts[shown:]))
        return [Message("user", [*self.parts[:shown], *messages[0].parts]), *messages[1:]]
