"""GRPO: each reply's mean over its own tokens, then the mean over replies (paper, equation 2)."""

from __future__ import annotations

from typing import Any

from timesight.training.losses.base import LossInputs, LossOutput
from timesight.training.losses.surrogate import clipped_surrogate


def grpo_loss(inputs: LossInputs, **options: Any) -> LossOutput:
    """The clipped surrogate over each reply's own length; ``options`` as in ``clipped_surrogate``."""
    per_token, metrics = clipped_surrogate(inputs, **options)
    mask = inputs.mask.to(per_token.dtype)
    of_replies = per_token.sum(1) / mask.sum(1).clamp(min=1)
    return LossOutput(of_replies.sum() / inputs.num_replies, metrics)
