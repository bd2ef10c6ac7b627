"""Log-probabilities of completions: of the distribution that is sampled from, computed on shared prompts.

B prompts, G completions a prompt, R = B · G rows, C completion length, T completion tokens in all, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from timesight.model.encode import PromptBatch
from timesight.model.policy import Policy
from timesight.model.vision import VisionFeatures, encode_vision, repeat_vision
from timesight.prefix.layout import NO_MASK, Completions, pack, whole_prompt_reason

CHUNK_ELEMENTS = 2**25  # of float32 vocabulary scores held at one time: 128 MiB


def completion_logprobs(
    policy: Policy,
    prompts: PromptBatch,
    completions: Completions,
    *,
    features: VisionFeatures | None = None,
    temperature: float = 1.0,
    packed: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy (both (R, C), float32) of each token of each completion.

    The distribution is the one that is sampled from: at ``temperature``, over the tokens that are not
    banned. Entries outside the mask are 0. ``features`` from ``encode_vision`` saves a pass of the tower.
    Each prompt is computed once (``packed``) unless the model's family cannot do that; ``packed=False`` asks for
    the plain path, which computes it once for each completion and is what tests compare with.
    """
    if packed is None:
        packed = whole_prompt_reason(policy) is None
    with policy.precision():
        if features is None:
            features = encode_vision(policy, prompts)
        run = _packed_logits if packed else _plain_logits
        logits, predicted_by = run(policy, prompts, completions, features)  # (K, V), (T,)
    is_token = completions.mask.bool()
    logps, entropy = token_logprobs(policy, logits, predicted_by, completions.ids[is_token], temperature)
    empty = torch.zeros(completions.ids.shape, device=logps.device)
    return empty.masked_scatter(is_token, logps), empty.masked_scatter(is_token, entropy)


def _packed_logits(
    policy: Policy, prompts: PromptBatch, completions: Completions, features: VisionFeatures
) -> tuple[Tensor, Tensor]:
    row = pack(prompts, completions, policy.processor.tokenizer.pad_token_id)
    output = policy(
        input_ids=row.input_ids,
        attention_mask=NO_MASK.to(row.input_ids.device),
        position_ids=row.position_ids,
        mm_encoder_outputs=features.inputs,
        shared_prefix=row.shared_prefix,
        logits_to_keep=row.predicting,
        use_cache=False,
    )
    return output.logits[0], row.predicted_by


def _plain_logits(
    policy: Policy, prompts: PromptBatch, completions: Completions, features: VisionFeatures
) -> tuple[Tensor, Tensor]:
    rows = completions.prompt_of
    num_tokens = completions.ids.shape[1]
    output = policy(
        input_ids=torch.cat([prompts.input_ids[rows], completions.ids], dim=1),
        attention_mask=torch.cat([prompts.mask[rows], completions.mask], dim=1),
        position_ids=torch.cat(
            [prompts.position_ids[:, rows], completions.positions(prompts).expand(3, -1, -1)], dim=2
        ),  # (3, R, P + C)
        mm_encoder_outputs=repeat_vision(features, prompts, rows.tolist()).inputs,
        logits_to_keep=num_tokens + 1,
        use_cache=False,
    )
    return output.logits[:, :-1].flatten(0, 1), completions.mask.flatten().nonzero().squeeze(1)


def token_logprobs(
    policy: Policy, logits: Tensor, predicted_by: Tensor, tokens: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy (T,) of ``tokens`` (T,), each predicted by a row of ``logits`` (K, V).

    Worked off in chunks that are computed again in the backward pass: vocabularies are large, and float32
    scores of a whole batch would be the largest tensors of a training step.
    """
    size = max(1, CHUNK_ELEMENTS // logits.shape[-1])
    chunks = list(zip(torch.split(predicted_by, size), torch.split(tokens, size), strict=True))
    if len(chunks) == 1:
        return _chunk_logprobs(policy, logits, *chunks[0], temperature)
    parts = [
        checkpoint(_chunk_logprobs, policy, logits, rows, chosen, temperature, use_reentrant=False)
        for rows, chosen in chunks
    ]
    return torch.cat([logps for logps, _ in parts]), torch.cat([entropy for _, entropy in parts])


def _chunk_logprobs(
    policy: Policy, logits: Tensor, rows: Tensor, tokens: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    logps = torch.log_softmax(sampling_logits(policy, logits.index_select(0, rows), temperature), dim=-1)
    with torch.no_grad():
        entropy = -(logps.exp() * logps.masked_fill(policy.banned_mask, 0.0)).sum(-1)
    return logps.gather(-1, tokens[:, None]).squeeze(-1), entropy


def sampling_logits(policy: Policy, logits: Tensor, temperature: float) -> Tensor:
    """Logits (…, V) of the distribution that is sampled from, in float32."""
    return (logits.float() / temperature).masked_fill(policy.banned_mask, float("-inf"))
