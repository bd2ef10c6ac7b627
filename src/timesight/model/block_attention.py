"""Attention over a tree in blocks that are merged exactly: every key and value is read where it lies.

A token's keys are its path: its own node up to itself, and all of each node above it. Each of these blocks is one
call of a flash kernel, without a mask and without a copy of the path for each reply; two blocks are merged by the
logarithms of their sums of exponentials. In the backward pass a block's gradients follow from its own queries, keys
and values with the merged output and logarithm, so that nothing else is kept.

Letters in shapes: L tokens in the row, N nodes of a level, n padded length of a node, H query heads, K key heads,
d head size, m queries of a block, p keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Span = tuple[int, int]  # first token in the row, and the one after the last

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Block:
    """A node, and where in the row the nodes below it lie, level by level: all of their tokens see all of it."""

    keys: Span
    queries: tuple[Span, ...]


@dataclass(frozen=True, eq=False)
class BlockLayout:
    """A tree as blocks."""

    roots: tuple[Span, ...]
    nodes: tuple[tuple[Tensor, Tensor], ...]  # of each deeper level: (N, n) index in the row, and whether it is one
    blocks: tuple[Block, ...]


def block_attention(query: Tensor, key: Tensor, value: Tensor, layout: BlockLayout, scaling: float) -> Tensor:
    """Causal attention in which each node of a tree sees the path to it and itself.

    query (H, L, d), key and value (K, L, d) → (L, H, d); 0 for tokens that are in no node.
    """
    if torch.is_autocast_enabled(query.device.type):  # which does not know this function
        query, key, value = (t.to(torch.get_autocast_dtype(query.device.type)) for t in (query, key, value))
    out: Tensor = _TreeAttention.apply(query, key, value, layout, scaling)
    return out.transpose(0, 1)


class _TreeAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: BlockLayout, scaling: float) -> Tensor:
        wide = torch.promote_types(query.dtype, torch.float32)
        out = torch.zeros(query.shape, dtype=wide)
        logs = torch.full(query.shape[:2], float("-inf"), dtype=wide)  # (H, L)
        repeats = len(query) // len(key)
        for start, end in layout.roots:
            q, (k, v) = query[None, :, start:end], (_repeated(t[None, :, start:end], repeats) for t in (key, value))
            part, log = _flash(q, k, v, 0.0, True, scale=scaling)
            out[:, start:end], logs[:, start:end] = part[0], log[0]
        for nodes, is_token in layout.nodes:
            q, (k, v) = _pick(query, nodes), (_repeated(_pick(t, nodes), repeats) for t in (key, value))
            part, log = _flash(q, k, v, 0.0, True, scale=scaling)  # padding lies behind every token that counts
            at = nodes[is_token]
            out[:, at] = part.transpose(0, 1)[:, is_token].to(wide)
            logs[:, at] = log.transpose(0, 1)[:, is_token]
        for block in layout.blocks:
            start, end = block.keys
            q = _folded(_join(query, block.queries), len(key))
            part, log = _flash(q, key[None, :, start:end], value[None, :, start:end], 0.0, False, scale=scaling)
            part, log = part.reshape(len(query), -1, query.shape[-1]), log.reshape(len(query), -1)
            for (first, last), o, lse in zip(
                block.queries, _split(part, block.queries), _split(log, block.queries), strict=True
            ):
                merged = torch.logaddexp(logs[:, first:last], lse)
                out[:, first:last] *= (logs[:, first:last] - merged).exp_()[..., None]
                out[:, first:last] += o * (lse - merged).exp_()[..., None]
                logs[:, first:last] = merged
        result = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, result, logs)
        ctx.layout, ctx.scaling = layout, scaling
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, logs = ctx.saved_tensors
        layout: BlockLayout = ctx.layout
        (grad,) = grads
        wide, num_keys = logs.dtype, len(key)
        dq, dk, dv = (torch.zeros(t.shape, dtype=wide) for t in (query, key, value))
        repeats = len(query) // num_keys
        backward: Callable[..., tuple[Tensor, Tensor, Tensor]] = _flash_backward
        for start, end in layout.roots:
            g, q, o = (t[None, :, start:end] for t in (grad, query, out))
            k, v = (_repeated(t[None, :, start:end], repeats) for t in (key, value))
            of_q, of_k, of_v = backward(g, q, k, v, o, logs[None, :, start:end], 0.0, True, scale=ctx.scaling)
            dq[:, start:end] = of_q[0]
            dk[:, start:end] = _summed(of_k, repeats)[0]
            dv[:, start:end] = _summed(of_v, repeats)[0]
        for nodes, is_token in layout.nodes:
            q, o, (k, v) = (
                _pick(query, nodes),
                _pick(out, nodes),
                (_repeated(_pick(t, nodes), repeats) for t in (key, value)),
            )
            g = _pick(grad, nodes) * is_token[:, None, :, None]
            log = logs[:, nodes].transpose(0, 1)
            of_q, of_k, of_v = backward(g, q, k, v, o, log, 0.0, True, scale=ctx.scaling)
            at = nodes[is_token]
            dq[:, at] = of_q.transpose(0, 1)[:, is_token].to(wide)
            dk[:, at] = _summed(of_k, repeats).transpose(0, 1)[:, is_token].to(wide)
            dv[:, at] = _summed(of_v, repeats).transpose(0, 1)[:, is_token].to(wide)
        for block in layout.blocks:
            start, end = block.keys
            g, q, o = (_folded(_join(t, block.queries), num_keys) for t in (grad, query, out))
            log = _join(logs, block.queries).reshape(1, num_keys, -1)
            k, v = (t[None, :, start:end] for t in (key, value))
            of_q, of_k, of_v = backward(g, q, k, v, o, log, 0.0, False, scale=ctx.scaling)
            parts = _split(of_q.reshape(len(query), -1, query.shape[-1]), block.queries)
            for (first, last), part in zip(block.queries, parts, strict=True):
                dq[:, first:last] += part
            dk[:, start:end] += of_k[0]
            dv[:, start:end] += of_v[0]
        return dq.to(query.dtype), dk.to(key.dtype), dv.to(value.dtype), None, None


def _pick(rows: Tensor, index: Tensor) -> Tensor:
    """(heads, L, d) at index (N, n) → (N, heads, n, d)."""
    return rows.index_select(1, index.flatten()).view(len(rows), *index.shape, -1).transpose(0, 1)


def _join(rows: Tensor, spans: tuple[Span, ...]) -> Tensor:
    """The tokens of ``spans`` of (heads, L, …), one span after the other."""
    return torch.cat([rows[:, first:last] for first, last in spans], dim=1)


def _split(rows: Tensor, spans: tuple[Span, ...]) -> tuple[Tensor, ...]:
    """What ``_join`` has joined."""
    return torch.split(rows, [last - first for first, last in spans], dim=1)


def _folded(rows: Tensor, num_keys: int) -> Tensor:
    """(H, m, d) → (1, K, H / K · m, d): query heads that share a key head as queries of one head."""
    return rows.reshape(1, num_keys, -1, rows.shape[-1])


def _repeated(rows: Tensor, repeats: int) -> Tensor:
    """(N, K, n, d) → (N, H, n, d)."""
    return rows.repeat_interleave(repeats, dim=1)


def _summed(rows: Tensor, repeats: int) -> Tensor:
    """(N, H, n, d) → (N, K, n, d), what ``_repeated`` gives back to each key head."""
    return rows.reshape(len(rows), -1, repeats, *rows.shape[2:]).sum(2)
