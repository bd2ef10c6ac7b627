"""Sampling replies: each prompt is prefilled once, and its cache is there once for the whole group.

B prompts, G replies a prompt, R = B · G rows, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from timesight.generate.static import StaticDecoder
from timesight.model.attention import SharedPast
from timesight.model.encode import PromptBatch
from timesight.model.policy import Policy
from timesight.model.vision import VisionFeatures, encode_vision
from timesight.prefix.layout import NO_MASK, whole_prompt_reason
from timesight.prefix.logprobs import sampling_logits
from timesight.prefix.questions import Questions


@dataclass(frozen=True, eq=False)
class Sampled:
    """Replies to a batch of prompts, row by row: the G replies to prompt 0, then those to prompt 1, …"""

    ids: list[list[int]]  # R rows of token ids, the end token included where there is one
    logps: list[list[float]]  # log-probability of each of those tokens when it was sampled
    truncated: list[bool]  # R, True where the reply ran into the limit
    texts: list[str]  # R, without control tokens


@torch.no_grad()
def generate(
    policy: Policy,
    prompts: PromptBatch,
    *,
    num_generations: int = 1,
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    features: VisionFeatures | None = None,
    static: bool | None = None,
) -> Sampled:
    """Sample ``num_generations`` replies to each prompt; ``temperature`` 0 is greedy.

    Vision and control tokens are banned; the log-probabilities are those of the distribution that was
    sampled. Rows that have ended leave the batch, so that long replies do not keep short ones alive; or, with
    ``static``, a step keeps its shape and a GPU replays it as a graph. None: where ``captures`` says so.
    """
    with _sampling(policy):
        if captures(policy) if static is None else static:
            rows = _decode_static(policy, prompts, num_generations, features, max_new_tokens, temperature)
        else:
            rows = _last(_steps(policy, prompts, num_generations, features, max_new_tokens, temperature))
        return _sampled(policy, rows)


def captures(policy: Policy) -> bool:
    """Whether a decoding step of ``policy`` can be kept as a CUDA graph."""
    return (
        policy.device.type == "cuda"
        and whole_prompt_reason(policy) is None
        and not policy.autocast_bf16  # its casts of weights do not outlive the capture
        and not getattr(policy.model, "is_quantized", False)  # not tried
    )


@torch.no_grad()
def generate_answers(
    policy: Policy, questions: Questions, *, max_new_tokens: int = 256, temperature: float = 0.0
) -> Sampled:
    """A reply to each of ``questions``, of which those with a common beginning go on from one cache of it.

    For policies whose attention is ours (``whole_prompt_reason`` None). ``temperature`` as in ``generate``.
    """
    with _sampling(policy):
        _, cache = _prefill(policy, questions.prefixes, None)
        past = _SharedPast(policy, questions.prefixes, cache, questions.group, questions.padding)
        start = _Start(
            past, past.advance(questions.ids, questions.position_ids), questions.next_position, list(questions.rows)
        )
        return _sampled(policy, _last(_decode(policy, start, max_new_tokens, temperature)))


def stream_reply(
    policy: Policy, prompt: PromptBatch, *, max_new_tokens: int = 256, temperature: float = 0.0
) -> Generator[str, None, Sampled]:
    """The reply to one prompt, piece by piece as it is sampled, and at the end all of it."""
    steps = _steps(policy, prompt, 1, None, max_new_tokens, temperature)
    rows: list[_Row] = []
    shown = ""
    while True:
        with torch.no_grad(), _sampling(policy):  # not while somebody else has the thread
            grown = next(steps, None)
        if grown is None:
            return _sampled(policy, rows)
        rows = grown
        text = _sampled(policy, rows).texts[0]
        if not text.endswith("\ufffd"):  # half of a character
            yield text[len(shown) :]
            shown = text


@contextmanager
def _sampling(policy: Policy) -> Iterator[None]:
    training = policy.model.training
    policy.model.eval()
    try:
        with policy.precision():
            yield
    finally:
        policy.model.train(training)


def _sampled(policy: Policy, rows: Sequence[_Row]) -> Sampled:
    ids = [row.ids for row in rows]
    ended = [bool(row.ids) and row.ids[-1] in policy.end_ids for row in rows]
    texts = policy.processor.tokenizer.batch_decode(
        [row[:-1] if done else row for row, done in zip(ids, ended, strict=True)], skip_special_tokens=True
    )
    return Sampled(ids, [row.logps for row in rows], [not done for done in ended], texts)


def _prefill(policy: Policy, prompts: PromptBatch, features: VisionFeatures | None) -> tuple[Any, Any]:
    """The model's output on ``prompts``, and their cache."""
    cache = DynamicCache(config=policy.model.config.get_text_config())
    features = encode_vision(policy, prompts) if features is None else features
    output = policy.model(
        input_ids=prompts.input_ids,
        attention_mask=prompts.mask,
        position_ids=prompts.position_ids,
        mm_encoder_outputs=features.inputs,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output, cache


@dataclass
class _Row:
    """A reply as it grows."""

    ids: list[int]
    logps: list[float]


@dataclass(frozen=True, eq=False)
class _Start:
    """Where sampling begins: what rows go on from, and what each of them says first."""

    past: _Past
    logits: Tensor  # (R, V)
    position: Tensor  # (R,) of the first token
    rows: list[int]  # R, which reply each slot of the batch goes on with; the first slot of two counts


def _steps(
    policy: Policy,
    prompts: PromptBatch,
    num_generations: int,
    features: VisionFeatures | None,
    max_new_tokens: int,
    temperature: float,
) -> Iterator[list[_Row]]:
    """The replies as they grow, after each token."""
    output, cache = _prefill(policy, prompts, features)
    past: _Past = (_SharedPast if whole_prompt_reason(policy) is None else _WidenedPast)(
        policy, prompts, cache, num_generations
    )
    start = _Start(
        past,
        output.logits[:, -1].repeat_interleave(num_generations, dim=0),
        prompts.next_position.repeat_interleave(num_generations),
        list(range(len(prompts.input_ids) * num_generations)),
    )
    yield from _decode(policy, start, max_new_tokens, temperature)


def _decode_static(
    policy: Policy,
    prompts: PromptBatch,
    num_generations: int,
    features: VisionFeatures | None,
    max_new_tokens: int,
    temperature: float,
) -> list[_Row]:
    """The replies by a step of fixed shape, cut where they end."""
    output, cache = _prefill(policy, prompts, features)
    decoder = StaticDecoder(
        policy,
        SharedPast(cache, prompts.mask == 0),
        prompts.next_position.repeat_interleave(num_generations),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
    )
    if captures(policy) and max_new_tokens > 1:
        decoder.capture()
    decoder.start(output.logits[:, -1].repeat_interleave(num_generations, dim=0))
    length = decoder.run()
    rows = []
    for ids, logps in zip(decoder.ids[:, :length].tolist(), decoder.logps[:, :length].tolist(), strict=True):
        end = next((n + 1 for n, token in enumerate(ids) if token in policy.end_ids), length)
        rows.append(_Row(ids[:end], logps[:end]))
    return rows


def _last(steps: Iterator[list[_Row]]) -> list[_Row]:
    return deque(steps, maxlen=1).pop()


def _decode(policy: Policy, start: _Start, max_new_tokens: int, temperature: float) -> Iterator[list[_Row]]:
    """The replies after each token."""
    past, logits, position, slots = start.past, start.logits, start.position, start.rows
    rows = [_Row([], []) for _ in range(max(slots) + 1)]
    for step in range(max_new_tokens):
        tokens, logps = _draw(policy, logits, temperature)
        _append(rows, slots, step, tokens.tolist(), logps.tolist())
        yield rows
        kept = past.keep(_alive(rows, slots, policy.end_ids))
        if not kept or step == max_new_tokens - 1:
            break
        if kept != list(range(len(slots))):
            index = torch.tensor(kept, device=tokens.device)
            past.select(index)
            tokens, position, slots = tokens[index], position[index], [slots[i] for i in kept]
        logits = past.advance(tokens[:, None], position.expand(3, -1)[:, :, None])
        position = position + 1


class _Past(Protocol):
    """What replies go on from."""

    def keep(self, alive: Sequence[bool]) -> list[int]:
        """The slots that stay in the batch; a slot may stand in for another to keep the batch in shape."""

    def select(self, index: Tensor) -> None:
        """Leave all other slots behind."""

    def advance(self, tokens: Tensor, position_ids: Tensor) -> Tensor:
        """S more tokens in each slot (R, S), at ``position_ids`` (3, R, S); logits (R, V) of the next."""


class _SharedPast:
    """The prompts' cache, there once, and a cache of each row's own tokens."""

    def __init__(
        self, policy: Policy, prompts: PromptBatch, cache: Any, group: int, own_padding: Tensor | None = None
    ) -> None:
        self._policy = policy
        self._prompts = SharedPast(cache, prompts.mask == 0, own_padding)
        self._own = DynamicCache(config=policy.model.config.get_text_config())
        self._group = group

    def keep(self, alive: Sequence[bool]) -> list[int]:
        # Every prompt keeps as many slots as the one with most replies alive; the first of its own fill them up.
        groups = [range(first, first + self._group) for first in range(0, len(alive), self._group)]
        living = [mine for slots in groups if (mine := [slot for slot in slots if alive[slot]])]
        most = max(map(len, living), default=0)
        return [slot for mine in living for slot in mine + mine[:1] * (most - len(mine))]

    def select(self, index: Tensor) -> None:
        prompt_of = torch.div(index, self._group, rounding_mode="floor")
        prompts: Tensor = torch.unique_consecutive(prompt_of)
        self._prompts = self._prompts.select(prompts, index)
        self._group = len(index) // len(prompts)
        if self._own.get_seq_length() > 0:
            self._own.batch_select_indices(index)

    def advance(self, tokens: Tensor, position_ids: Tensor) -> Tensor:
        return _next_logits(
            self._policy, tokens, position_ids, NO_MASK.to(tokens.device), self._own, shared_past=self._prompts
        )


class _WidenedPast:
    """The prompts' cache repeated for each reply: for models whose attention is not ours."""

    def __init__(self, policy: Policy, prompts: PromptBatch, cache: Any, group: int) -> None:
        self._policy = policy
        self._cache = cache
        self._cache.batch_repeat_interleave(group)
        self._mask = prompts.mask.repeat_interleave(group, dim=0)

    def keep(self, alive: Sequence[bool]) -> list[int]:
        return [slot for slot, is_alive in enumerate(alive) if is_alive]

    def select(self, index: Tensor) -> None:
        self._cache.batch_select_indices(index)
        self._mask = self._mask[index]

    def advance(self, tokens: Tensor, position_ids: Tensor) -> Tensor:
        self._mask = torch.nn.functional.pad(self._mask, (0, tokens.shape[1]), value=1)
        return _next_logits(self._policy, tokens, position_ids, self._mask, self._cache)


def _next_logits(
    policy: Policy, tokens: Tensor, position_ids: Tensor, mask: Tensor, cache: Any, **shared: SharedPast
) -> Tensor:
    logits: Tensor = policy.model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=position_ids,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
        **shared,
    ).logits[:, -1]
    return logits


def _draw(policy: Policy, logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """One token a row and its log-probability, both (R,)."""
    logps = torch.log_softmax(sampling_logits(policy, logits, temperature or 1.0), dim=-1)
    tokens = logps.argmax(-1) if temperature == 0 else torch.multinomial(logps.exp(), 1).squeeze(-1)
    return tokens, logps.gather(-1, tokens[:, None]).squeeze(-1)


def _alive(rows: Sequence[_Row], slots: Sequence[int], end_ids: Container[int]) -> list[bool]:
    """Which slots have a row of their own that goes on; the first of two slots with one row is its own."""
    first = {row: slot for slot, row in reversed(list(enumerate(slots)))}
    return [first[row] == slot and rows[row].ids[-1] not in end_ids for slot, row in enumerate(slots)]


def _append(
    rows: Sequence[_Row], slots: Sequence[int], step: int, tokens: Sequence[int], logps: Sequence[float]
) -> None:
    """Add a token to each row; of two slots that go on with the same row the first one counts."""
    for row, token, logp in zip(slots, tokens, logps, strict=True):
        if len(rows[row].ids) == step:
            rows[row].ids.append(token)
            rows[row].logps.append(logp)
