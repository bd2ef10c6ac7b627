"""BNPO: the mean over all tokens of the pass."""

from __future__ import annotations

from typing import Any

from timesight.training.losses.base import LossInputs, LossOutput
from timesight.training.losses.surrogate import clipped_surrogate


def bnpo_loss(inputs: LossInputs, **options: Any) -> LossOutput:
    """The clipped surrogate over the pass's number of tokens; ``options`` as in ``clipped_surrogate``."""
    per_token, metrics = clipped_surrogate(inputs, **options)
    return LossOutput(per_token.sum() / inputs.mask.sum().clamp(min=1), metrics)
