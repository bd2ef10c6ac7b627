"""A model for conversations that says what it is given, word by word."""

from __future__ import annotations

import time
from typing import Any

from timesight.errors import ModelError
from timesight.generate.base import Completion, CompletionStream, Generator, Sampling
from timesight.model.prompt import Prompt
from timesight.types import TextPart
from timesight.video import FrameBudget


class Scripted(Generator):
    """Answers with ``reply``, in which ``{question}`` stands for the first line of what was asked."""

    factor = 28
    default_budget = FrameBudget(fps=2.0, min_pixels=784, max_pixels=4704, max_frames=16)

    def __init__(self, name: str, reply: str = "", word_s: float = 0.0) -> None:
        self.name = name
        self.reply = reply or "<answer>{question}</answer><glue>[(1.0, 2.0), (2.4, 2.8)]</glue>"
        self.word_s = word_s
        self.running = 0
        self.prompts: list[Prompt] = []

    def generate(self, *unused: Any) -> Any:
        """All at once."""
        raise AssertionError("conversations stream")

    def stream(self, prompt: Prompt, sampling: Sampling | None = None) -> CompletionStream:
        """Word by word."""
        assert sampling is not None
        max_new_tokens = sampling.max_new_tokens
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
        said = words[:max_new_tokens]
        return Completion(
            " ".join(said),
            finish_reason="length" if len(words) > max_new_tokens else "stop",
            prompt_tokens=10,
            completion_tokens=len(said),
        )
