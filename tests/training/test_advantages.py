from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from timesight.errors import TrainingError
from timesight.tasks import TASKS
from timesight.tasks.scoring import group_totals, required_components
from timesight.training.advantages import AdvantageNormalizer, advantages, group_std

NAN = math.nan


def test_by_hand() -> None:
    torch.testing.assert_close(
        advantages(torch.tensor([[0.0, 1.0, 2.0]])), torch.tensor([[-1.0, 0.0, 1.0]]) / (1 + 1e-4)
    )


def test_equals_trls_formula() -> None:
    rewards = torch.rand(5, 8)
    theirs = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(advantages(rewards), theirs)


ANY_REWARD = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(
    st.integers(1, 6).flatmap(
        lambda g: st.lists(st.lists(ANY_REWARD, min_size=g, max_size=g), min_size=1, max_size=5)
    )
)
@pytest.mark.parametrize("kind", ["group", "batch", "none", "task"])
def test_always_finite_and_centred(kind: str, rewards: list[list[float]]) -> None:
    result = AdvantageNormalizer(kind)(torch.tensor(rewards), ["a"] * len(rewards))
    assert result.isfinite().all()
    if kind == "group":
        torch.testing.assert_close(result.sum(1), torch.zeros(len(rewards)), atol=1e-2, rtol=0)


def with_nan(rewards: torch.Tensor) -> torch.Tensor:
    return rewards * 2


def test_a_function_answers_for_what_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    rewards = torch.tensor([[0.0, NAN, 1.0]])
    mine = AdvantageNormalizer(f"{__name__}:with_nan")
    torch.testing.assert_close(mine(rewards, ["a"]), torch.tensor([[0.0, 0.0, 2.0]]))
    monkeypatch.setattr(mine, "_custom", lambda rewards: rewards / 0)
    with pytest.raises(TrainingError, match=r"must return \(1, 3\) finite advantages; .* 3 of them not finite"):
        mine(rewards, ["a"])
    monkeypatch.setattr(mine, "_custom", lambda rewards: rewards[0])
    with pytest.raises(TrainingError, match=r"it returned \(3,\)"):
        mine(rewards, ["a"])


def test_equal_rewards_teach_nothing() -> None:
    assert advantages(torch.full((2, 8), 0.7)).abs().max() < 1e-3


def test_what_was_not_judged_takes_no_part() -> None:
    with_gap = advantages(torch.tensor([[0.0, NAN, 1.0, 2.0]]))
    without = advantages(torch.tensor([[0.0, 1.0, 2.0]]))
    torch.testing.assert_close(with_gap[0, [0, 2, 3]], without[0])
    assert with_gap[0, 1] == 0
    assert (advantages(torch.tensor([[NAN, NAN, 1.0], [NAN, NAN, NAN]])) == 0).all()


def test_scaling_by_batch_and_by_nothing() -> None:
    rewards = torch.tensor([[0.0, 1.0], [0.0, 0.2]])
    none = AdvantageNormalizer("none")(rewards, ["a", "a"])
    torch.testing.assert_close(none, torch.tensor([[-0.5, 0.5], [-0.1, 0.1]]))
    batch = AdvantageNormalizer("batch")(rewards, ["a", "a"])
    torch.testing.assert_close(batch, none / (rewards.flatten().std() + 1e-4))


def test_scaling_by_task_makes_tasks_weigh_alike() -> None:
    rewards = torch.tensor([[0.0, 1.0], [0.50, 0.52]])
    scaling = AdvantageNormalizer("task")
    result = scaling(rewards, ["accuracy", "iou"])
    torch.testing.assert_close(result[0].abs(), result[1].abs(), rtol=0.01, atol=0)
    quiet = scaling(torch.tensor([[0.51, 0.511]]), ["iou"])  # near-equal replies of a task stay near-equal
    assert quiet.abs().max() < 0.2 * result[1].abs().max()


def test_the_running_spread_follows_and_is_kept() -> None:
    scaling = AdvantageNormalizer("task")
    for _ in range(200):
        scaling(torch.tensor([[0.0, 1.0]]), ["a"])
    assert scaling.task_std("a") == pytest.approx(float(group_std(torch.tensor([[0.0, 1.0]]))), rel=1e-6)
    again = AdvantageNormalizer("task")
    again.load_state_dict(scaling.state_dict())
    assert again.task_std("a") == scaling.task_std("a")


def test_a_part_that_no_reply_was_judged_on_is_left_out() -> None:
    group = [{"format": 1.0, "recall": None}, {"format": 0.0, "recall": None}]
    assert group_totals(group, {}) == [1.0, 0.0]


def test_a_part_that_one_reply_lacks_sets_that_reply_aside() -> None:
    group = [{"format": 1.0, "recall": 0.5}, {"format": 1.0, "recall": None}]
    assert group_totals(group, {}) == [1.5, pytest.approx(NAN, nan_ok=True)]
    assert group_totals(group, {"recall": 0.0}) == [1.0, 1.0]
    assert all(math.isnan(total) for total in group_totals([{"recall": None}], {}))


def test_a_group_that_no_judge_scored_has_no_rewards() -> None:
    group = [{"format": 1.0, "event_recall": None}] * 4
    required = required_components(TASKS["captioning"])
    assert required == ("format", "event_recall")
    assert all(math.isnan(total) for total in group_totals(group, {}, required))
    assert required_components(TASKS["multiple_choice"]) == ()
