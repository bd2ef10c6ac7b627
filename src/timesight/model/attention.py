"""Attention functions for stock models, put in place through the library's registry.

Stock code calls the kernel once a segment in the vision tower; ``segment_attention`` calls it once for all segments
of one length. In the text model ``tree_attention`` takes over where a tree is passed; all else goes to the model's
former attention.

Letters in shapes: N patches, H heads, d head size, Q queries, S keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from timesight.model.kernels import attend
from timesight.model.tree_attention import tree_attention, tree_past_attention

# Vision attention hands a whole batch, with its ``cu_seqlens``, only to functions whose name says "flash".
SEGMENTS = "timesight_segments_flash"
TEXT_PREFIX = "timesight_"
BY_LENGTH = "by_length"


def install_attention(model: Any) -> None:
    """Make ``model`` use the functions of this file; what else it is asked to do goes to its former attention."""
    on_cpu = model.device.type == "cpu"
    visual, text = model.model.visual.config, model.model.language_model.config
    if "flash_attention" not in visual._attn_implementation:  # that one takes segments as they are
        visual._attn_implementation = SEGMENTS
    if not text._attn_implementation.startswith(TEXT_PREFIX):
        text._attn_implementation = _register_text(BY_LENGTH if on_cpu else text._attn_implementation)


def _register_text(former: str) -> str:
    """Register attention over trees in front of the attention called ``former``; returns the new name."""
    name = TEXT_PREFIX + former
    if name not in ALL_ATTENTION_FUNCTIONS:
        otherwise: Callable[..., Any]
        if former == BY_LENGTH:
            otherwise, mask = by_length_attention, eager_mask
        else:
            otherwise, mask = ALL_ATTENTION_FUNCTIONS[former], ALL_MASK_ATTENTION_FUNCTIONS[former]

        def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
            layout, past = kwargs.pop("tree_layout", None), kwargs.pop("tree_past", None)
            scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
            if layout is not None:
                return tree_attention(query, key, value, layout, scaling), None
            if past is not None:
                return tree_past_attention(query, key, value, past, module.layer_idx, scaling), None
            return otherwise(module, query, key, value, *args, **kwargs)

        AttentionInterface.register(name, attend)
        AttentionMaskInterface.register(name, mask)
    return name


def by_length_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention on a CPU, with whatever is faster at this length.

    query (B, H, Q, d), key and value (B, K, S, d), additive mask (B, 1, Q, S) → (B, Q, H, d).
    """
    scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
    mask = None if attention_mask is None else attention_mask[..., : key.shape[2]]
    return attend(query, key, value, mask, scaling).transpose(1, 2).contiguous(), None


def segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention within segments, all segments of one length at once.

    query, key, value: (1, H, N, d); ``cu_seq_lens_q`` holds the cumulative segment lengths. Returns (1, N, H, d).
    """
    by_length = _segments_by_length(kwargs["cu_seq_lens_q"])
    scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
    if len(by_length) == 1:
        (length,) = by_length
        return _segments(query, key, value, length, scaling), None
    out = torch.empty_like(query).transpose(1, 2)
    for length, where in by_length.items():
        picked = _segments(query[:, :, where], key[:, :, where], value[:, :, where], length, scaling)
        out = out.index_copy(1, where, picked)
    return out, None


def _segments_by_length(cu_seqlens: Tensor) -> dict[int, Tensor]:
    """For each length of a segment, (n,) the indices of the patches in segments of this length.

    The layers of a pass share one tensor of cu_seqlens, which keeps the answer: reading it waits for a GPU.
    """
    known: dict[int, Tensor] | None = getattr(cu_seqlens, "segments_by_length", None)
    if known is None:
        lengths = cu_seqlens.diff()
        of_patch = lengths.repeat_interleave(lengths)
        distinct = sorted(set(lengths.tolist()))
        known = {length: (of_patch == length).nonzero().squeeze(1) for length in distinct}
        cu_seqlens.segments_by_length = known  # type: ignore[attr-defined]
    return known


def _segments(query: Tensor, key: Tensor, value: Tensor, length: int, scaling: float) -> Tensor:
    """Segments of one ``length``: (1, H, S · length, d) → (1, S · length, H, d)."""
    heads, dim = query.shape[1], query.shape[3]
    q, k, v = (
        t.squeeze(0).reshape(heads, -1, length, dim).transpose(0, 1) for t in (query, key, value)
    )  # (S, H, length, d)
    return attend(q, k, v, None, scaling).transpose(1, 2).reshape(1, -1, heads, dim)


AttentionInterface.register(SEGMENTS, segment_attention)
