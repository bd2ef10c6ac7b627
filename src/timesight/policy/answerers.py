"""A policy as an ``Answerer``, and which kind of answerer a name stands for."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from timesight.errors import ModelError
from timesight.policy.answering import Answered, Answerer, Prompt
from timesight.policy.encode import EncodedPrompt, collate, encode_prompt
from timesight.policy.endpoint import Endpoint
from timesight.policy.foreign import ForeignModel
from timesight.policy.generate import Sampled, generate, generate_answers, stream_reply
from timesight.policy.load import is_policy, load_policy
from timesight.policy.packing import whole_prompt_reason
from timesight.policy.policy import Policy
from timesight.policy.sharing import encode_prompts, lay_out
from timesight.video import FrameBudget


class PolicyAnswerer:
    """A Qwen-VL policy. Questions that follow each other on the same frames share their encoding and prefill.

    ``share=False`` goes through every prompt on its own: what tests and benchmarks compare with.
    """

    def __init__(self, policy: Policy, *, share: bool = True) -> None:
        self.policy = policy
        self.name = policy.name
        self._share = share and whole_prompt_reason(policy) is None

    @property
    def factor(self) -> int:
        """Patch size times merge size."""
        return self.policy.factor

    @property
    def default_budget(self) -> FrameBudget:
        """The policy's own."""
        return self.policy.default_budget

    def answer(
        self, prompts: Sequence[Prompt], *, temperature: float, max_new_tokens: int
    ) -> list[Answered | ModelError]:
        """The reply to each prompt, all in one batch."""
        if not self._share:
            groups = [encoded for prompt in prompts for encoded in encode_prompts(self.policy, [prompt])]
        else:
            groups = encode_prompts(self.policy, prompts)
        encoded = [prompt for group in groups for prompt in group]
        sampled = self._sample(groups, temperature, max_new_tokens)
        return [
            Answered(text, truncated, len(prompt), len(ids))
            for text, truncated, prompt, ids in zip(
                sampled.texts, sampled.truncated, encoded, sampled.ids, strict=True
            )
        ]

    def stream(self, prompt: Prompt, *, temperature: float, max_new_tokens: int) -> Generator[str, None, Answered]:
        """The reply to ``prompt``, token by token."""
        encoded = encode_prompt(self.policy, prompt.parts, prompt.frames, prompt.earlier)
        batch = collate(self.policy, [encoded])
        sampled = yield from stream_reply(
            self.policy, batch, temperature=temperature, max_new_tokens=max_new_tokens
        )
        return Answered(sampled.texts[0], sampled.truncated[0], len(encoded), len(sampled.ids[0]))

    def _sample(self, groups: Sequence[list[EncodedPrompt]], temperature: float, max_new_tokens: int) -> Sampled:
        if any(len(group) > 1 for group in groups):
            questions = lay_out(self.policy, groups)
            return generate_answers(self.policy, questions, temperature=temperature, max_new_tokens=max_new_tokens)
        prompts = collate(self.policy, [prompt for group in groups for prompt in group])
        return generate(self.policy, prompts, temperature=temperature, max_new_tokens=max_new_tokens)


def open_answerer(model: str, url: str | None = None) -> Answerer:
    """Whoever answers to ``model``: the one served at ``url``, a Qwen-VL policy, or any other model of the library.

    Raises InputError for one that cannot be opened.
    """
    if url is not None:
        return Endpoint(model, url)
    return PolicyAnswerer(load_policy(model)) if is_policy(model) else ForeignModel(model)
