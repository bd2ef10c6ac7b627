"""What replies go on from: the caches of a prefilled tree, and of each reply's own tokens.

N nodes of a level, R rows, S tokens a step, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from timesight.model.policy import Policy
from timesight.model.tree_attention import PastLevel, TreePast
from timesight.prefix.layout import NO_MASK
from timesight.prefix.tree import Level, PrefixTree


def prefill(policy: Policy, tree: PrefixTree, group: int) -> tuple[Past, Tensor, list[int]]:
    """What replies go on from, the logits (R, V) of their first tokens, and which reply each of the R slots is.

    Slots are as many for every node: where a root has fewer questions, its first one fills them up.
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
    nodes = list(range(len(root.input_ids)))
    if policy.packing_unsupported_reason is not None:
        (_,) = tree.levels  # questions that share a root: build with share=False
        past: Past = WidenedCache(policy, cache, root.mask, group)
    else:
        past = tree_past = TreeCache(policy, (PastLevel(cache, root.mask == 0),), ())
        for level in tree.levels[1:]:
            nodes, children = _filled(level.parents.tolist(), len(nodes))
            logits = tree_past.extend(_picked(level, torch.tensor(nodes, device=policy.device)), children)
        tree_past.branch(group)
    slots = [node * group + n for node in nodes for n in range(group)]
    return past, logits.repeat_interleave(group, dim=0), slots


def _filled(parents: Sequence[int], num_parents: int) -> tuple[list[int], int]:
    """Nodes by parent, each parent's first one repeated until all have as many; and how many that are."""
    children: list[list[int]] = [[] for _ in range(num_parents)]
    for node, parent in enumerate(parents):
        children[parent].append(node)
    most = max(map(len, children))
    return [node for mine in children for node in mine + mine[:1] * (most - len(mine))], most


def _picked(level: Level, nodes: Tensor) -> Level:
    return Level(
        level.input_ids[nodes],
        level.mask[nodes],
        level.position_ids[:, nodes],
        level.parents[nodes],
        level.next_position[nodes],
    )


class Past(Protocol):
    """What replies go on from."""

    def retain(self, alive: Sequence[bool]) -> list[int]:
        """Leave behind what no living slot needs; the slots that stay, in the order they have from then on.

        A slot may stand in for another to keep the batch in shape.
        """

    def advance(self, tokens: Tensor, position_ids: Tensor) -> Tensor:
        """S more tokens in each slot (R, S), at ``position_ids`` (3, R, S); logits (R, V) of the next."""


class TreeCache:
    """A cache for each level of the tree, its nodes there once, and one of each row's own tokens.

    ``children`` are those of each node, at every level but the last.
    """

    def __init__(self, policy: Policy, levels: tuple[PastLevel, ...], children: tuple[int, ...]) -> None:
        self._policy = policy
        self.levels = levels
        self._children = children
        self._own = self._new_cache()

    def _new_cache(self) -> Any:
        return DynamicCache(config=self._policy.model.config.get_text_config())

    def extend(self, level: Level, children: int) -> Tensor:
        """Prefill ``level``, which has so many ``children`` of every node before it; logits (N, V) after it."""
        padding = level.mask == 0
        logits = self._advance(level.input_ids, level.position_ids, padding)
        self.levels = (*self.levels, PastLevel(self._own, padding))
        self._children = (*self._children, children)
        self._own = self._new_cache()
        return logits

    def branch(self, group: int) -> None:
        """From here on every node has ``group`` rows."""
        self._children = (*self._children, group)

    def retain(self, alive: Sequence[bool]) -> list[int]:
        """See ``Past``."""
        # From the rows upwards: nodes with nothing alive go, the others are given as many children as the largest.
        blocks = [[slot] if is_alive else [] for slot, is_alive in enumerate(alive)]
        children: list[int] = []
        for count in reversed(self._children):
            living = [
                [block for block in blocks[first : first + count] if block]
                for first in range(0, len(blocks), count)
            ]
            children.insert(0, max(map(len, living)))
            blocks = [
                [slot for block in mine + mine[:1] * (children[0] - len(mine)) for slot in block] for mine in living
            ]
        kept = [slot for block in blocks for slot in block]
        if kept and kept != list(range(len(alive))):
            self._select(torch.tensor(kept, device=self.levels[0].padding.device), tuple(children))
        return kept

    def _select(self, index: Tensor, children: tuple[int, ...]) -> None:
        levels = []
        for depth, level in enumerate(self.levels):
            rows_before, rows_now = prod(self._children[depth:]), prod(children[depth:])
            levels.append(level.select(index[::rows_now] // rows_before))
        self.levels, self._children = tuple(levels), children
        if self._own.get_seq_length() > 0:
            self._own.batch_select_indices(index)

    def advance(self, tokens: Tensor, position_ids: Tensor) -> Tensor:
        """See ``Past``."""
        return self._advance(tokens, position_ids, None)

    def _advance(self, tokens: Tensor, position_ids: Tensor, padding: Tensor | None) -> Tensor:
        past = TreePast(self.levels, own_padding=padding)
        return _next_logits(
            self._policy, tokens, position_ids, NO_MASK.to(tokens.device), self._own, tree_past=past
        )


class WidenedCache:
    """The prompts' cache repeated for each reply: for models whose attention is not ours."""

    def __init__(self, policy: Policy, cache: Any, mask: Tensor, group: int) -> None:
        self._policy = policy
        self._cache = cache
        self._cache.batch_repeat_interleave(group)
        self._mask = mask.repeat_interleave(group, dim=0)

    def retain(self, alive: Sequence[bool]) -> list[int]:
        """See ``Past``."""
        kept = [slot for slot, is_alive in enumerate(alive) if is_alive]
        if kept and len(kept) < len(alive):
            index = torch.tensor(kept, device=self._mask.device)
            self._cache.batch_select_indices(index)
            self._mask = self._mask[index]
        return kept

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
