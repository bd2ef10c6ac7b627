"""A policy in this process as a generator, and which kind of generator a name stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch

from timesight.errors import ModelError, TimesightError
from timesight.generate.base import Completion, CompletionStream, Generator, Sampling
from timesight.generate.decode import sample_replies, stream_reply
from timesight.generate.hf import TransformersGenerator
from timesight.generate.served import ServedGenerator
from timesight.generate.vllm import VllmGenerator
from timesight.model.encode import EncodedPrompt, encode_prompts
from timesight.model.load import is_policy, load_encoder, load_policy
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.prefix.tree import build_tree
from timesight.types import TextPart
from timesight.video import FrameBudget


class LocalGenerator(Generator):
    """A Qwen-VL policy. Prompts that follow each other on the same frames share their encoding and prefill.

    Args:
        policy: Whose weights are used as they are at each call: a policy that learns needs no ``update_weights``.
        share: False goes through every prompt on its own, which is what tests and benchmarks compare with.
    """

    def __init__(self, policy: Policy, *, share: bool = True) -> None:
        self.policy = policy
        self.name = policy.name
        self._share = share and policy.packing_unsupported_reason is None
        self._most_tokens: int = policy.model.config.get_text_config().max_position_embeddings

    @property
    def factor(self) -> int:
        """Patch size times merge size."""
        return self.policy.factor

    @property
    def default_budget(self) -> FrameBudget:
        """The policy's own."""
        return self.policy.default_budget

    def generate(
        self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
    ) -> list[list[Completion] | ModelError]:
        """Replies to all prompts in one batch, or why one cannot be given to the model."""
        marked = [self._marked(prompt) for prompt in prompts]
        encoded = encode_prompts(
            self.policy, [p for p, error in zip(prompts, marked, strict=True) if error is None], share=self._share
        )
        fitting = [prompt for prompt in encoded if self._too_long(prompt) is None]
        groups = self._replies(fitting, num_generations, sampling or Sampling())
        every = iter(encoded)
        return [error or self._too_long(next(every)) or next(groups) for error in marked]

    def stream(self, prompt: Prompt, sampling: Sampling | None = None) -> CompletionStream:
        """The reply to ``prompt``, token by token. Raises ModelError where there is none, for whatever reason."""
        try:
            if (error := self._marked(prompt)) is not None:
                raise error
            (encoded,) = encode_prompts(self.policy, [prompt])
            if (error := self._too_long(encoded)) is not None:
                raise error
            tree = build_tree(self.policy, [encoded])
            completion = yield from stream_reply(self.policy, tree, sampling or Sampling())
        except TimesightError:
            raise
        except Exception as error:  # such as memory that has run out
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"{self.name}: gives no reply ({reason})") from error
        return completion

    def update_weights(self, policy: Policy, version: int, weights: Mapping[str, Any] | None = None) -> None:
        """Nothing to do: the weights are the policy's own. Raises ModelError for another policy's."""
        if policy is not self.policy:
            raise ModelError(f"{self.name}: generates with the weights of its policy only")

    def _marked(self, prompt: Prompt) -> ModelError | None:
        """What is wrong with a text that holds a special token, such as the video placeholder."""
        parts = chain.from_iterable(message.parts for message in prompt.messages())
        text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
        if (found := self.policy.special_token_in(text)) is None:
            return None
        return ModelError(f"the text holds {found}, a special token of the model: leave it out")

    def _too_long(self, encoded: EncodedPrompt) -> ModelError | None:
        if len(encoded) <= self._most_tokens:
            return None
        return ModelError(
            f"the prompt is too long: {len(encoded)} tokens, {self.name} takes {self._most_tokens}; "
            "shorten the text, or show fewer or smaller frames"
        )

    def _replies(
        self, prompts: Sequence[EncodedPrompt], group: int, sampling: Sampling
    ) -> Iterator[list[Completion]]:
        if not prompts:
            return iter(())
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        tree = build_tree(self.policy, prompts, share=self._share)
        rows = sample_replies(self.policy, tree, group, sampling)
        return iter([rows[first : first + group] for first in range(0, len(rows), group)])


def open_generator(model: str, url: str | None = None, vllm_url: str | None = None) -> Generator:
    """The generator that ``model`` stands for.

    Args:
        model: A Qwen-VL policy, any other model of ``transformers``, or the name of a served one.
        url: Where it is served.
        vllm_url: Where vLLM serves the folder ``model``, which is asked with the frames themselves.

    Raises:
        InputError: If it cannot be opened.
        ModelError: If the vLLM server does not answer.
    """
    if vllm_url is not None:
        return VllmGenerator(load_encoder(model), vllm_url)
    if url is not None:
        return ServedGenerator(model, url)
    return LocalGenerator(load_policy(model)) if is_policy(model) else TransformersGenerator(model)
