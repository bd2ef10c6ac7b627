"""A tree as one row: ``[roots | questions | replies]``, level after level, without padding between.

A plain batch repeats each prompt, its video tokens included, for each of its G replies. In the row each token is
computed once: P + G · C tokens a prompt instead of G · (P + C). Every node keeps the positions it was sampled at,
and sees the path to it and itself (``model.tree_attention.TreeLayout``), so the result is the same.

N nodes at a level, n padded length of a node, L tokens in the row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from timesight.model.part_attention import MAX_PLAIN_LENGTH, Part
from timesight.model.tree_attention import LevelLayout, TreeLayout
from timesight.prefix.tree import PrefixTree

ROW_MULTIPLE = 64  # rows and slots come in few sizes: matrix kernels are tuned, or on CPUs compiled, for each size
SLOT_MULTIPLE = 8
MOST_SCORES = 2**18  # of each head in a part of several nodes: more do not fit a cache, and memory is slow
# A mask of four dimensions is taken as it is: with this one no mask is made, and attention over trees reads none.
NO_MASK = torch.zeros(1, 1, 1, 1)


@dataclass(frozen=True, eq=False)
class PackedRow:
    """A tree as one row of L tokens, ready for the model.

    T is the number of tokens of the leaves, K the number of places whose logits predict one.
    """

    input_ids: Tensor  # (1, L)
    position_ids: Tensor  # (3, 1, L)
    tree_layout: TreeLayout
    predicting: (
        Tensor  # (K,) index in the row of each token that predicts: leaves' parents' last, then the leaves' own
    )
    predicted_by: Tensor  # (T,) for each token of the leaves, in row order, its place in ``predicting``


@dataclass(frozen=True, eq=False)
class _Placed:
    """A level in the row."""

    slots: Tensor  # (N, n) index in the row of each token, padded on the right with 0
    lengths: Tensor  # (N,)
    paths: (
        Tensor  # (N, p) index in the row of each token from the root to the node's end, padded on the right with 0
    )
    path_lengths: Tensor  # (N,)


def pack(tree: PrefixTree, pad_id: int) -> PackedRow:
    """Lay out a tree as one row; its leaves are what is predicted."""
    device = tree.leaves.input_ids.device
    has_token = [level.mask.bool() for level in tree.levels]
    num_tokens = sum(int(mask.sum()) for mask in has_token)
    tail = -num_tokens % ROW_MULTIPLE
    ids = [level.input_ids[mask] for level, mask in zip(tree.levels, has_token, strict=True)]
    positions = [level.position_ids[:, mask] for level, mask in zip(tree.levels, has_token, strict=True)]

    layouts: list[LevelLayout] = []
    parts: list[Part] = []
    borders: list[list[int]] = []
    restore: list[Tensor] = []
    above: _Placed | None = None
    parent: _Placed | None = None
    first, num_slots = 0, 0
    for level, mask in zip(tree.levels, has_token, strict=True):
        parent, lengths = above, mask.sum(1)
        slots = _slots(lengths, first)
        layout, place = _layout(slots, lengths, level.parents, parent)
        layouts.append(layout)
        parts += _own_parts(slots, lengths, is_root=parent is None)
        borders.append([first, *(first + lengths.cumsum(0)).tolist()])
        restore.append(place + num_slots)
        above = _Placed(slots, lengths, *_paths(slots, lengths, level.parents, parent))
        first, num_slots = first + int(lengths.sum()), num_slots + layout.nodes.numel()
    assert above is not None
    return PackedRow(
        input_ids=torch.cat([*ids, ids[0].new_full((tail,), pad_id)])[None],
        position_ids=torch.cat([*positions, positions[0].new_zeros(3, tail)], dim=1)[:, None],
        tree_layout=TreeLayout(
            tuple(layouts),
            restore=torch.cat([*restore, restore[0].new_zeros(tail)]),
            parts=(*parts, *_path_parts(borders, [level.parents.tolist() for level in tree.levels], device)),
        ),
        **_predictions(above, tree.leaves.parents, parent, device),
    )


def _own_parts(slots: Tensor, lengths: Tensor, *, is_root: bool) -> Iterator[Part]:
    """What attends to its own node: long roots one by one, all else together with nodes that are about as long."""
    if is_root and slots.shape[1] > MAX_PLAIN_LENGTH:
        for node, length in zip(slots, lengths.tolist(), strict=True):
            yield Part(node[None, :length], node[None, :length], causal=True)
        return
    for nodes in _alike(lengths.tolist(), lengths.tolist()):
        own = lengths[nodes]
        tokens = slots[nodes, : _round_up(int(own.max()), SLOT_MULTIPLE)]
        is_token = _is_token(own, tokens)
        yield Part(tokens, tokens, causal=True, is_query=is_token, is_key=is_token)


def _path_parts(
    borders: Sequence[Sequence[int]], parents: Sequence[Sequence[int]], device: torch.device
) -> Iterator[Part]:
    """What attends to a node above: of each node, all tokens of the nodes below it.

    Short nodes of a level are computed together with those that have about as many tokens below them. ``borders``
    of the nodes in the row, level by level; what lies below a node is one stretch of each level.
    """
    for depth, mine in enumerate(borders[:-1]):
        queries, keys = [], []
        for node, (start, end) in enumerate(pairwise(mine)):
            first, last, below = node, node + 1, []
            for level in range(depth + 1, len(borders)):
                first, last = (bisect_left(parents[level], of) for of in (first, last))
                below.append(torch.arange(borders[level][first], borders[level][last], device=device))
            if start < end and any(len(tokens) for tokens in below):
                queries.append(torch.cat(below))
                keys.append(torch.arange(start, end, device=device))
        if keys and max(map(len, keys)) <= MAX_PLAIN_LENGTH:
            for nodes in _alike(*([len(tokens) for tokens in rows] for rows in (queries, keys))):
                (q, is_query), (k, is_key) = (_padded([rows[node] for node in nodes]) for rows in (queries, keys))
                yield Part(q, k, causal=False, is_query=is_query, is_key=is_key)
        else:
            yield from (Part(q[None], k[None], causal=False) for q, k in zip(queries, keys, strict=True))


def _alike(num_queries: Sequence[int], num_keys: Sequence[int]) -> Iterator[list[int]]:
    """Nodes to be computed together, by their numbers of queries, without those that have none.

    Each has at most about twice as many as the others: a batch may hold letters next to captions, and padded to the
    same length most of what is computed would be padding. And there are few enough of them for a cache.
    """
    groups: dict[int, list[int]] = {}
    for node, count in enumerate(num_queries):
        if count:
            groups.setdefault(((count - 1) // SLOT_MULTIPLE).bit_length(), []).append(node)
    for nodes in groups.values():
        scores = max(num_queries[node] for node in nodes) * max(num_keys[node] for node in nodes)
        together = max(1, MOST_SCORES // scores)
        yield from (nodes[first : first + together] for first in range(0, len(nodes), together))


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of indices as one tensor (N, n), padded on the right with 0, and whether each is no padding."""
    padded = pad_sequence(list(rows), batch_first=True)
    return padded, _is_token(torch.tensor([len(row) for row in rows], device=padded.device), padded)


def _is_token(lengths: Tensor, slots: Tensor) -> Tensor:
    """(N, n) whether each slot holds one of the ``lengths`` tokens of its node."""
    return torch.arange(slots.shape[1], device=slots.device) < lengths[:, None]


def _slots(lengths: Tensor, first: int) -> Tensor:
    """(N, n) index of each token of N nodes that lie one after the other from index ``first``; 0 in padding."""
    longest = _round_up(max(1, int(lengths.max())), SLOT_MULTIPLE)
    steps = torch.arange(longest, device=lengths.device)
    starts = first + lengths.cumsum(0) - lengths
    return torch.where(steps < lengths[:, None], starts[:, None] + steps, 0)


def _layout(slots: Tensor, lengths: Tensor, parents: Tensor, parent: _Placed | None) -> tuple[LevelLayout, Tensor]:
    """A level by the paths its nodes continue, and for each of its tokens its index among the level's slots."""
    longest = slots.shape[1]
    if parent is None:
        nodes, row = slots[:, None], torch.arange(len(slots), device=slots.device)
        paths, path_lengths = slots.new_zeros(len(slots), 0), [0] * len(slots)
    else:
        counts = torch.bincount(parents, minlength=len(parent.slots))
        group = int(counts.max())
        row = (
            parents * group + torch.arange(len(parents), device=slots.device) - (counts.cumsum(0) - counts)[parents]
        )
        nodes = slots.new_zeros(len(counts) * group, longest)
        nodes[row] = slots
        nodes = nodes.view(len(counts), group, longest)
        paths, path_lengths = parent.paths, parent.path_lengths.tolist()
    node_lengths = lengths.new_zeros(nodes.shape[0] * nodes.shape[1])
    node_lengths[row] = lengths
    steps = torch.arange(longest, device=slots.device)
    place = (row[:, None] * longest + steps)[steps < lengths[:, None]]
    return LevelLayout(nodes, tuple(node_lengths.tolist()), paths, tuple(path_lengths)), place


def _paths(slots: Tensor, lengths: Tensor, parents: Tensor, parent: _Placed | None) -> tuple[Tensor, Tensor]:
    """(N, p) index of each token from the root to each node's end, and how many there are."""
    if parent is None:
        return slots, lengths
    before = parent.path_lengths[parents]
    total = before + lengths
    steps = torch.arange(_round_up(int(total.max()), SLOT_MULTIPLE), device=slots.device).expand(len(slots), -1)
    width = parent.paths.shape[1]
    both = torch.cat([parent.paths[parents], slots], dim=1)
    source = torch.where(steps < before[:, None], steps, steps - before[:, None] + width)
    picked = both.gather(1, source.clamp(0, both.shape[1] - 1))
    return torch.where(steps < total[:, None], picked, 0), total


def _predictions(
    leaves: _Placed, parents: Tensor, parent: _Placed | None, device: torch.device
) -> dict[str, Tensor]:
    """A node's last token predicts the first token of each leaf after it, a leaf's token the one after it."""
    assert parent is not None  # a tree without replies predicts nothing
    steps = torch.arange(leaves.slots.shape[1], device=device)
    inside = steps < leaves.lengths[:, None]
    predicts = inside & (steps < leaves.lengths[:, None] - 1)
    order = torch.full_like(leaves.slots, -1)
    order[predicts] = torch.arange(int(predicts.sum()), device=device) + len(parent.slots)
    before = torch.nn.functional.pad(order[:, :-1], (1, 0))
    last = parent.slots.gather(1, parent.lengths[:, None] - 1).squeeze(1)
    return {
        "predicting": torch.cat([last, leaves.slots[predicts]]),
        "predicted_by": torch.where(steps == 0, parents[:, None], before)[inside],
    }


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
