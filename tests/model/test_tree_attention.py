"""Attention over random trees, by both kernels, against a mask over the whole row."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from timesight.model import tree_attention as module
from timesight.model.part_attention import Part
from timesight.model.tree_attention import tree_attention
from timesight.prefix import layout as layout_module
from timesight.prefix.layout import pack
from timesight.prefix.tree import Level, PrefixTree

HEADS, KEY_HEADS, SIZE = 4, 2, 8


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[list[int], list[int]]]:
    """Two to four levels of up to eight nodes: parents and lengths. Nodes below the roots may be empty."""
    counts = draw(st.lists(st.integers(1, 8), min_size=2, max_size=4))
    levels = [([0] * counts[0], draw(st.lists(st.integers(1, 9), min_size=counts[0], max_size=counts[0])))]
    for above, count in itertools.pairwise(counts):
        parents = sorted(draw(st.lists(st.integers(0, above - 1), min_size=count, max_size=count)))
        levels.append((parents, draw(st.lists(st.integers(0, 20), min_size=count, max_size=count))))
    levels[-2] = (levels[-2][0], [max(1, length) for length in levels[-2][1]])  # a reply is predicted by something
    return levels


def tree_of(levels: list[tuple[list[int], list[int]]]) -> PrefixTree:
    built = []
    for parents, lengths in levels:
        mask = (torch.arange(max(1, *lengths)) < torch.tensor(lengths)[:, None]).long()
        built.append(Level(mask, mask, mask.expand(3, -1, -1), torch.tensor(parents), torch.zeros(len(parents))))
    return PrefixTree(tuple(built), torch.zeros(0, 1), torch.zeros(0, 3), ((),) * len(levels[0][0]))


def visible(levels: list[tuple[list[int], list[int]]]) -> Tensor:
    """(n, n) which of the row's tokens each one sees, worked out token by token."""
    paths: list[list[int]] = []  # of each node: the tokens from its root to its end
    first, above, seen = 0, [], []
    for depth, (parents, lengths) in enumerate(levels):
        paths = []
        for parent, length in zip(parents, lengths, strict=True):
            path = [] if depth == 0 else list(above[parent])
            for _ in range(length):
                path.append(first)
                seen.append(list(path))
                first += 1
            paths.append(path)
        above = paths
    mask = torch.zeros(first, first, dtype=torch.bool)
    for token, keys in enumerate(seen):
        mask[token, keys] = True
    return mask


@pytest.mark.parametrize(
    ("devices", "max_plain", "always_plain"),
    [({"cpu"}, 192, False), ({"cpu"}, 192, True), ({"cpu"}, 0, False), (set(), 192, False)],
)
@settings(max_examples=40)
@given(levels=trees())
def test_every_token_sees_its_path(
    devices: set[str], max_plain: int, always_plain: bool, levels: list[tuple[list[int], list[int]]]
) -> None:
    """Outputs and gradients in float64: short nodes together or one by one, by products or by the flash kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_module, "MAX_PLAIN_LENGTH", max_plain)
        patch.setattr(layout_module, "MOST_SCORES", 400)  # a few of these small nodes
        layout = pack(tree_of(levels), 0).tree_layout
    generator = torch.Generator().manual_seed(0)
    sizes = ((HEADS, len(layout.restore)), (KEY_HEADS, len(layout.restore)), (KEY_HEADS, len(layout.restore)))
    tensors = [torch.randn(1, n, length, SIZE, generator=generator, dtype=torch.float64) for n, length in sizes]
    mask = visible(levels)
    num_tokens, scaling = len(mask), SIZE**-0.5
    weights = torch.randn(1, num_tokens, HEADS, SIZE, generator=generator, dtype=torch.float64)
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MERGING_DEVICES", devices)
        if always_plain:
            patch.setattr(Part, "is_plain", lambda part, dtype: True)
        for by_tree in (True, False):
            q, k, v = (tensor.clone().requires_grad_() for tensor in tensors)
            if by_tree:
                out = tree_attention(q, k, v, layout, scaling)[:, :num_tokens]
            else:
                keys, values = (t.repeat_interleave(HEADS // KEY_HEADS, dim=1)[:, :, :num_tokens] for t in (k, v))
                scores = (q[:, :, :num_tokens] @ keys.mT * scaling).masked_fill(~mask, float("-inf"))
                out = (scores.softmax(-1) @ values).transpose(1, 2)
            (out * weights).sum().backward()
            results.append([out.detach(), *(t.grad for t in (q, k, v))])
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-9)
