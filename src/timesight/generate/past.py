"""What replies continue: the caches of a prefilled tree, and of each reply's own tokens.

N nodes of a level, R rows, S tokens a step, V vocabulary.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from timesight.model.policy import Policy
from timesight.model.tree_attention import PastLevel, TreePast
from timesight.prefix.layout import NO_MASK
from timesight.prefix.tree import Level, PrefixTree

MAX_SLOTS_PER_ROW = 4  # more of them empty would cost more than copies of nodes


def prefill(policy: Policy, tree: PrefixTree, group: int) -> tuple[Past, Tensor]:
    """Compute each node of the prompts once.

    Returns:
        What the R rows continue, ``group`` of them to each prompt in order; and the logits (R, V) of their first
        tokens.
    """
    root = tree.levels[0]
    cache = DynamicCache(config=policy.model.config.get_text_config())
    output = policy.model(
        input_ids=root.input_ids,
        attention_mask=root.mask,
        position_ids=root.position_ids,
        mm_encoder_outputs=tree.vision(policy).inputs,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = output.logits[:, -1]
    if policy.packing_unsupported_reason is not None:
        (_,) = tree.levels  # questions that share a root: build with share=False
        past: Past = WidenedCache(policy, cache, root.mask, group)
    else:
        past = tree_past = TreeCache(policy, cache, root.mask == 0)
        for level in tree.levels[1:]:
            logits = tree_past.extend(level)
        tree_past.branch(group)
    return past, logits.repeat_interleave(group, dim=0)


class Past(Protocol):
    """What replies continue."""

    def retain(self, rows: Sequence[int]) -> None:
        """Keep these rows alone, in this order, and what they need."""

    def advance(self, tokens: Tensor, position_ids: Tensor) -> Tensor:
        """S more tokens in each row (R, S), at ``position_ids`` (3, R, S); logits (R, V) of the next."""


class TreeCache:
    """A cache for each level of the tree, its nodes there once, and one of each row's own tokens.

    Args:
        policy: The model.
        cache: Of the roots.
        padding: (N, P) True where a root has no token.
    """

    def __init__(self, policy: Policy, cache: Any, padding: Tensor) -> None:
        self._policy = policy
        self._nodes = [list(range(len(padding)))]  # at each level the node of each row
        self.levels: tuple[PastLevel, ...] = (PastLevel(cache, padding),)
        self._own = self._new_cache()

    def _new_cache(self) -> Any:
        return DynamicCache(config=self._policy.model.config.get_text_config())

    def extend(self, level: Level) -> Tensor:
        """Prefill ``level``, whose nodes are the rows from then on; returns the logits (N, V) after each."""
        parents, padding = level.parents.tolist(), level.mask == 0
        self._place_rows([[nodes[parent] for parent in parents] for nodes in self._nodes])
        logits = self._advance(level.input_ids, level.position_ids, padding)
        self._nodes.append(list(range(len(padding))))
        self.levels = (*self.levels, PastLevel(self._own, padding))
        self._own = self._new_cache()
        return logits

    def branch(self, group: int) -> None:
        """From then on there are ``group`` rows in place of each."""
        self._place_rows([[node for node in nodes for _ in range(group)] for nodes in self._nodes])

    def retain(self, rows: Sequence[int]) -> None:
        """See ``Past``."""
        index = torch.tensor(rows, device=self.levels[0].padding.device)
        self._place_rows([[nodes[row] for row in rows] for nodes in self._nodes])
        if self._own.get_seq_length() > 0:
            self._own.batch_select_indices(index)

    def _place_rows(self, nodes: list[list[int]]) -> None:
        """Rows continue these ``nodes``, level by level; nodes without rows are left behind."""
        placed = [_place(level, of_rows) for level, of_rows in zip(self.levels, nodes, strict=True)]
        self.levels = tuple(level for level, _ in placed)
        self._nodes = [of_rows for _, of_rows in placed]

    def advance(self, tokens: Tensor, position_ids: Tensor) -> Tensor:
        """See ``Past``."""
        return self._advance(tokens, position_ids, None)

    def _advance(self, tokens: Tensor, position_ids: Tensor, padding: Tensor | None) -> Tensor:
        past = TreePast(self.levels, own_padding=padding)
        return _next_logits(
            self._policy, tokens, position_ids, NO_MASK.to(tokens.device), self._own, tree_past=past
        )


def _place(level: PastLevel, nodes: Sequence[int]) -> tuple[PastLevel, list[int]]:
    """``level`` for rows that continue ``nodes``, without nodes that have none; and those nodes' new numbers."""
    cache, padding = level.cache, level.padding
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, node in enumerate(nodes):
        rows_of[node].append(row)
    parts = _split_crowded(sorted(rows_of.items()))
    kept = [node for node, _ in parts]
    if kept != list(range(len(padding))):
        index = torch.tensor(kept, device=padding.device)
        cache.batch_select_indices(index)
        padding = padding[index]
    most = max(len(rows) for _, rows in parts)
    slot_of = {row: node * most + n for node, (_, rows) in enumerate(parts) for n, row in enumerate(rows)}
    slots = [slot_of[row] for row in range(len(nodes))]
    placed = [slot // most for slot in slots]
    if slots == list(range(len(parts) * most)):
        return PastLevel(cache, padding), placed
    filled = [row for _, rows in parts for row in rows + [0] * (most - len(rows))]
    rows, at = (torch.tensor(index, device=padding.device) for index in (filled, slots))
    return PastLevel(cache, padding, rows, at), placed


def _split_crowded(rows_of: list[tuple[int, list[int]]]) -> list[tuple[int, list[int]]]:
    """Nodes with their rows; where slots would be mostly empty, nodes that have many rows come several times.

    Segments of second looks are such nodes: many replies choose one, few choose each of the others. Copies are at
    most as many as the nodes.
    """
    num_rows = sum(len(rows) for _, rows in rows_of)
    if len(rows_of) * max(len(rows) for _, rows in rows_of) <= MAX_SLOTS_PER_ROW * num_rows:
        return rows_of
    size = math.ceil(num_rows / len(rows_of))
    return [(node, rows[n : n + size]) for node, rows in rows_of for n in range(0, len(rows), size)]


class WidenedCache:
    """The prompts' cache repeated for each reply: for models whose attention is not ours."""

    def __init__(self, policy: Policy, cache: Any, mask: Tensor, group: int) -> None:
        self._policy = policy
        self._cache = cache
        self._cache.batch_repeat_interleave(group)
        self._mask = mask.repeat_interleave(group, dim=0)

    def retain(self, rows: Sequence[int]) -> None:
        """See ``Past``."""
        index = torch.tensor(rows, device=self._mask.device)
        self._cache.batch_select_indices(index)
        self._mask = self._mask[index]

    def advance(self, tokens: Tensor, position_ids: Tensor) -> Tensor:
        """See ``Past``."""
        self._mask = torch.nn.functional.pad(self._mask, (0, tokens.shape[1]), value=1)
        return _next_logits(self._policy, tokens, position_ids, self._mask, self._cache)


def _next_logits(
    policy: Policy, tokens: Tensor, position_ids: Tensor, mask: Tensor, cache: Any, **shared: TreePast
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
