"""FLOPs of a forward pass: what a speedup is measured against.

Matrix products alone are counted, two FLOPs a multiply-add pair; a backward pass takes twice as many again.
P prompt tokens, G completions of C tokens.
"""

from __future__ import annotations

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


def group_flops(
    policy: Policy, grid_thw: Tensor, prompt_tokens: int, group: int, completion_tokens: int, *, packed: bool
) -> Flops:
    """One forward pass over a prompt and its G completions: in one row, or G times over, tower included.

    ``grid_thw`` (V, 3): patches along time, height and width of the prompt's videos.
    """
    text = policy.model.config.get_text_config()
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    per_pair = 4 * text.num_hidden_layers * text.num_attention_heads * head_dim  # one query meets one key
    p, c = prompt_tokens, completion_tokens
    alone = p * (p + 1) / 2  # pairs within a prompt
    added = c * p + c * (c + 1) / 2  # pairs that one completion adds
    rows = 1 if packed else group
    tokens = p + group * c if packed else group * (p + c)
    pairs = alone + group * added if packed else group * (alone + added)
    return Flops(
        vision=rows * vision_flops(policy, grid_thw),
        text=2.0 * _linear_weights(policy.core.language_model) * tokens,
        attention=per_pair * pairs,
        vocabulary=2.0 * text.vocab_size * text.hidden_size * group * c,
    )


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
