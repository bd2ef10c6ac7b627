"""Attention over trees: each node sees the path to it and itself.

- ``tree_attention``: one row holds every node of a ``prefix.PrefixTree`` once. No mask over the row is made, so
  cost and memory grow with what is attended, not with the row squared.
- ``tree_past_attention``, while sampling: the cache of a node is stored once for all rows that continue it, and
  each row has a cache of the tokens that it adds.

Letters in shapes: L tokens in the row, N nodes of a level, B paths, G nodes on each path, P and C padded lengths of
paths and nodes, R rows, H query heads, K key heads, d head size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from timesight.model.part_attention import Part, part_attention

# Where the flash kernel returns the log-sum-exp that parts are merged by; on GPUs it has not been tried yet.
MERGING_DEVICES = {"cpu"}
MAX_GATHERED = 2**27  # elements of the keys that are gathered at a time


@dataclass(frozen=True, eq=False)
class LevelLayout:
    """Where the nodes at one depth of a tree lie in the row, and what they continue.

    Index tensors pad on the right with 0; what is computed for padding is never read.
    """

    nodes: Tensor  # (B, G, C) index in the row of each token: G nodes continue each of B paths
    node_lengths: tuple[int, ...]  # B · G
    paths: Tensor  # (B, P) index in the row of each token from the root to the nodes' parent; P is 0 for roots
    path_lengths: tuple[int, ...]  # B


@dataclass(frozen=True, eq=False)
class TreeLayout:
    """A tree as one row; given to the model as the argument ``tree_layout``."""

    levels: tuple[LevelLayout, ...]
    restore: Tensor  # (L,) each token's index among the slots of all levels, one level after the other
    parts: tuple[Part, ...]  # the same for kernels that merge


@dataclass(frozen=True, eq=False)
class PastLevel:
    """Keys and values of the nodes at one depth, each stored once for all rows that continue it.

    Where nodes have different numbers of rows, each is given as many slots as the largest has rows, in attention to
    this level only.
    """

    cache: Any  # layer by layer: (N, K, P, d)
    padding: Tensor  # (N, P) True where there is no token
    rows: Tensor | None = None  # (N · G,) the row in each slot, 0 in empty ones; None: rows are the slots, in order
    slots: Tensor | None = None  # (R,) the slot of each row

    def nodes(self, num_rows: int) -> Tensor:
        """(R,) the node that each row continues."""
        if self.rows is None or self.slots is None:
            return torch.arange(num_rows, device=self.padding.device) // (num_rows // len(self.padding))
        return self.slots // (len(self.rows) // len(self.padding))


@dataclass(frozen=True, eq=False)
class TreePast:
    """What R rows continue; given to the model as the argument ``tree_past``."""

    levels: tuple[PastLevel, ...]
    own_padding: Tensor | None = None  # (R, S) True where the first tokens of a row's own are none
    own_hidden: Tensor | None = None  # (t,) True in the slots of a cache of fixed size that are not written yet


def tree_attention(query: Tensor, key: Tensor, value: Tensor, layout: TreeLayout, scaling: float) -> Tensor:
    """Causal attention in which each node of a tree sees the path to it and itself.

    query (1, H, L, d), key and value (1, K, L, d) → (1, L, H, d). A level costs B·G·C·(P + C) products a head, and
    no mask of the row is made.
    """
    if query.device.type in MERGING_DEVICES:
        return part_attention(query[0], key[0], value[0], layout.parts, scaling)[None]
    slots = [_level(query[0], key[0], value[0], level, scaling).flatten(0, 2) for level in layout.levels]
    return torch.cat(slots).index_select(0, layout.restore)[None]


def tree_past_attention(
    query: Tensor, key: Tensor, value: Tensor, past: TreePast, layer: Any, scaling: float
) -> Tensor:
    """The next S tokens of R rows attend to the prefix of their rows and, causally, to what the rows added.

    query (R, H, S, d), own key and value (R, K, t, d) with t >= S → (R, S, H, d).
    """
    (rows, heads, steps, size), (_, kv_heads, own, _) = query.shape, key.shape
    if steps > 1 or past.own_padding is not None:
        return _extend(query, key, value, past, layer, scaling)
    queries = heads // kv_heads
    q = query.reshape(rows, kv_heads, queries, size)
    scores, values = [], []
    for level in past.levels:
        past_key, past_value = level.cache.layers[layer].keys, level.cache.layers[layer].values  # (N, K, P, d)
        values.append(past_value.to(value.dtype))
        to_past = _by_node(q, level) @ past_key.to(q.dtype).mT  # (N, K, G · H/K, P)
        scores.append(_by_row(to_past.masked_fill(level.padding[:, None, None], float("-inf")), level, queries))
    to_own = q @ key.mT  # (R, K, H/K, t)
    if past.own_hidden is not None:
        to_own = to_own.masked_fill(past.own_hidden, float("-inf"))
    joined = torch.cat([*scores, to_own], dim=-1) * scaling
    weights = torch.softmax(joined, dim=-1, dtype=torch.float32).to(value.dtype)
    *on_past, on_own = torch.split(weights, [*(v.shape[2] for v in values), own], dim=-1)
    out: Tensor = on_own @ value
    for level, on, past_value in zip(past.levels, on_past, values, strict=True):
        out = out + _by_row(_by_node(on, level) @ past_value, level, queries)
    return out.reshape(rows, heads, steps, size).transpose(1, 2)


def _extend(query: Tensor, key: Tensor, value: Tensor, past: TreePast, layer: Any, scaling: float) -> Tensor:
    """``tree_past_attention`` for many tokens a row, by fused kernels with a mask.

    The keys of a row are gathered from its nodes, a few rows at a time: scores of S tokens would take more memory.
    """
    (rows, heads, steps, size), own = query.shape, key.shape[2]
    seen_own = ~_hidden_own(past.own_padding, rows, steps, own, query.device)  # (R, S, t)
    nodes = [level.nodes(rows) for level in past.levels]
    num_keys = own + sum(level.padding.shape[1] for level in past.levels)
    at_once = max(1, MAX_GATHERED // (heads * num_keys * size))
    outs = []
    for chunk in torch.split(torch.arange(rows, device=query.device), at_once):
        keys, values, seen = [], [], []
        for level, of_rows in zip(past.levels, nodes, strict=True):
            mine, cached = of_rows[chunk], level.cache.layers[layer]
            keys.append(cached.keys[mine].to(query.dtype))
            values.append(cached.values[mine].to(query.dtype))
            seen.append(~level.padding[mine][:, None].expand(-1, steps, -1))
        k, v = torch.cat([*keys, key[chunk]], dim=2), torch.cat([*values, value[chunk]], dim=2)
        mask = torch.cat([*seen, seen_own[chunk]], dim=-1)[:, None]  # (r, 1, S, P + t)
        outs.append(_masked_attention(query[chunk], k, v, mask, scaling))
    return torch.cat(outs).transpose(1, 2)


def _by_node(rows: Tensor, level: PastLevel) -> Tensor:
    """(R, K, Q, x) → (N, K, G · Q, x): the queries of a node's rows as rows of one product."""
    slots = rows if level.rows is None else rows.index_select(0, level.rows)  # (N · G, K, Q, x)
    (num_slots, heads, queries, width), num_nodes = slots.shape, len(level.padding)
    grouped = slots.view(num_nodes, num_slots // num_nodes, heads, queries, width)
    return grouped.transpose(1, 2).flatten(2, 3)


def _by_row(nodes: Tensor, level: PastLevel, queries: int) -> Tensor:
    """(N, K, G · Q, x) → (R, K, Q, x)."""
    num_nodes, heads, _, width = nodes.shape
    slots = nodes.view(num_nodes, heads, -1, queries, width).transpose(1, 2).flatten(0, 1)
    return slots if level.slots is None else slots.index_select(0, level.slots)


def _hidden_own(padding: Tensor | None, rows: int, steps: int, own: int, device: torch.device) -> Tensor:
    """(R, S, t) True where one of a row's last ``steps`` tokens does not see one of its ``own``."""
    later = torch.ones(steps, own, dtype=torch.bool, device=device).triu(own - steps + 1)
    hidden = later.expand(rows, steps, own)
    if padding is not None:
        none = nn.functional.pad(padding, (0, own - padding.shape[1]), value=False)
        hidden = hidden | none[:, None]
    return hidden


def _masked_attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor, scaling: float) -> Tensor:
    """(B, H, Q, d), (B, K, S, d) → (B, H, Q, d), by a fused kernel."""
    # With a mask, CUDA has one only for as many key heads as query heads.
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
    return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scaling)


def _pick(rows: Tensor, index: Tensor) -> Tensor:
    """(heads, L, d) at index (B, …) → (B, heads, …, d)."""
    picked = rows.index_select(1, index.flatten())
    return picked.view(len(rows), *index.shape, rows.shape[-1]).movedim(0, 1)


def _level(query: Tensor, key: Tensor, value: Tensor, level: LevelLayout, scaling: float) -> Tensor:
    """By fused kernels with a mask, path after path: (B, G, C, H, d)."""
    if level.paths.shape[1] == 0:
        return _roots(query, key, value, level, scaling)
    _, group, length = level.nodes.shape
    outs = []
    for path, own, size in zip(level.paths, level.nodes, level.path_lengths, strict=True):
        q = _pick(query, own)  # (G, H, C, d)
        k, v = (
            torch.cat([_pick(t, path[None, :size]).expand(group, -1, -1, -1), _pick(t, own)], dim=2)
            for t in (key, value)
        )  # (G, K, p + C, d)
        seen = torch.ones(length, size + length, dtype=torch.bool, device=query.device).tril(size)
        out = _masked_attention(q, k, v, seen, scaling)
        outs.append(out.transpose(1, 2))  # (G, C, H, d)
    return torch.stack(outs)


def _roots(query: Tensor, key: Tensor, value: Tensor, level: LevelLayout, scaling: float) -> Tensor:
    """Each root by itself, without padding, so that the kernel needs no mask: (B, 1, C, H, d)."""
    longest, outs = level.nodes.shape[2], []
    for root, size in zip(level.nodes[:, 0], level.node_lengths, strict=True):
        q, k, v = (_pick(t, root[None, :size]) for t in (query, key, value))  # (1, heads, c, d)
        out = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        outs.append(nn.functional.pad(out.transpose(1, 2), (0, 0, 0, 0, 0, longest - size)))
    return torch.stack(outs)
