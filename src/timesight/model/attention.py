"""Attention functions for stock models, put in place through the library's registry.

Two patterns are computed here because nothing stock computes them well:

- *segments*, in the vision tower: every frame, or window of a frame, attends to itself only. Stock code calls
  the kernel once a segment; here all segments of one length go in one call.
- *shared prefix*, in the text model: one row ``[prompts | completions]`` in which each completion sees its
  prompt and itself. No mask over the row is ever made, so cost and memory grow with what is attended, not with
  the row squared.
- *shared past*, while sampling: the replies of a group, or the questions about a video, each have a cache of their
  own tokens, and the cache of what they go on from is there once for all of them.

Letters in shapes: L tokens in the row, B prompts, G completions a prompt, P and C padded prompt and completion
lengths, H query heads, K key heads, d head size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# Vision attention hands a whole batch, with its segment borders, only to functions whose name says "flash".
SEGMENTS = "timesight_segments_flash"
TEXT_PREFIX = "timesight_"
BY_LENGTH = "by_length"
MAX_PLAIN_LENGTH = 512  # keys; up to here plain softmax beats the fused CPU kernel's backward pass


@dataclass(frozen=True, eq=False)
class SharedPrefix:
    """Where prompts and completions lie in one row; given to the model as the argument ``shared_prefix``.

    Index tensors pad on the right with 0; what is computed for padding is never read.
    """

    prompts: Tensor  # (B, P) index in the row of each prompt token
    prompt_lengths: tuple[int, ...]  # B
    completions: Tensor  # (B, G, C) index in the row of each completion token
    restore: Tensor  # (L,) each token's index in [B · P prompt slots | B · G · C completion slots]

    @property
    def longest(self) -> int:
        """The most keys that a token can see."""
        return self.prompts.shape[1] + self.completions.shape[2]


@dataclass(frozen=True, eq=False)
class SharedPast:
    """Prompts that replies go on from; given to the model as the argument ``shared_past``.

    R = B · G rows go on from them, G from each. Rows that begin with a question of their own, of different lengths,
    say where it is padded.
    """

    cache: Any  # keys and values of the prompts, layer by layer: (B, K, P, d)
    padding: Tensor  # (B, P) True where there is no token
    own_padding: Tensor | None = None  # (R, S) True where the first tokens of a row's own are none
    own_hidden: Tensor | None = None  # (t,) True in the slots of a cache of fixed size that are not written yet

    def select(self, prompts: Tensor, rows: Tensor) -> SharedPast:
        """The past of ``prompts`` alone, for ``rows`` alone."""
        if len(prompts) < len(self.padding):
            self.cache.batch_select_indices(prompts)
        own = None if self.own_padding is None else self.own_padding[rows]
        return SharedPast(self.cache, self.padding[prompts], own)


def install_attention(model: Any) -> None:
    """Make ``model`` use the functions of this file; what else it is asked to do goes to its former attention."""
    on_cpu = model.device.type == "cpu"
    visual, text = model.model.visual.config, model.model.language_model.config
    if "flash_attention" not in visual._attn_implementation:  # that one takes segments as they are
        visual._attn_implementation = SEGMENTS
    if not text._attn_implementation.startswith(TEXT_PREFIX):
        text._attn_implementation = _register_text(BY_LENGTH if on_cpu else text._attn_implementation)


def _register_text(former: str) -> str:
    """Register shared-prefix attention in front of the attention called ``former``; returns the new name."""
    name = TEXT_PREFIX + former
    if name not in ALL_ATTENTION_FUNCTIONS:
        otherwise: Callable[..., Any]
        if former == BY_LENGTH:
            otherwise, mask = by_length_attention, eager_mask
        else:
            otherwise, mask = ALL_ATTENTION_FUNCTIONS[former], ALL_MASK_ATTENTION_FUNCTIONS[former]

        def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
            layout, past = kwargs.pop("shared_prefix", None), kwargs.pop("shared_past", None)
            scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
            if layout is not None:
                return shared_prefix_attention(query, key, value, layout, scaling), None
            if past is not None:
                return shared_past_attention(query, key, value, past, module.layer_idx, scaling), None
            return otherwise(module, query, key, value, *args, **kwargs)

        AttentionInterface.register(name, attend)
        AttentionMaskInterface.register(name, mask)
    return name


def shared_prefix_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: SharedPrefix, scaling: float
) -> Tensor:
    """Causal attention in which each completion sees its own prompt and itself.

    query (1, H, L, d), key and value (1, K, L, d) → (1, L, H, d). Costs B·P² + B·G·C·(P + C) products a head and
    no mask of the row.
    """
    plain = query.device.type == "cpu" and layout.longest <= MAX_PLAIN_LENGTH
    attend = _prefix_plain if plain else _prefix_fused
    prompts, completions = attend(query[0], key[0], value[0], layout, scaling)
    slots = torch.cat([prompts.flatten(0, 1), completions.flatten(0, 2)])  # (B · P + B · G · C, H, d)
    return slots.index_select(0, layout.restore)[None]


def shared_past_attention(
    query: Tensor, key: Tensor, value: Tensor, past: SharedPast, layer: Any, scaling: float
) -> Tensor:
    """The next S tokens of R rows attend to what their rows go on from and, causally, to what they have themselves.

    query (R, H, S, d), own key and value (R, K, t, d) with t >= S → (R, S, H, d).
    """
    (rows, heads, steps, size), (_, kv_heads, own, _) = query.shape, key.shape
    past_key, past_value = past.cache.layers[layer].keys, past.cache.layers[layer].values  # (B, K, P, d)
    prompts, _, length, _ = past_key.shape
    group, queries = rows // prompts, heads // kv_heads * steps
    q = query.reshape(prompts, group, kv_heads, queries, size)
    to_past = q.transpose(1, 2).flatten(2, 3) @ past_key.to(q.dtype).mT  # (B, K, G · H/K · S, P)
    to_past = to_past.masked_fill(past.padding[:, None, None], float("-inf"))
    to_past = to_past.view(prompts, kv_heads, group, queries, length).transpose(1, 2)
    to_own = q.view(rows, kv_heads, queries, size) @ key.mT  # (R, K, H/K · S, t)
    if past.own_hidden is not None:
        to_own = to_own.masked_fill(past.own_hidden, float("-inf"))
    elif steps > 1 or past.own_padding is not None:
        hidden = _hidden_own(past.own_padding, rows, steps, own, query.device)  # (R, S, t)
        to_own = to_own.view(rows, kv_heads, -1, steps, own).masked_fill(hidden[:, None, None], float("-inf"))
        to_own = to_own.view(rows, kv_heads, queries, own)
    scores = torch.cat([to_past.reshape(rows, kv_heads, queries, length), to_own], dim=-1)
    weights = torch.softmax(scores * scaling, dim=-1, dtype=torch.float32).to(value.dtype)
    on_past = weights[..., :length].view(prompts, group, kv_heads, queries, length)
    from_past = on_past.transpose(1, 2).flatten(2, 3) @ past_value.to(value.dtype)  # (B, K, G · H/K · S, d)
    from_past = from_past.view(prompts, kv_heads, group, queries, size).transpose(1, 2)
    out: Tensor = from_past.reshape(rows, kv_heads, queries, size) + weights[..., length:] @ value
    return out.reshape(rows, heads, steps, size).transpose(1, 2)


def _hidden_own(padding: Tensor | None, rows: int, steps: int, own: int, device: torch.device) -> Tensor:
    """(R, S, t) True where one of a row's last ``steps`` tokens does not see one of its ``own``."""
    later = torch.ones(steps, own, dtype=torch.bool, device=device).triu(own - steps + 1)
    hidden = later.expand(rows, steps, own)
    if padding is not None:
        none = nn.functional.pad(padding, (0, own - padding.shape[1]), value=False)
        hidden = hidden | none[:, None]
    return hidden


def _pick(rows: Tensor, index: Tensor) -> Tensor:
    """(heads, L, d) at index (B, …) → (B, heads, …, d)."""
    picked = rows.index_select(1, index.flatten())
    return picked.view(len(rows), *index.shape, rows.shape[-1]).movedim(0, 1)


def _prefix_plain(
    query: Tensor, key: Tensor, value: Tensor, layout: SharedPrefix, scaling: float
) -> tuple[Tensor, Tensor]:
    """By matrix products over all groups at once: (B, P, H, d) and (B, G, C, H, d)."""
    (num_prompts, longest), (_, group, length) = layout.prompts.shape, layout.completions.shape
    k_prompt, v_prompt = _pick(key, layout.prompts), _pick(value, layout.prompts)  # (B, K, P, d)
    q_prompt = _pick(query, layout.prompts)  # (B, H, P, d)
    out_prompt = _plain_attention(q_prompt, k_prompt, v_prompt, _causal(longest, query), scaling)

    heads, kv_heads, size = query.shape[0], key.shape[0], query.shape[2]
    repeats = heads // kv_heads
    k, v = _pick(key, layout.completions), _pick(value, layout.completions)  # (B, K, G, C, d)
    q = _pick(query, layout.completions).reshape(num_prompts, kv_heads, repeats, group, length, size)
    to_prompt = q.flatten(2, 4) @ k_prompt.mT  # (B, K, H/K · G · C, P)
    to_own = q.transpose(2, 3).flatten(3, 4) @ k.mT  # (B, K, G, H/K · C, C)
    to_prompt = to_prompt.masked_fill(_padding(layout, query.device), float("-inf"))
    scores = torch.cat(
        [
            to_prompt.view(num_prompts, kv_heads, repeats, group, length, longest),
            to_own.view(num_prompts, kv_heads, group, repeats, length, length).transpose(2, 3)
            + _causal(length, query),
        ],
        dim=-1,
    )  # (B, K, H/K, G, C, P + C)
    weights = torch.softmax(scores * scaling, dim=-1, dtype=torch.float32).to(value.dtype)
    from_prompt = weights[..., :longest].flatten(2, 4) @ v_prompt  # (B, K, H/K · G · C, d)
    from_own = weights[..., longest:].transpose(2, 3).flatten(3, 4) @ v  # (B, K, G, H/K · C, d)
    out = from_prompt.view(q.shape) + from_own.view(num_prompts, kv_heads, group, repeats, length, size).transpose(
        2, 3
    )
    out = out.reshape(num_prompts, heads, group, length, size).permute(0, 2, 3, 1, 4)
    return out_prompt.transpose(1, 2), out


def _padding(layout: SharedPrefix, device: torch.device) -> Tensor:
    """(B, 1, 1, P) True in a prompt's padding."""
    lengths = torch.tensor(layout.prompt_lengths, device=device)
    return (torch.arange(layout.prompts.shape[1], device=device) >= lengths[:, None])[:, None, None]


def _prefix_fused(
    query: Tensor, key: Tensor, value: Tensor, layout: SharedPrefix, scaling: float
) -> tuple[Tensor, Tensor]:
    """By fused kernels, prompt after prompt: (B, P, H, d) and (B, G, C, H, d)."""
    longest, (_, group, length) = layout.prompts.shape[1], layout.completions.shape
    fused = nn.functional.scaled_dot_product_attention
    out_prompts, out_completions = [], []
    for prompt, own, size in zip(layout.prompts, layout.completions, layout.prompt_lengths, strict=True):
        q, k, v = (_pick(t, prompt[None, :size]) for t in (query, key, value))  # (1, heads, p, d)
        out = fused(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        out_prompts.append(nn.functional.pad(out[0].transpose(0, 1), (0, 0, 0, 0, 0, longest - size)))
        q = _pick(query, own)  # (G, H, C, d)
        k, v = (
            torch.cat([shared.expand(group, -1, -1, -1), _pick(t, own)], dim=2)
            for shared, t in ((k, key), (v, value))
        )  # (G, K, p + C, d)
        # With a mask, CUDA has a fused kernel only for as many key heads as query heads.
        k, v = (t.repeat_interleave(len(query) // len(key), dim=1) for t in (k, v))
        seen = torch.ones(length, size + length, dtype=torch.bool, device=query.device).tril(size)
        out_completions.append(fused(q, k, v, attn_mask=seen, scale=scaling).transpose(1, 2))  # (G, C, H, d)
    return torch.stack(out_prompts), torch.stack(out_completions)


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
    return _attention(query, key, value, mask, scaling).transpose(1, 2).contiguous(), None


def segment_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention within segments, all segments of one length at once.

    query, key, value: (1, H, N, d); ``cu_seq_lens_q`` holds the segments' borders. Returns (1, N, H, d).
    """
    borders = kwargs["cu_seq_lens_q"].tolist()
    lengths = [end - start for start, end in itertools.pairwise(borders)]
    scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
    if len(set(lengths)) == 1:
        return _segments(query, key, value, lengths[0], scaling), None
    out = torch.empty_like(query).transpose(1, 2)
    for length in sorted(set(lengths)):
        where = torch.cat([torch.arange(s, e) for s, e in itertools.pairwise(borders) if e - s == length])
        where = where.to(query.device)
        picked = _segments(query[:, :, where], key[:, :, where], value[:, :, where], length, scaling)
        out = out.index_copy(1, where, picked)
    return out, None


def _segments(query: Tensor, key: Tensor, value: Tensor, length: int, scaling: float) -> Tensor:
    """Segments of one ``length``: (1, H, S · length, d) → (1, S · length, H, d)."""
    heads, dim = query.shape[1], query.shape[3]
    q, k, v = (
        t.squeeze(0).reshape(heads, -1, length, dim).transpose(0, 1) for t in (query, key, value)
    )  # (S, H, length, d)
    return _attention(q, k, v, None, scaling).transpose(1, 2).reshape(1, -1, heads, dim)


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """(B, H, Q, d), (B, K, S, d), additive mask → (B, H, Q, d), with whatever is faster."""
    if q.device.type != "cpu" or k.shape[2] > MAX_PLAIN_LENGTH:
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling, enable_gqa=True)
    return _plain_attention(q, k, v, mask, scaling)


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """Softmax between two matrix products; query heads that share a key head are rows of one product."""
    (batch, heads, length, size), kv_heads, num_keys = q.shape, k.shape[1], k.shape[2]
    grouped = q.reshape(batch, kv_heads, -1, size)  # (B, K, H/K · Q, d)
    scores = (grouped @ k.mT).view(batch, heads, length, num_keys) * scaling
    if mask is not None:
        scores = scores + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype)
    return (weights.view(batch, kv_heads, -1, num_keys) @ v).view(batch, heads, length, size)


def _causal(length: int, like: Tensor) -> Tensor:
    """(length, length) additive mask: 0 up to the diagonal, -inf after it."""
    return torch.full((length, length), float("-inf"), device=like.device).triu(1)


AttentionInterface.register(SEGMENTS, segment_attention)
