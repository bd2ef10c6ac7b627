"""Log-probabilities of replies: of the distribution that is sampled from, computed on trees.

R replies of up to C tokens, T tokens of replies in all, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from timesight.model.policy import Policy
from timesight.model.vision import VisionFeatures
from timesight.prefix.layout import NO_MASK, pack
from timesight.prefix.tree import PrefixTree

# float32 vocabulary scores held at one time, on a CPU and on a GPU: 128 and 512 MiB.
CHUNK_ELEMENTS = (2**25, 2**27)


def completion_logprobs(
    policy: Policy,
    tree: PrefixTree,
    *,
    temperature: float = 1.0,
    packed: bool | None = None,
    suppress_banned: bool = True,
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy of each token of each reply.

    The distribution is the one that is sampled from: at ``temperature``, over the tokens that are not banned.

    Args:
        policy: Scores the replies.
        tree: Prompts with their replies; its ``features`` save a pass of the vision tower.
        temperature: Of the distribution.
        packed: Compute every node once. None: where the model's family allows it. False asks for the plain path,
            which computes each prompt once for each of its replies and is what tests compare with.
        suppress_banned: False: the distribution over all tokens, for text that no model sampled.

    Returns:
        Both (R, C) float32; entries outside the replies' mask are 0.
    """
    if packed is None:
        packed = policy.packing_unsupported_reason is None
    over = _Distribution(
        temperature, policy.banned_mask if suppress_banned else torch.zeros_like(policy.banned_mask)
    )
    with policy.precision():
        scores = (_score_row if packed else _score_plain)(policy, tree, tree.vision(policy), over)
    is_token = tree.leaves.mask.bool()
    empty = torch.zeros(is_token.shape, device=scores.device)
    return empty.masked_scatter(is_token, scores[:, 0]), empty.masked_scatter(is_token, scores[:, 1].detach())


class _Distribution(NamedTuple):
    """Which one is scored: at ``temperature``, over the tokens that are not ``banned``, (V,)."""

    temperature: float
    banned: Tensor


def _score_row(policy: Policy, tree: PrefixTree, features: VisionFeatures, over: _Distribution) -> Tensor:
    """(T, 2) log-probability and entropy of each token of the leaves, every node computed once."""
    row = pack(tree, policy.processor.tokenizer.pad_token_id)
    with _scoring_head(policy, tree, row.predicted_by, over):
        output = policy(
            input_ids=row.input_ids,
            attention_mask=NO_MASK.to(row.input_ids.device),
            position_ids=row.position_ids,
            mm_encoder_outputs=features.inputs,
            tree_layout=row.tree_layout,
            logits_to_keep=row.predicting,
            use_cache=False,
        )
    scores: Tensor = output.logits[0]
    return scores


def _score_plain(policy: Policy, tree: PrefixTree, features: VisionFeatures, over: _Distribution) -> Tensor:
    """(T, 2) as ``_score_row``, each prompt computed once for each of its replies."""
    prompts, replies = tree.levels  # questions that share a root have no separate rows: build with share=False
    rows = replies.parents
    num_replies, num_tokens = replies.input_ids.shape
    videos = [video for prompt in rows.tolist() for video in tree.videos_of[prompt]]
    # Of the num_tokens + 1 places that are kept of each row, the last one predicts nothing.
    places = torch.arange(num_replies * (num_tokens + 1), device=rows.device).view(num_replies, -1)[:, :-1]
    with _scoring_head(policy, tree, places[replies.mask.bool()], over):
        output = policy(
            input_ids=torch.cat([prompts.input_ids[rows], replies.input_ids], dim=1),
            attention_mask=torch.cat([prompts.mask[rows], replies.mask], dim=1),
            position_ids=torch.cat([prompts.position_ids[:, rows], replies.position_ids], dim=2),  # (3, R, P + C)
            mm_encoder_outputs=features.pick(videos).inputs,
            logits_to_keep=num_tokens + 1,
            use_cache=False,
        )
    scores: Tensor = output.logits[0]
    return scores


@contextmanager
def _scoring_head(policy: Policy, tree: PrefixTree, predicted_by: Tensor, over: _Distribution) -> Iterator[None]:
    """In place of logits the model gives (1, T, 2) scores of the leaves' tokens, so that full logits never exist.

    The head runs inside the model's own forward, whatever the model is wrapped in for several GPUs.
    """
    head = policy.model.get_output_embeddings()
    compute, patched = head.forward, head.__dict__.get("forward")
    tokens = tree.leaves.input_ids[tree.leaves.mask.bool()]

    def forward(hidden: Tensor) -> Tensor:
        """(B, K, H) hidden states."""
        chosen = hidden.flatten(0, 1).index_select(0, predicted_by)
        return token_scores(compute, chosen, tokens, over.banned, over.temperature)[None]

    head.forward = forward
    try:
        yield
    finally:
        del head.forward
        if patched is not None:
            head.forward = patched


def token_scores(
    head: Callable[[Tensor], Tensor], hidden: Tensor, tokens: Tensor, banned: Tensor, temperature: float
) -> Tensor:
    """Log-probability and entropy of ``tokens``, from the hidden states that predict them.

    Computed in chunks, head included, that are computed again in the backward pass: vocabularies are large, and
    the scores of a whole batch would be the largest tensors of a training step.

    Args:
        head: Hidden states to logits.
        hidden: (T, H).
        tokens: (T,).
        banned: (V,) True for tokens that are never sampled.
        temperature: Of the distribution.

    Returns:
        (T, 2) float32.
    """
    size = max(1, CHUNK_ELEMENTS[hidden.device.type == "cuda"] // len(banned))
    if len(tokens) <= size:
        return _chunk_scores(head, hidden, tokens, banned, temperature)
    chunks = zip(torch.split(hidden, size), torch.split(tokens, size), strict=True)
    return torch.cat(
        [
            checkpoint(_chunk_scores, head, states, chosen, banned, temperature, use_reentrant=False)
            for states, chosen in chunks
        ]
    )


def _chunk_scores(
    head: Callable[[Tensor], Tensor], hidden: Tensor, tokens: Tensor, banned: Tensor, temperature: float
) -> Tensor:
    logps = torch.log_softmax(sampling_logits(head(hidden), banned, temperature), dim=-1)
    with torch.no_grad():
        entropy = -(logps.exp() * logps.masked_fill(banned, 0.0)).sum(-1)
    return torch.stack([logps.gather(-1, tokens[:, None]).squeeze(-1), entropy], dim=-1)


def sampling_logits(logits: Tensor, banned: Tensor, temperature: float) -> Tensor:
    """Logits (…, V) of the distribution that is sampled from, in float32; ``banned`` (V,) has no part in it."""
    return (logits.float() / temperature).masked_fill(banned, float("-inf"))
