"""Sampling replies: each prompt is prefilled once, its cache is widened to the group, then decoded together.

B prompts, G replies a prompt, R = B · G rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache

from timesight.policy.encode import PromptBatch
from timesight.policy.logprobs import sampling_logits
from timesight.policy.policy import Policy
from timesight.policy.vision import VisionFeatures, encode_vision


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
) -> Sampled:
    """Sample ``num_generations`` replies to each prompt; ``temperature`` 0 is greedy.

    Vision and control tokens are banned; the log-probabilities are those of the distribution that was
    sampled. Rows that have ended leave the batch, so that long replies do not keep short ones alive.
    """
    model = policy.model
    training = model.training
    model.eval()
    try:
        with policy.precision():
            rows = _decode(policy, prompts, num_generations, max_new_tokens, temperature, features)
    finally:
        model.train(training)
    ids = [row.ids for row in rows]
    ended = [bool(row.ids) and row.ids[-1] in policy.end_ids for row in rows]
    texts = policy.processor.tokenizer.batch_decode(
        [row[:-1] if done else row for row, done in zip(ids, ended, strict=True)], skip_special_tokens=True
    )
    return Sampled(ids, [row.logps for row in rows], [not done for done in ended], texts)


@dataclass
class _Row:
    """A reply as it grows."""

    ids: list[int]
    logps: list[float]


def _decode(
    policy: Policy,
    prompts: PromptBatch,
    group: int,
    max_new_tokens: int,
    temperature: float,
    features: VisionFeatures | None,
) -> list[_Row]:
    cache = DynamicCache(config=policy.model.config.get_text_config())
    features = encode_vision(policy, prompts) if features is None else features
    output = policy.model(
        input_ids=prompts.input_ids,
        attention_mask=prompts.mask,
        position_ids=prompts.position_ids,
        mm_encoder_outputs={"video": features},
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_repeat_interleave(group)
    logits = output.logits[:, -1].repeat_interleave(group, dim=0)  # (R, V)
    mask = prompts.mask.repeat_interleave(group, dim=0)
    position = prompts.next_position.repeat_interleave(group)  # (R,)
    rows = [_Row([], []) for _ in range(len(logits))]
    alive = list(range(len(rows)))
    for step in range(max_new_tokens):
        tokens, logps = _draw(policy, logits, temperature)
        _append(rows, alive, tokens.tolist(), logps.tolist())
        keep = [i for i, row in enumerate(alive) if rows[row].ids[-1] not in policy.end_ids]
        if not keep or step == max_new_tokens - 1:
            break
        if len(keep) < len(alive):
            index = torch.tensor(keep, device=tokens.device)
            cache.batch_select_indices(index)
            tokens, mask, position = tokens[index], mask[index], position[index]
            alive = [alive[i] for i in keep]
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        logits = policy.model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=position.expand(3, -1)[:, :, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        position = position + 1
    return rows


def _draw(policy: Policy, logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """One token a row and its log-probability, both (R,)."""
    logps = torch.log_softmax(sampling_logits(policy, logits, temperature or 1.0), dim=-1)
    tokens = logps.argmax(-1) if temperature == 0 else torch.multinomial(logps.exp(), 1).squeeze(-1)
    return tokens, logps.gather(-1, tokens[:, None]).squeeze(-1)


def _append(rows: Sequence[_Row], alive: Sequence[int], tokens: Sequence[int], logps: Sequence[float]) -> None:
    for row, token, logp in zip(alive, tokens, logps, strict=True):
        rows[row].ids.append(token)
        rows[row].logps.append(logp)
