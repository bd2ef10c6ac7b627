"""The objective as pure functions of tensors.

B prompts, G completions a prompt, R = B · G completions, C padded completion length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STD_EPSILON = 1e-4
MAX_LOG_RATIO = 20.0  # exp(20) ≈ 5e8: beyond it a ratio says nothing and only overflows


def group_advantages(rewards: Tensor) -> Tensor:
    """Advantages (B, G) of rewards (B, G) within each group (paper, equation 1).

    ``(R − mean) / (std + 1e-4)`` with the unbiased standard deviation. A NaN reward could not be judged: it
    takes no part in its group's mean and spread, and its advantage is 0. So is every advantage in a group
    with fewer than two judged rewards.
    """
    judged = ~rewards.isnan()
    count = judged.sum(dim=1, keepdim=True)
    values = rewards.nan_to_num(0.0)
    mean = values.sum(dim=1, keepdim=True) / count.clamp(min=1)
    deviation = (values - mean) * judged
    std = (deviation.square().sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
    return deviation / (std + STD_EPSILON) * (count >= 2)


@dataclass(frozen=True)
class LossParts:
    """The loss and what there is to say about it; all but ``loss`` are detached."""

    loss: Tensor
    kl: float
    clip_share: float


def grpo_loss(
    logps: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    epsilon: float,
    beta: float = 0.0,
    ref_logps: Tensor | None = None,
) -> LossParts:
    """Clipped surrogate with a KL penalty (paper, equation 2; ratio per token as in the authors' code).

    ``logps``, ``old_logps``, ``ref_logps``, ``mask``: (R, C); ``advantages``: (R,). Each completion's tokens
    are averaged, then the completions. KL is the estimator ``exp(d) − d − 1`` with ``d = ref − logp``.
    """
    ratio = (logps - old_logps).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()  # (R, C)
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    gain = advantages[:, None]
    surrogate = torch.minimum(ratio * gain, clipped * gain)
    per_token = -surrogate
    kl = torch.zeros_like(logps)
    if beta > 0.0 and ref_logps is not None:
        difference = (ref_logps - logps).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        kl = difference.exp() - difference - 1
        per_token = per_token + beta * kl
    with torch.no_grad():
        was_clipped = ((ratio < 1 - epsilon) & (gain < 0)) | ((ratio > 1 + epsilon) & (gain > 0))
    return LossParts(
        loss=_mean_of_means(per_token, mask),
        kl=float(_mean_of_means(kl.detach(), mask)),
        clip_share=float(_mean_of_means(was_clipped.float(), mask)),
    )


def _mean_of_means(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over each row's masked entries, then over rows; an empty row counts as 0."""
    rows = (values * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return rows.mean()
