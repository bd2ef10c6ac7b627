"""Log-probabilities of replies: of the distribution that is sampled from, computed on trees.

R replies of up to C tokens, T tokens of replies in all, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from timesight.model.policy import Policy
from timesight.model.vision import VisionFeatures
from timesight.prefix.layout import NO_MASK, pack
from timesight.prefix.tree import PrefixTree

CHUNK_ELEMENTS = 2**25  # of float32 vocabulary scores held at one time: 128 MiB


def completion_logprobs(
    policy: Policy, tree: PrefixTree, *, temperature: float = 1.0, packed: bool | None = None
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each token of each reply.

    The distribution is the one that is sampled from: at ``temperature``, over the tokens that are not banned.

    Args:
        policy: Scores the replies.
        tree: Prompts with their replies; its ``features`` save a pass of the vision tower.
        temperature: Of the distribution.
        packed: Compute every node once. None: where the model's family allows it. False asks for the plain path,
            which computes each prompt once for each of its replies and is what tests compare with.

    Returns:
        Both (R, C) float32; entries outside the replies' mask are 0.
    """
    if packed is None:
        packed = policy.packing_unsupported_reason is None
    with policy.precision():
        run = _packed_logits if packed else _plain_logits
        logits, predicted_by = run(policy, tree, tree.vision(policy))  # (K, V), (T,)
    replies = tree.leaves
    is_token = replies.mask.bool()
    logps, entropy = token_logprobs(policy, logits, predicted_by, replies.input_ids[is_token], temperature)
    empty = torch.zeros(replies.input_ids.shape, device=logps.device)
    return empty.masked_scatter(is_token, logps), empty.masked_scatter(is_token, entropy)


def _packed_logits(policy: Policy, tree: PrefixTree, features: VisionFeatures) -> tuple[Tensor, Tensor]:
    row = pack(tree, policy.processor.tokenizer.pad_token_id)
    output = policy(
        input_ids=row.input_ids,
        attention_mask=NO_MASK.to(row.input_ids.device),
        position_ids=row.position_ids,
        mm_encoder_outputs=features.inputs,
        tree_layout=row.tree_layout,
        logits_to_keep=row.predicting,
        use_cache=False,
    )
    return output.logits[0], row.predicted_by


def _plain_logits(policy: Policy, tree: PrefixTree, features: VisionFeatures) -> tuple[Tensor, Tensor]:
    prompts, replies = tree.levels  # questions that share a root have no rows of their own: build with share=False
    rows = replies.parents
    num_tokens = replies.input_ids.shape[1]
    videos = [video for prompt in rows.tolist() for video in tree.videos_of[prompt]]
    output = policy(
        input_ids=torch.cat([prompts.input_ids[rows], replies.input_ids], dim=1),
        attention_mask=torch.cat([prompts.mask[rows], replies.mask], dim=1),
        position_ids=torch.cat([prompts.position_ids[:, rows], replies.position_ids], dim=2),  # (3, R, P + C)
        mm_encoder_outputs=features.pick(videos).inputs,
        logits_to_keep=num_tokens + 1,
        use_cache=False,
    )
    return output.logits[:, :-1].flatten(0, 1), replies.mask.flatten().nonzero().squeeze(1)


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
    logps = torch.log_softmax(
        sampling_logits(logits.index_select(0, rows), policy.banned_mask, temperature), dim=-1
    )
    with torch.no_grad():
        entropy = -(logps.exp() * logps.masked_fill(policy.banned_mask, 0.0)).sum(-1)
    return logps.gather(-1, tokens[:, None]).squeeze(-1), entropy


def sampling_logits(logits: Tensor, banned: Tensor, temperature: float) -> Tensor:
    """Logits (…, V) of the distribution that is sampled from, in float32; ``banned`` (V,) has no part in it."""
    return (logits.float() / temperature).masked_fill(banned, float("-inf"))
