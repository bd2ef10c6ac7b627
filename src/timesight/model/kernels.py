"""Attention as two matrix products with a softmax between, or as one fused kernel: whatever is faster.

B rows, H query heads, K key heads, Q queries, S keys, d head size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MAX_PLAIN_LENGTH = 512  # keys; up to here plain softmax beats the fused CPU kernel's backward pass


def prefers_plain(device: torch.device, num_keys: int) -> bool:
    """Whether plain softmax is faster than the fused kernel."""
    return device.type == "cpu" and num_keys <= MAX_PLAIN_LENGTH


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """(B, H, Q, d), (B, K, S, d), additive mask → (B, H, Q, d), with whatever is faster."""
    if not prefers_plain(q.device, k.shape[2]):
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling, enable_gqa=True)
    return plain_attention(q, k, v, mask, scaling)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Softmax between two matrix products; query heads that share a key head are rows of one product."""
    (batch, heads, length, size), kv_heads, num_keys = q.shape, k.shape[1], k.shape[2]
    grouped = q.reshape(batch, kv_heads, -1, size)  # (B, K, H/K · Q, d)
    scores = (grouped @ k.mT).view(batch, heads, length, num_keys) * scaling
    if mask is not None:
        scores = scores + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype)
    return (weights.view(batch, kv_heads, -1, num_keys) @ v).view(batch, heads, length, size)


def causal(length: int, like: Tensor) -> Tensor:
    """(length, length) additive mask: 0 up to the diagonal, -inf after it."""
    return torch.full((length, length), float("-inf"), device=like.device).triu(1)
