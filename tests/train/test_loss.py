from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from timesight.train.loss import group_advantages, grpo_loss

NAN = math.nan


def test_advantages_by_hand() -> None:
    advantages = group_advantages(torch.tensor([[0.0, 1.0, 2.0]]))
    torch.testing.assert_close(advantages, torch.tensor([[-1.0, 0.0, 1.0]]) / (1 + 1e-4))


@given(st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=1, max_size=5))
def test_advantages_are_finite_and_centred(rewards: list[list[float]]) -> None:
    advantages = group_advantages(torch.tensor(rewards))
    assert advantages.isfinite().all()
    torch.testing.assert_close(advantages.sum(1), torch.zeros(len(rewards)), atol=1e-2, rtol=0)


def test_equal_rewards_teach_nothing() -> None:
    assert group_advantages(torch.full((2, 8), 0.7)).abs().max() < 1e-3


def test_what_was_not_judged_takes_no_part() -> None:
    with_gap = group_advantages(torch.tensor([[0.0, NAN, 1.0, 2.0]]))
    without = group_advantages(torch.tensor([[0.0, 1.0, 2.0]]))
    torch.testing.assert_close(with_gap[0, [0, 2, 3]], without[0])
    assert with_gap[0, 1] == 0
    assert (group_advantages(torch.tensor([[NAN, NAN, 1.0], [NAN, NAN, NAN]])) == 0).all()


def objective(
    logps: torch.Tensor,
    old: torch.Tensor,
    gain: torch.Tensor,
    mask: torch.Tensor,
    epsilon: float,
    beta: float,
    ref: torch.Tensor,
) -> float:
    """Equation 2 token by token, in plain Python."""
    rows = []
    for r in range(len(logps)):
        total, count = 0.0, 0
        for c in range(logps.shape[1]):
            if mask[r, c]:
                ratio = math.exp(logps[r, c] - old[r, c])
                clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
                d = float(ref[r, c] - logps[r, c])
                total += min(ratio * float(gain[r]), clipped * float(gain[r])) - beta * (math.exp(d) - d - 1)
                count += 1
        rows.append(total / max(count, 1))
    return -sum(rows) / len(rows)


@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_loss_is_the_papers_equation(beta: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logps, old, ref = (-torch.rand(6, 9, generator=generator) * 2 for _ in range(3))
    gain = torch.randn(6, generator=generator)
    mask = (torch.arange(9)[None] < torch.tensor([9, 5, 1, 0, 3, 7])[:, None]).long()
    parts = grpo_loss(logps, old, gain, mask, epsilon=0.2, beta=beta, ref_logps=ref)
    assert float(parts.loss) == pytest.approx(objective(logps, old, gain, mask, 0.2, beta, ref), rel=1e-5)


def test_clipping_stops_the_gradient_only_where_the_step_went_too_far() -> None:
    logps = torch.tensor([[0.5], [0.5], [-0.5], [-0.5]], requires_grad=True)  # ratios 1.65 and 0.61
    parts = grpo_loss(logps, torch.zeros(4, 1), torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.ones(4, 1), epsilon=0.2)
    parts.loss.backward()
    assert logps.grad is not None
    assert (logps.grad[:, 0] != 0).tolist() == [False, True, True, False]
    assert parts.clip_share == 0.5


def test_on_policy_the_gradient_is_that_of_the_policy_gradient() -> None:
    logps = torch.randn(3, 4, requires_grad=True)
    gain = torch.tensor([1.0, -2.0, 0.5])
    grpo_loss(logps, logps.detach(), gain, torch.ones(3, 4), epsilon=0.2).loss.backward()
    torch.testing.assert_close(logps.grad, -gain[:, None].expand(3, 4) / 12)


def test_extreme_ratios_stay_finite() -> None:
    logps = torch.tensor([[-1e4, 0.0]], requires_grad=True)
    parts = grpo_loss(
        logps,
        torch.tensor([[0.0, -1e4]]),
        torch.tensor([-1.0]),
        torch.ones(1, 2),
        epsilon=0.2,
        beta=0.1,
        ref_logps=torch.tensor([[0.0, -1e4]]),
    )
    parts.loss.backward()
    assert parts.loss.isfinite()
    assert logps.grad is not None
    assert logps.grad.isfinite().all()


def test_empty_completions_count_as_nothing() -> None:
    parts = grpo_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2), torch.zeros(2, 3), epsilon=0.2)
    assert float(parts.loss) == 0.0
