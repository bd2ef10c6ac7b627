"""From rewards to advantages: how much better a reply is than its group, on a scale that tasks can share.

B prompts, G replies a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from timesight.errors import TrainingError
from timesight.training.options import SCALE_REWARDS, import_function

STD_EPSILON = 1e-4
DECAY = 0.95  # of the running standard deviation of a task: about the last twenty steps count


def centered(rewards: Tensor) -> Tensor:
    """(B, G) rewards minus their group's mean, in float64.

    A reward that is not a finite number could not be judged: it takes no part in its group's mean, and its own
    entry is 0. So is every entry of a group with fewer than two judged rewards.
    """
    judged = rewards.isfinite()
    count = judged.sum(dim=1, keepdim=True)
    values = torch.where(judged, rewards.double(), 0.0)
    mean = values.sum(dim=1, keepdim=True) / count.clamp(min=1)
    return torch.where(judged & (count >= 2), values - mean, 0.0)


def group_std(rewards: Tensor) -> Tensor:
    """(B,) unbiased standard deviation of the judged rewards of each group, in float64; 0 for fewer than two."""
    count = rewards.isfinite().sum(dim=1)
    return (centered(rewards).square().sum(dim=1) / (count - 1).clamp(min=1)).sqrt()


def advantages(rewards: Tensor, std: Tensor | float | None = None) -> Tensor:
    """(B, G) float32 advantages of rewards (B, G) (paper, equation 1): ``(R − mean) / (std + 1e-4)``.

    ``std`` (B,) or a number takes the place of each group's own standard deviation; see ``AdvantageNormalizer``.
    """
    std = group_std(rewards) if std is None else torch.as_tensor(std)
    return (centered(rewards) / (std.double().view(-1, 1) + STD_EPSILON)).float()


class StepRewards(NamedTuple):
    """Rewards (B, G) of a step, on all processes, and the task of each prompt."""

    rewards: Tensor
    tasks: Sequence[str]


class AdvantageNormalizer:
    """What advantages are divided by (``scale_rewards``).

    ``group``  the group's own standard deviation (paper, equation 1)
    ``batch``  the standard deviation of all rewards of the step
    ``none``   1: groups whose rewards differ little then weigh little
    ``task``   a running standard deviation within the groups of one task, so that in joint training a task whose
               rewards are bunched (IoU) and one whose rewards are 0 or 1 (accuracy) weigh alike, and near-equal
               replies stay near-equal

    Any other kind is ``module:function``, which takes the rewards (B, G) of this process, NaN where a reply could
    not be judged, and returns advantages (B, G). Those of such replies are set to 0.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._custom = None if kind in SCALE_REWARDS else import_function(kind, SCALE_REWARDS)
        self._variances: dict[str, tuple[float, float]] = {}  # task: (weighted sum of variances, sum of weights)

    def __call__(self, rewards: Tensor, tasks: Sequence[str], everywhere: StepRewards | None = None) -> Tensor:
        """(B, G) advantages of rewards (B, G) of the prompts' ``tasks`` (B).

        ``everywhere``: rewards and tasks of all processes, where there are several. Raises TrainingError if a
        function returns another shape, or no number for a reply that was judged.
        """
        seen = everywhere or StepRewards(rewards, tasks)
        if self._custom is not None:
            return self._by_function(rewards)
        if self.kind == "group":
            return advantages(rewards)
        if self.kind == "none":
            return advantages(rewards, 1.0 - STD_EPSILON)
        if self.kind == "batch":
            return advantages(rewards, group_std(seen.rewards.reshape(1, -1)))
        self.observe(seen)
        return advantages(rewards, torch.tensor([self.task_std(task) for task in tasks]))

    def _by_function(self, rewards: Tensor) -> Tensor:
        assert self._custom is not None
        found = torch.as_tensor(self._custom(rewards), dtype=torch.float32)
        judged = rewards.isfinite()
        if found.shape != rewards.shape or not found[judged].isfinite().all():
            raise TrainingError(
                f"grpo.scale_rewards: {self.kind} must return {tuple(rewards.shape)} finite advantages; it "
                f"returned {tuple(found.shape)}, {int((~found.isfinite()).sum())} of them not finite"
            )
        return torch.where(judged, found, 0.0)

    def task_std(self, task: str) -> float:
        """The running standard deviation of ``task``: root of the mean variance within its groups."""
        total, weight = self._variances.get(task, (0.0, 0.0))
        return float((total / weight) ** 0.5) if weight else 0.0

    def observe(self, seen: StepRewards) -> None:
        """Update the running variance of each task in ``seen``: an exponential moving average.

        A call does this; a process without prompts in this step calls it alone, to keep the state of the others.
        """
        if self.kind != "task":
            return
        variances = group_std(seen.rewards).square()
        judged = seen.rewards.isfinite().sum(dim=1) >= 2
        for task in sorted(set(seen.tasks)):
            mine = [float(v) for v, t, ok in zip(variances, seen.tasks, judged, strict=True) if t == task and ok]
            if mine:
                total, weight = self._variances.get(task, (0.0, 0.0))
                share = 1 - DECAY
                self._variances[task] = (
                    DECAY * total + share * sum(mine) / len(mine),
                    DECAY * weight + share,
                )

    def state_dict(self) -> dict[str, list[float]]:
        """What a checkpoint must keep."""
        return {task: list(pair) for task, pair in self._variances.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Restore what ``state_dict`` returned."""
        self._variances = {task: (total, weight) for task, (total, weight) in state.items()}
