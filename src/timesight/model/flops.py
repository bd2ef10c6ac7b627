"""FLOPs of a forward pass: what a speedup is measured against.

Matrix products alone are counted, two FLOPs a multiply-add pair; a backward pass takes twice as many again.
P prompt tokens, G completions of C tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from timesight.model.policy import Policy


@dataclass(frozen=True)
class Flops:
    """FLOPs of one forward pass, by part."""

    vision: float
    text: float
    attention: float  # of the text model
    vocabulary: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.vision + self.text + self.attention + self.vocabulary

    def times(self, passes: int) -> Flops:
        """Those of so many passes."""
        return Flops(*(passes * value for value in (self.vision, self.text, self.attention, self.vocabulary)))


def tree_flops(
    policy: Policy,
    grid_thw: Tensor,
    root_tokens: int,
    question_tokens: Sequence[int],
    group: int,
    completion_tokens: int,
) -> Flops:
    """One forward pass over ``[video | q1 | r11 … r1G | q2 | r21 … r2G | …]``, tower included.

    Args:
        policy: The model.
        grid_thw: (V, 3) patches along time, height and width of the videos.
        root_tokens: What the questions have in common.
        question_tokens: Tokens of each question after the shared root.
        group: G, replies to each question.
        completion_tokens: C, of each reply.
    """
    text = policy.model.config.get_text_config()
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    per_pair = 4 * text.num_hidden_layers * text.num_attention_heads * head_dim  # one query meets one key
    replied = len(question_tokens) * group * completion_tokens
    pairs = _new_pairs(0, root_tokens)
    for own in question_tokens:
        pairs += _new_pairs(root_tokens, own) + group * _new_pairs(root_tokens + own, completion_tokens)
    return Flops(
        vision=vision_flops(policy, grid_thw),
        text=2.0 * _linear_weights(policy.core.language_model) * (root_tokens + sum(question_tokens) + replied),
        attention=per_pair * pairs,
        vocabulary=2.0 * text.vocab_size * text.hidden_size * replied,
    )


def group_flops(
    policy: Policy, grid_thw: Tensor, prompt_tokens: int, group: int, completion_tokens: int, *, packed: bool
) -> Flops:
    """One forward pass over a prompt and its G completions: in one row, or G times over, tower included."""
    if packed:
        return tree_flops(policy, grid_thw, prompt_tokens, [0], group, completion_tokens)
    return tree_flops(policy, grid_thw, prompt_tokens, [0], 1, completion_tokens).times(group)


def _new_pairs(before: int, tokens: int) -> float:
    """Pairs of a query and a key it sees that ``tokens`` add after ``before`` others."""
    return tokens * before + tokens * (tokens + 1) / 2


def vision_flops(policy: Policy, grid_thw: Tensor) -> float:
    """One pass of the vision tower over videos of these grids."""
    visual, config = policy.core.visual, policy.model.config.vision_config
    mergers = [m for name, m in visual.named_children() if policy.family.vision_part(name) == "merger"]
    merging = sum(_linear_weights(m) for m in mergers)
    per_patch = _linear_weights(visual) - merging
    patches = float(grid_thw.prod(-1).sum())
    merged = patches / config.spatial_merge_size**2
    width = getattr(config, "hidden_size", None) or config.embed_dim
    pairs = sum(float(t * (h * w) ** 2) for t, h, w in grid_thw.tolist())
    full_layers = len(getattr(config, "fullatt_block_indexes", None) or range(config.depth))
    window = getattr(config, "window_size", 0) // config.patch_size
    seen = sum(float(t * h * w * min(window**2, h * w)) for t, h, w in grid_thw.tolist())
    attention = 4.0 * width * (full_layers * pairs + (config.depth - full_layers) * seen)
    return float(2.0 * (per_patch * patches + merging * merged) + attention)


def _linear_weights(module: Any) -> int:
    """Weights that take part in a matrix product for each token."""
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear | nn.Conv3d))
