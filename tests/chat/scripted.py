"""A model for conversations that says what it is told to, word by word."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from timesight.errors import ModelError
from timesight.generate.base import Answered
from timesight.model.prompt import Prompt
from timesight.types import TextPart
from timesight.video import FrameBudget


class Scripted:
    """Answers with ``reply``, in which ``{question}`` stands for the first line of what was asked."""

    factor = 28
    default_budget = FrameBudget(fps=2.0, min_pixels=784, max_pixels=4704, max_frames=16)

    def __init__(self, name: str, reply: str = "", word_s: float = 0.0) -> None:
        self.name = name
        self.reply = reply or "<answer>{question}</answer><glue>[(1.0, 2.0), (2.4, 2.8)]</glue>"
        self.word_s = word_s
        self.running = 0
        self.prompts: list[Prompt] = []

    def answer(
        self, prompts: Sequence[Prompt], *, temperature: float, max_new_tokens: int
    ) -> list[Answered | ModelError]:
        """All at once."""
        raise AssertionError("conversations stream")

    def stream(self, prompt: Prompt, *, temperature: float, max_new_tokens: int) -> Generator[str, None, Answered]:
        """Word by word."""
        self.prompts.append(prompt)
        if self.reply.startswith("!"):
            raise ModelError(self.reply[1:])
        asked = prompt.parts[-1]
        assert isinstance(asked, TextPart)
        text = self.reply.replace("{question}", asked.text.split("\n")[0])
        words = text.split(" ")
        self.running += 1
        try:
            for number, word in enumerate(words[:max_new_tokens]):
                time.sleep(self.word_s)
                yield word if number == 0 else f" {word}"
        finally:
            self.running -= 1
        said = " ".join(words[:max_new_tokens])
        return Answered(said, len(words) > max_new_tokens, 10, len(words[:max_new_tokens]))
