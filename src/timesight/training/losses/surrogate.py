"""What the losses of GRPO have in common: the clipped surrogate of each token, with its KL penalty."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from timesight.training.losses.base import LossInputs

MAX_LOG_RATIO = 20.0  # exp(20) ≈ 5e8: beyond it a ratio says nothing and only overflows


def clipped_surrogate(
    inputs: LossInputs,
    *,
    epsilon: float = 0.2,
    epsilon_high: float | None = None,
    beta: float = 0.0,
    kl_estimator: Literal["k1", "k2", "k3"] = "k3",
    importance_sampling_level: Literal["token", "sequence"] = "token",
    importance_sampling_correction: Literal["token_truncate", "sequence_mask"] | None = None,
    importance_sampling_clip_max: float = 3.0,
) -> tuple[Tensor, dict[str, float]]:
    """Each token's clipped surrogate plus KL penalty (paper, equation 2), to be summed and divided.

    Args:
        inputs: Of the pass.
        epsilon: Ratios are clipped to 1 ± ``epsilon``.
        epsilon_high: The upper end, if not the same.
        beta: Weight of the KL penalty.
        kl_estimator: See ``kl_estimate``.
        importance_sampling_level: Ratios of tokens, as in the authors' code, or of whole sequences: the geometric
            mean of their tokens' ratios (GSPO).
        importance_sampling_correction: Weight tokens by how much likelier the trainer finds them than the generator
            did; see ``correction_weights``.
        importance_sampling_clip_max: Of these weights.

    Returns:
        (R, C), 0 outside the mask; and metrics.
    """
    mask = inputs.mask.to(inputs.logps.dtype)
    log_ratio = _bounded(inputs.logps - inputs.old_logps) * mask
    if importance_sampling_level == "sequence":
        log_ratio = log_ratio.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    ratio = log_ratio.exp()  # (R, C) or (R, 1)
    low, high = 1 - epsilon, 1 + (epsilon_high or epsilon)
    advantage = inputs.advantages[:, None]
    per_token = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage).expand_as(mask)
    metrics: dict[str, float] = {}
    if inputs.sampling_logps is not None:
        metrics["sampler_kl"] = token_mean(kl_estimate(inputs.sampling_logps, inputs.old_logps, "k3"), mask)
        if importance_sampling_correction is not None:
            weights = correction_weights(inputs, importance_sampling_correction, importance_sampling_clip_max)
            per_token = per_token * weights
            metrics["importance_weight"] = token_mean(weights.expand_as(mask), mask)
    kl = torch.zeros_like(inputs.logps)
    if beta > 0 and inputs.ref_logps is not None:
        kl = kl_estimate(inputs.logps, inputs.ref_logps, kl_estimator)
        per_token = per_token + beta * kl
    with torch.no_grad():
        too_low = ((ratio < low) & (advantage < 0)).to(mask).expand_as(mask)
        too_high = ((ratio > high) & (advantage > 0)).to(mask).expand_as(mask)
    metrics |= {
        "kl": token_mean(kl.detach(), mask),
        "clip_low_share": token_mean(too_low, mask),
        "clip_high_share": token_mean(too_high, mask),
    }
    return per_token * mask, metrics


def correction_weights(inputs: LossInputs, kind: Literal["token_truncate", "sequence_mask"], cap: float) -> Tensor:
    """What makes up for a generator whose probabilities are not the trainer's (TRL's modes of these names).

    Args:
        inputs: With ``sampling_logps``.
        kind: ``token_truncate``: each token's ratio trainer / generator, ``cap`` at most. ``sequence_mask``: the
            ratio of the whole sequence, and 0 where it is beyond ``cap``.
        cap: Of the weights.

    Returns:
        (R, C) or (R, 1), without a gradient.
    """
    assert inputs.sampling_logps is not None
    mask = inputs.mask.to(inputs.logps.dtype)
    log_ratio = _bounded(inputs.old_logps - inputs.sampling_logps).detach() * mask
    if kind == "token_truncate":
        return log_ratio.exp().clamp(max=cap)
    ratio = _bounded(log_ratio.sum(1, keepdim=True)).exp()
    return torch.where(ratio <= cap, ratio, 0.0)


def kl_estimate(logps: Tensor, ref_logps: Tensor, estimator: str) -> Tensor:
    """KL(policy ‖ reference) of each token from one sample (Schulman's k1, k2, k3), with d = ref − logp.

    k1 = −d, unbiased, may be negative; k2 = d² / 2; k3 = exp(d) − d − 1, unbiased and never negative (the paper's).
    """
    d = _bounded(ref_logps - logps)
    if estimator == "k1":
        return -d
    if estimator == "k2":
        return d.square() / 2
    return d.exp() - d - 1


def token_mean(values: Tensor, mask: Tensor) -> float:
    """The mean of (R, C) values over the tokens of the mask."""
    return float((values.detach() * mask).sum() / mask.sum().clamp(min=1))


def _bounded(log_ratio: Tensor) -> Tensor:
    """A log ratio that can be exponentiated; where both sides are -inf they are the same."""
    return log_ratio.nan_to_num(nan=0.0).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
