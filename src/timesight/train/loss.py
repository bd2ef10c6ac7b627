"""The objectives as pure functions of tensors.

B prompts, G completions a prompt, R = B · G completions, C padded completion length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from timesight.train.settings import GrpoSettings, LossAverage

MAX_LOG_RATIO = 20.0  # exp(20) ≈ 5e8: beyond it a ratio says nothing and only overflows


LENGTH_EXPONENT: dict[LossAverage, float] = {"token": 0.0, "square": -0.5, "reply": -1.0}


def sft_loss(logps: Tensor, mask: Tensor, average: LossAverage) -> Tensor:
    """Cross-entropy of gold replies. ``logps``, ``mask``: (R, C); a token of a reply of n tokens weighs

    ``token``   1, so that long replies lead
    ``reply``   1 / n, so that each reply counts the same, and a token of a short one the more
    ``square``  1 / √n, between the two: InternVL 2.5's square averaging
    """
    mask = mask.to(logps.dtype)
    weight = mask * mask.sum(1, keepdim=True).clamp(min=1) ** LENGTH_EXPONENT[average]
    return -(logps * weight).sum() / weight.sum().clamp(min=1e-9)


@dataclass(frozen=True)
class LossParts:
    """The loss and what there is to say about it; all but ``loss`` are detached."""

    loss: Tensor
    kl: float
    clip_low_share: float
    clip_high_share: float


def grpo_loss(
    logps: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    settings: GrpoSettings,
    ref_logps: Tensor | None = None,
) -> LossParts:
    """Clipped surrogate with a KL penalty (paper, equation 2).

    ``logps``, ``old_logps``, ``ref_logps``, ``mask``: (R, C); ``advantages``: (R,). The ratio of the policies is
    taken by token, as in the authors' code, or for the whole sequence: the geometric mean of its tokens' ratios
    (GSPO). ``settings.loss_type`` says what the sum over tokens is divided by:

    ``grpo``     each completion's own length, then the number of completions
    ``bnpo``     the number of tokens
    ``dr_grpo``  completions × ``max_completion_length``, so that no length is favoured
    ``dapo``     the same here; the trainer, which alone knows it, puts the number of tokens of a whole
                 optimiser step, over all passes and processes, in its place
    """
    mask = mask.to(logps.dtype)
    log_ratio = _bounded(logps - old_logps) * mask
    if settings.importance_sampling_level == "sequence":
        log_ratio = log_ratio.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    ratio = log_ratio.exp()  # (R, C) or (R, 1)
    low, high = 1 - settings.epsilon, 1 + (settings.epsilon_high or settings.epsilon)
    gain = advantages[:, None]
    per_token = -torch.minimum(ratio * gain, ratio.clamp(low, high) * gain).expand_as(logps)
    kl = torch.zeros_like(logps)
    if settings.beta > 0 and ref_logps is not None:
        kl = kl_estimate(logps, ref_logps, settings.kl_estimator)
        per_token = per_token + settings.beta * kl
    with torch.no_grad():
        too_low = ((ratio < low) & (gain < 0)).to(mask).expand_as(mask)
        too_high = ((ratio > high) & (gain > 0)).to(mask).expand_as(mask)
    return LossParts(
        loss=_reduce(per_token, mask, settings),
        kl=_token_mean(kl.detach(), mask),
        clip_low_share=_token_mean(too_low, mask),
        clip_high_share=_token_mean(too_high, mask),
    )


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


def _bounded(log_ratio: Tensor) -> Tensor:
    """A log ratio that can be exponentiated; where both sides are -inf they are the same."""
    return log_ratio.nan_to_num(nan=0.0).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def _reduce(per_token: Tensor, mask: Tensor, settings: GrpoSettings) -> Tensor:
    per_token = per_token * mask
    if settings.loss_type == "grpo":
        return (per_token.sum(1) / mask.sum(1).clamp(min=1)).mean()
    if settings.loss_type == "bnpo":
        return per_token.sum() / mask.sum().clamp(min=1)
    return per_token.sum() / (len(mask) * settings.max_completion_length)


def _token_mean(values: Tensor, mask: Tensor) -> float:
    return float((values * mask).sum() / mask.sum().clamp(min=1))
