"""What a generator is: something that replies to prompts about videos.

Frames come sized and timed; what happens to them and to the text is up to the model's own processor.
"""

from __future__ import annotations

import collections.abc
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from timesight.errors import ModelError
from timesight.model.prompt import Prompt
from timesight.types import Pass
from timesight.video import FrameBudget


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn; names are those of ``transformers``.

    Args:
        temperature: 0 is greedy.
        max_new_tokens: A reply that gets there is cut off.
        seed: Of the random numbers; None: those of the current state.
        suppress_tokens: Ids that are never drawn, their probability shared out among the others. None: what the
            generator bans by itself, which for a policy are the control tokens of its family.
    """

    temperature: float = 0.0
    max_new_tokens: int = 256
    seed: int | None = None
    suppress_tokens: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Completion:
    """A reply with its tokens.

    Args:
        text: Without control tokens.
        token_ids: The end token included; empty where the generator does not report.
        logprobs: Of each token under the distribution that was sampled; empty where the generator does not report.
        finish_reason: ``length`` for a reply that was cut off.
        prompt_tokens: None where the generator does not report.
        completion_tokens: None where the generator does not report.
        passes: The passes over the video that led to it, where there was more than one to take.
        note: Why there were no further passes.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: Literal["stop", "length"] = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    passes: tuple[Pass, ...] = ()
    note: str = ""

    @property
    def truncated(self) -> bool:
        """Whether it was cut off."""
        return self.finish_reason == "length"


CompletionStream = collections.abc.Generator[str, None, Completion]


def as_group(replies: Sequence[Completion | ModelError]) -> list[Completion] | ModelError:
    """The replies to one prompt, or why one of them did not come."""
    error = next((reply for reply in replies if isinstance(reply, ModelError)), None)
    return error or [reply for reply in replies if isinstance(reply, Completion)]


class Generator(ABC):
    """Replies to prompts about videos.

    A new kind of generator implements ``generate``, ``factor`` and ``default_budget``, and sets ``name``.
    """

    name: str
    takes_weights = False  # whether the weights of a policy that learns have to be sent with ``update_weights``

    @property
    @abstractmethod
    def factor(self) -> int:
        """Frame sides are multiples of this many pixels."""

    @property
    @abstractmethod
    def default_budget(self) -> FrameBudget:
        """What is read of a video by default."""

    @abstractmethod
    def generate(
        self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
    ) -> list[list[Completion] | ModelError]:
        """``num_generations`` replies to each prompt, or why this one gets none.

        Raises:
            ModelError: If no prompt can get any, such as from a server that is not there.
        """

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling | None = None) -> list[Completion | ModelError]:
        """One reply to each prompt. Raises as ``generate`` does."""
        outcomes = self.generate(prompts, 1, sampling)
        return [outcome if isinstance(outcome, ModelError) else outcome[0] for outcome in outcomes]

    def stream(self, prompt: Prompt, sampling: Sampling | None = None) -> CompletionStream:
        """The reply piece by piece, and at the end as a whole; in one piece where the generator cannot stream.

        Closing the stream ends the generation.

        Raises:
            ModelError: If there is no reply.
        """
        (completion,) = self.answer([prompt], sampling)
        if isinstance(completion, ModelError):
            raise completion
        yield completion.text
        return completion

    def update_weights(self, policy: Any, version: int, weights: Mapping[str, Any] | None = None) -> None:
        """Go on with the weights of ``policy``, which are those after ``version`` updates.

        Args:
            policy: As it is now.
            version: Number of updates.
            weights: Of the whole model, where the policy's own are sharded.

        Raises:
            ModelError: If the generator's model does not learn.
        """
        raise ModelError(f"{self.name}: does not take new weights")


class WrappedGenerator(Generator):
    """Base of generators that answer by another one; frames are read as that one wants them."""

    def __init__(self, generator: Generator) -> None:
        self.name = generator.name
        self._generator = generator

    @property
    def factor(self) -> int:
        """The generator's own."""
        return self._generator.factor

    @property
    def default_budget(self) -> FrameBudget:
        """The generator's own."""
        return self._generator.default_budget
