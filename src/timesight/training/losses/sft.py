"""Cross-entropy of gold replies."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from timesight.training.options import LossAverage

LENGTH_EXPONENT: dict[LossAverage, float] = {"token": 0.0, "square": -0.5, "reply": -1.0}


def sft_loss(
    logps: Tensor, mask: Tensor, average: LossAverage = "token", weight_per_pass: float | None = None
) -> Tensor:
    """Weighted mean of the tokens' negative log-probabilities.

    Args:
        logps: (R, C) log-probabilities of the replies' tokens.
        mask: (R, C) 1 where there is one.
        average: What a token of a reply of n tokens weighs. ``token``: 1, so that long replies lead; ``reply``:
            1 / n, so that each reply counts the same; ``square``: 1 / √n, between the two (InternVL 2.5).
        weight_per_pass: ``replies_weight`` of the whole step over its number of passes. None: of this pass.
    """
    mask = mask.to(logps.dtype)
    weight = mask * mask.sum(1, keepdim=True).clamp(min=1) ** LENGTH_EXPONENT[average]
    total = weight.sum() if weight_per_pass is None else weight_per_pass
    return -(logps * weight).sum() / max(float(total), 1e-9)


def replies_weight(lengths: Iterable[int], average: LossAverage = "token") -> float:
    """What the tokens of replies of these lengths weigh together."""
    return sum((float(n) ** (1 + LENGTH_EXPONENT[average]) for n in lengths if n), 0.0)
