"""A policy as an ``Answerer``, and which kind of answerer a name stands for."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import chain

from timesight.errors import ModelError, TimesightError
from timesight.generate.base import Answered, Answerer
from timesight.generate.decode import Sampled, generate, generate_answers, stream_reply
from timesight.generate.hf import ForeignModel
from timesight.generate.served import Endpoint
from timesight.model.encode import EncodedPrompt, collate, encode_prompt
from timesight.model.load import is_policy, load_policy
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.prefix.layout import whole_prompt_reason
from timesight.prefix.questions import encode_prompts, lay_out
from timesight.types import TextPart
from timesight.video import FrameBudget

COLDEST = 1e-3  # temperatures below count as 0: scores divided by less than this have no finite exponent


class PolicyAnswerer:
    """A Qwen-VL policy. Questions that follow each other on the same frames share their encoding and prefill.

    ``share=False`` goes through every prompt on its own: what tests and benchmarks compare with.
    """

    def __init__(self, policy: Policy, *, share: bool = True) -> None:
        self.policy = policy
        self.name = policy.name
        self._share = share and whole_prompt_reason(policy) is None
        self._most_tokens: int = policy.model.config.get_text_config().max_position_embeddings
        added = policy.processor.tokenizer.added_tokens_decoder.values()
        self._marks = [token.content for token in added if token.content.startswith("<|")]

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
        """The reply to each prompt, all in one batch, or why it cannot be put to the model."""
        marked = [self._marked(prompt) for prompt in prompts]
        groups = self._encode([prompt for prompt, error in zip(prompts, marked, strict=True) if error is None])
        fitting = [kept for group in groups if (kept := [one for one in group if self._too_long(one) is None])]
        answers = self._answers(fitting, temperature, max_new_tokens)
        encoded = chain.from_iterable(groups)
        return [error or self._too_long(next(encoded)) or next(answers) for error in marked]

    def stream(self, prompt: Prompt, *, temperature: float, max_new_tokens: int) -> Generator[str, None, Answered]:
        """The reply to ``prompt``, token by token. Raises ModelError where there is none, for whatever reason."""
        try:
            if (error := self._marked(prompt)) is not None:
                raise error
            encoded = encode_prompt(self.policy, prompt)
            if (error := self._too_long(encoded)) is not None:
                raise error
            batch = collate(self.policy, [encoded])
            sampled = yield from stream_reply(
                self.policy, batch, temperature=_steady(temperature), max_new_tokens=max_new_tokens
            )
        except TimesightError:
            raise
        except Exception as error:  # such as memory that has run out
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"{self.name}: gives no reply ({reason})") from error
        return Answered(sampled.texts[0], sampled.truncated[0], len(encoded), len(sampled.ids[0]))

    def _marked(self, prompt: Prompt) -> ModelError | None:
        """What is wrong with a text that holds a mark of the model's own, such as that of a video's place."""
        parts = chain.from_iterable(message.parts for message in prompt.messages())
        text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
        found = next((mark for mark in self._marks if mark in text), None)
        if found is None:
            return None
        return ModelError(f"the text holds {found}, a mark of the model's own: leave it out")

    def _too_long(self, encoded: EncodedPrompt) -> ModelError | None:
        if len(encoded) <= self._most_tokens:
            return None
        return ModelError(
            f"the prompt is too long: {len(encoded)} tokens, {self.name} takes {self._most_tokens}; "
            "shorten the text, or show fewer or smaller frames"
        )

    def _encode(self, prompts: Sequence[Prompt]) -> list[list[EncodedPrompt]]:
        """Prompts in groups that share what they begin with."""
        if self._share:
            return encode_prompts(self.policy, prompts)
        return [group for prompt in prompts for group in encode_prompts(self.policy, [prompt])]

    def _answers(
        self, groups: Sequence[list[EncodedPrompt]], temperature: float, max_new_tokens: int
    ) -> Iterator[Answered]:
        if not groups:
            return
        sampled = self._sample(groups, _steady(temperature), max_new_tokens)
        rows = zip(sampled.texts, sampled.truncated, chain.from_iterable(groups), sampled.ids, strict=True)
        for text, truncated, prompt, ids in rows:
            yield Answered(text, truncated, len(prompt), len(ids))

    def _sample(self, groups: Sequence[list[EncodedPrompt]], temperature: float, max_new_tokens: int) -> Sampled:
        if any(len(group) > 1 for group in groups):
            questions = lay_out(self.policy, groups)
            return generate_answers(self.policy, questions, temperature=temperature, max_new_tokens=max_new_tokens)
        prompts = collate(self.policy, [prompt for group in groups for prompt in group])
        return generate(self.policy, prompts, temperature=temperature, max_new_tokens=max_new_tokens)


def _steady(temperature: float) -> float:
    return temperature if temperature >= COLDEST else 0.0


def open_answerer(model: str, url: str | None = None) -> Answerer:
    """Whoever answers to ``model``: the one served at ``url``, a Qwen-VL policy, or any other model of the library.

    Raises InputError for one that cannot be opened.
    """
    if url is not None:
        return Endpoint(model, url)
    return PolicyAnswerer(load_policy(model)) if is_policy(model) else ForeignModel(model)
