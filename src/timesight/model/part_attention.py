"""Attention over a tree in parts that are merged exactly: no mask, and no copy of a path for each reply.

A token's keys are its path: its own node up to itself, and all of each node above it. Each of these is one call
of a flash kernel for all tokens that it concerns, and what a token gets from several parts is merged by their
log-sum-exp. In the backward pass a part's gradients follow from its own queries,
keys and values with the merged output and logarithms, so that nothing else is kept.

Letters in shapes: L tokens in the row, N nodes of a part, n and p padded numbers of its queries and keys, T
tokens in all its nodes, H query heads, K key heads, d head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

MAX_PLAIN_LENGTH = 192  # keys; up to here two matrix products beat the flash kernel in bf16, not in float32


@dataclass(frozen=True, eq=False)
class Part:
    """Tokens that attend, and what they attend to: each to its own node, or all of them to a node above.

    Indices are those of tokens in the row; padding is on the right, with any index.
    """

    queries: Tensor  # (N, n)
    keys: Tensor  # (N, p); the queries themselves where attention is causal
    causal: bool
    is_query: Tensor | None = None  # (N, n) whether it is no padding; None: there is none
    is_key: Tensor | None = None  # (N, p)

    @cached_property
    def query_places(self) -> Tensor | None:
        """(T,) where among the N · n queries those are that are no padding; found once for all layers."""
        return _places(self.is_query)

    @cached_property
    def key_places(self) -> Tensor | None:
        """(T,) the same for keys."""
        return _places(self.is_key)

    def is_plain(self, dtype: torch.dtype) -> bool:
        """Whether it is computed in two matrix products; the flash kernel takes no padding among its keys."""
        is_padded = self.is_key is not None and not self.causal
        return self.keys.shape[1] <= MAX_PLAIN_LENGTH and (is_padded or dtype.itemsize == 2)


def part_attention(query: Tensor, key: Tensor, value: Tensor, parts: tuple[Part, ...], scaling: float) -> Tensor:
    """Causal attention in which each node of a tree sees the path to it and itself.

    query (H, L, d), key and value (K, L, d) → (L, H, d); 0 for tokens that are in no part.
    """
    if torch.is_autocast_enabled(query.device.type):  # which does not know this function
        query, key, value = (t.to(torch.get_autocast_dtype(query.device.type)) for t in (query, key, value))
    out: Tensor = _PartAttention.apply(query, key, value, parts, scaling)
    return out.transpose(0, 1)


class _PartAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, parts: tuple[Part, ...], scaling: float
    ) -> Tensor:
        out = torch.zeros(query.shape, dtype=torch.promote_types(query.dtype, torch.float32), device=query.device)
        logs = torch.full_like(out[..., 0], float("-inf"))  # (H, L)
        for part in parts:
            q, (k, v) = _queries(part, query, key), (_keys(part, t, query) for t in (key, value))
            of_part, log = _attend(part, q, k, v, scaling)
            of_part, log = (_at_tokens(part, t, query) for t in (of_part, log[..., None]))
            at = _flat(part.queries, part.query_places)
            before = logs[:, at]
            merged = torch.logaddexp(before, log[..., 0])
            out[:, at] = out[:, at] * (before - merged).exp()[..., None] + of_part * (log - merged[..., None]).exp()
            logs[:, at] = merged
        result = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, result, logs)
        ctx.parts, ctx.scaling = parts, scaling
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, logs = ctx.saved_tensors
        of_query, of_key, of_value = (torch.zeros_like(t, dtype=logs.dtype) for t in (query, key, value))
        for part in ctx.parts:
            q, o = (_queries(part, t, key) for t in (query, out))
            k, v = (_keys(part, t, query) for t in (key, value))
            grad = _queries(part, grads[0], key, padding=0.0)
            log = _queries(part, logs[..., None], key, padding=float("inf"))  # its weights are 0 then
            dq, dk, dv = _attend_backward(part, grad, q, k, v, o, log[..., 0], ctx.scaling)
            of_query.index_add_(
                1, _flat(part.queries, part.query_places), _at_tokens(part, dq, query).to(logs.dtype)
            )
            for total, of_part in ((of_key, dk), (of_value, dv)):
                index, summed = _at_keys(part, of_part, total)
                total.index_add_(1, index, summed.to(logs.dtype))
        return of_query.to(query.dtype), of_key.to(key.dtype), of_value.to(value.dtype), None, None


def _attend(part: Part, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """(N, heads, n, d) attention of a part by itself, and (N, heads, n) log-sum-exp."""
    if not part.is_plain(q.dtype):
        out, logs = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, part.causal, scale=scaling
        )
        return out, logs
    scores = _scores(part, q, k, scaling)
    weights = scores.softmax(-1)
    log = scores.amax(-1) - weights.amax(-1).log_()  # of the largest, whose score and weight are known
    return weights.to(v.dtype) @ v, log


def _attend_backward(
    part: Part, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, log: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, from the merged output and logarithms."""
    if not part.is_plain(q.dtype):
        dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, log, 0.0, part.causal, scale=scaling
        )
        return dq, dk, dv
    weights = _scores(part, q, k, scaling)
    weights.sub_(log[..., None]).exp_()  # in place, as what follows: on CPUs fresh memory is slow
    dot = (grad.to(log.dtype) * out).sum(-1, keepdim=True)
    of_scores = (grad @ v.mT).to(log.dtype).sub_(dot).mul_(weights).to(q.dtype)
    return (of_scores @ k).mul_(scaling), (of_scores.mT @ q).mul_(scaling), weights.to(grad.dtype).mT @ grad


def _scores(part: Part, q: Tensor, k: Tensor, scaling: float) -> Tensor:
    """(N, heads, n, p) in float32 or wider, -inf where a query does not see a key."""
    scores = (q @ k.mT).to(torch.promote_types(q.dtype, torch.float32)).mul_(scaling)
    if part.causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill_(hidden, float("-inf"))
    elif part.is_key is not None:
        scores = scores.masked_fill_(~part.is_key[:, None, None], float("-inf"))
    return scores


def _queries(part: Part, rows: Tensor, key: Tensor, padding: float | None = None) -> Tensor:
    """(H, L, x) as the kernel takes queries: (N, H, n, x), or (N, K, H / K · n, x) where they need no order.

    Query heads that share a key head are queries of one head then, and its keys need not be repeated.
    """
    picked = _picked(rows, part.queries)
    if padding is not None and part.is_query is not None:
        picked = picked.masked_fill(~part.is_query[:, None, :, None], padding)
    return picked if part.causal else picked.reshape(len(picked), len(key), -1, rows.shape[-1])


def _at_tokens(part: Part, of_queries: Tensor, query: Tensor) -> Tensor:
    """What the kernel gives for its queries → (H, T, x)."""
    num_nodes, num_queries = part.queries.shape
    by_head = of_queries.reshape(num_nodes, len(query), num_queries, -1).transpose(0, 1)  # (H, N, n, x)
    return _flat(by_head, part.query_places, 1)


def _keys(part: Part, rows: Tensor, query: Tensor) -> Tensor:
    """(K, L, d) as the kernel takes keys: (N, H, p, d), or (N, K, p, d) where query heads share them."""
    picked = _picked(rows, part.keys)
    return picked.repeat_interleave(len(query) // len(rows), dim=1) if part.causal else picked


def _at_keys(part: Part, of_keys: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """What the kernel gives for its keys: tokens of the row, and (K, tokens, d) for them."""
    num_nodes, _, num_keys, size = of_keys.shape
    by_head = of_keys.reshape(num_nodes, len(rows), -1, num_keys, size).sum(2).transpose(0, 1)  # (K, N, p, d)
    return _flat(part.keys, part.key_places), _flat(by_head, part.key_places, 1)


def _places(is_token: Tensor | None) -> Tensor | None:
    return None if is_token is None else is_token.flatten().nonzero().squeeze(1)


def _flat(values: Tensor, places: Tensor | None, first: int = 0) -> Tensor:
    """Dimensions N and n, the first of which is ``first``, as one of the T tokens that are no padding."""
    flat = values.flatten(first, first + 1)
    return flat if places is None else flat.index_select(first, places)


def _picked(rows: Tensor, index: Tensor) -> Tensor:
    """(heads, L, x) at index (N, n) → (N, heads, n, x)."""
    heads, _, size = rows.shape
    if rows.stride(0) < rows.stride(1):  # as projections leave it: a token's heads are copied in one go
        return rows.transpose(0, 1).index_select(0, index.flatten()).view(*index.shape, heads, size).transpose(1, 2)
    return rows.index_select(1, index.flatten()).view(heads, *index.shape, size).transpose(0, 1)
