"""Log-probabilities of completions, by the plain path: every completion in a row of its own.

B prompts, R completions (rows), P prompt length, C completion length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from timesight.policy.encode import PromptBatch
from timesight.policy.load import Policy


@dataclass(frozen=True, eq=False)
class Completions:
    """Replies as token ids, padded on the right; each belongs to one prompt."""

    ids: Tensor  # (R, C)
    mask: Tensor  # (R, C) 1 where there is a token, the end token included
    prompt_of: Tensor  # (R,) index of the prompt

    @staticmethod
    def of(rows: Sequence[Sequence[int]], prompt_of: Sequence[int], device: torch.device) -> Completions:
        """Pad ``rows`` of token ids; an empty row gets a mask of zeros."""
        longest = max(1, *(len(row) for row in rows))
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[index, : len(row)] = 1
        return Completions(ids.to(device), mask.to(device), torch.tensor(prompt_of, device=device))


def encode_vision(policy: Policy, prompts: PromptBatch) -> Any:
    """Run the vision tower once over all videos of ``prompts``; the family's own output type."""
    return policy.core.get_video_features(prompts.patches, prompts.grid_thw, return_dict=True)


def repeat_vision(features: Any, prompts: PromptBatch, prompt_of: Sequence[int]) -> dict[str, Any]:
    """``features`` laid out for rows that stand for the prompts ``prompt_of``; no video is encoded again."""
    videos = [video for prompt in prompt_of for video in prompts.videos_of[prompt]]
    repeated = type(features)(pooler_output=tuple(features.pooler_output[v] for v in videos))
    if getattr(features, "deepstack_features", None) is not None:
        repeated.deepstack_features = [tuple(layer[v] for v in videos) for layer in features.deepstack_features]
    return {"video": repeated}


def completion_logprobs(
    policy: Policy,
    prompts: PromptBatch,
    completions: Completions,
    *,
    features: Any = None,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy (both (R, C), float32) of each token of each completion.

    The distribution is the one that is sampled from: at ``temperature``, over the tokens that are not
    banned. Entries outside the mask are 0. ``features`` from ``encode_vision`` saves a pass of the tower.
    """
    rows = completions.prompt_of
    with policy.precision():
        if features is None:
            features = encode_vision(policy, prompts)
        num_tokens = completions.ids.shape[1]
        steps = torch.arange(num_tokens, device=rows.device)
        positions = prompts.next_position[rows][:, None] + steps  # (R, C)
        output = policy.model(
            input_ids=torch.cat([prompts.input_ids[rows], completions.ids], dim=1),
            attention_mask=torch.cat([prompts.mask[rows], completions.mask], dim=1),
            position_ids=torch.cat(
                [prompts.position_ids[:, rows], positions.expand(3, -1, -1)], dim=2
            ),  # (3, R, P + C)
            mm_encoder_outputs=repeat_vision(features, prompts, rows.tolist()),
            logits_to_keep=num_tokens + 1,
            use_cache=False,
        )
    return token_logprobs(policy, output.logits[:, :-1], completions, temperature)


def token_logprobs(
    policy: Policy, logits: Tensor, completions: Completions, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy (R, C) from the logits (R, C, V) that predict each completion token."""
    logits = sampling_logits(policy, logits, temperature)
    logps = torch.log_softmax(logits, dim=-1)
    chosen = logps.gather(-1, completions.ids[..., None]).squeeze(-1)
    with torch.no_grad():
        entropy = -(logps.exp() * logps.masked_fill(policy.banned_mask, 0.0)).sum(-1)
    outside = completions.mask == 0
    return chosen.masked_fill(outside, 0.0), entropy.masked_fill(outside, 0.0)


def sampling_logits(policy: Policy, logits: Tensor, temperature: float) -> Tensor:
    """Logits (…, V) of the distribution that is sampled from, in float32."""
    return (logits.float() / temperature).masked_fill(policy.banned_mask, float("-inf"))
