"""DAPO: every token of a whole step weighs the same, however the step is split (arXiv 2503.14476)."""

from __future__ import annotations

from typing import Any

from timesight.training.losses.base import LossInputs, LossOutput
from timesight.training.losses.surrogate import clipped_surrogate


def dapo_loss(inputs: LossInputs, **options: Any) -> LossOutput:
    """The clipped surrogate over the step's tokens, on all processes; ``options`` as in ``clipped_surrogate``."""
    per_token, metrics = clipped_surrogate(inputs, **options)
    return LossOutput(per_token.sum() / max(inputs.tokens_per_pass, 1e-9), metrics)
