"""Making stock models fast on small machines, without changing what they compute.

On a CPU two things dominate the vision tower: the patch embedding, a convolution whose kernel equals its
stride, and thousands of tiny attention calls, one for each frame. Both become a few matrix products over
everything. In the text model the fused attention kernel's backward pass is slow at short lengths, where
plain softmax is used. All of it goes through public doors, a module's class and the attention registry,
and tests compare the results with the untouched model's.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

# Vision attention hands a whole batch, with its segment borders, only to functions whose name says "flash".
SEGMENTED = "timesight_segmented_flash"
BY_LENGTH = "timesight_by_length"
MAX_EAGER_LENGTH = 512  # plain softmax beats the fused CPU kernel's backward pass at short lengths only


def speed_up(model: Any) -> None:
    """Swap in the fast parts where they apply; does nothing on GPUs."""
    if model.device.type != "cpu":
        return
    for module in model.modules():
        if type(module) is nn.Conv3d and module.kernel_size == module.stride:
            module.__class__ = PatchLinear
    model.model.visual.config._attn_implementation = SEGMENTED
    model.model.language_model.config._attn_implementation = BY_LENGTH


class PatchLinear(nn.Conv3d):
    """A Conv3d over inputs of exactly one kernel each, computed as one matrix product."""

    def forward(self, patches: Tensor) -> Tensor:
        """(N, C, T, H, W) patches of the kernel's size → (N, out, 1, 1, 1)."""
        flat = nn.functional.linear(patches.flatten(1), self.weight.flatten(1), self.bias)  # (N, out)
        return flat[:, :, None, None, None]


def segmented_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention within segments, all segments of one length at once.

    query, key, value: (1, heads, N, head_dim); ``cu_seq_lens_q`` holds the segments' borders. Returns
    (1, N, heads, head_dim).
    """
    borders = kwargs["cu_seq_lens_q"].tolist()
    lengths = [end - start for start, end in itertools.pairwise(borders)]
    scaling = kwargs.get("scaling")
    if len(set(lengths)) == 1:
        return _attend(query, key, value, lengths[0], scaling), None
    out = torch.empty_like(query).transpose(1, 2)
    for length in sorted(set(lengths)):
        where = torch.cat([torch.arange(s, e) for s, e in itertools.pairwise(borders) if e - s == length])
        picked = _attend(query[:, :, where], key[:, :, where], value[:, :, where], length, scaling)
        out = out.index_copy(1, where, picked)
    return out, None


def _attend(query: Tensor, key: Tensor, value: Tensor, length: int, scaling: float | None) -> Tensor:
    """Segments of one ``length``: (1, heads, S · length, d) → (1, S · length, heads, d)."""
    heads, dim = query.shape[1], query.shape[3]
    q, k, v = (
        t.squeeze(0).reshape(heads, -1, length, dim).transpose(0, 1) for t in (query, key, value)
    )  # (S, heads, length, d)
    return _softmax_attention(q, k, v, None, scaling).transpose(1, 2).reshape(1, -1, heads, dim)


def attention_by_length(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention with the kernel that is faster at this length.

    query (B, heads, Q, d), key and value (B, kv_heads, K, d), additive mask (B, 1, Q, K) → (B, Q, heads, d).
    """
    groups = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(groups, dim=1) if groups > 1 else t for t in (key, value))
    mask = None if attention_mask is None else attention_mask[..., : key.shape[2]]
    return _softmax_attention(query, key, value, mask, kwargs.get("scaling")).transpose(1, 2).contiguous(), None


def _softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """(B, heads, Q, d), (B, heads, K, d) → (B, heads, Q, d)."""
    if k.shape[2] > MAX_EAGER_LENGTH:
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    weights = (q @ k.transpose(2, 3)) * (scaling or q.shape[-1] ** -0.5)
    if mask is not None:
        weights = weights + mask
    return torch.softmax(weights, dim=-1, dtype=torch.float32).to(v.dtype) @ v


AttentionInterface.register(SEGMENTED, segmented_attention)
AttentionInterface.register(BY_LENGTH, attention_by_length)
AttentionMaskInterface.register(BY_LENGTH, eager_mask)
