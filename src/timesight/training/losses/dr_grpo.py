"""Dr. GRPO: a constant divisor, so that no length is favored (arXiv 2503.20783)."""

from __future__ import annotations

from typing import Any

from timesight.training.losses.base import LossInputs, LossOutput
from timesight.training.losses.surrogate import clipped_surrogate


def dr_grpo_loss(inputs: LossInputs, **options: Any) -> LossOutput:
    """The clipped surrogate over replies × ``max_completion_length``; ``options`` as in ``clipped_surrogate``."""
    per_token, metrics = clipped_surrogate(inputs, **options)
    return LossOutput(per_token.sum() / (inputs.num_replies * inputs.max_completion_length), metrics)
