"""The same rewards for other trainers: TRL, ms-swift and verl.

Data sets need the sample as one line of JSON, as in our JSONL files: for TRL and ms-swift in a column ``sample``,
for verl as ``ground_truth``. Each adapter only changes signatures; the task's own file defines what a reply earns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from timesight.tasks import TASKS
from timesight.tasks.scoring import reply_rewards
from timesight.types import Judge, Rewards

Completion = str | Sequence[dict[str, Any]]  # plain text, or the messages of one turn
RewardFunction = Callable[..., list[float | None]]


def trl_rewards(*, think: bool = False, judge: Judge | None = None) -> list[RewardFunction]:
    """Reward functions for the argument ``reward_funcs`` of TRL's ``GRPOTrainer``.

    Args:
        think: Whether prompts ask for ``<think>…</think>``.
        judge: Scores captions; None leaves what needs one unscored.

    Returns:
        One function for each reward component of any task, with the component's name. It takes ``completions`` and
        the column ``sample``. It returns None, which TRL leaves out of the sum, for replies to tasks without the
        component and for replies that could not be judged.
    """
    components = dict.fromkeys(component for task in TASKS.values() for component in task.component_names)
    scored: dict[str, Any] = {"batch": None, "rows": []}  # the functions of one batch share its rewards

    def function_for(component: str) -> RewardFunction:
        def reward(completions: Sequence[Completion], sample: Sequence[str], **unused: Any) -> list[float | None]:
            batch = (list(map(_text, completions)), list(sample))
            if scored["batch"] != batch:
                scored.update(batch=batch, rows=_rewards(completions, sample, think, judge))
            return [row.get(component) for row in scored["rows"]]

        reward.__name__ = component
        return reward

    return [function_for(component) for component in components]


def swift_reward(*, think: bool = False, judge: Judge | None = None) -> type:
    """A reward class for ms-swift's ``orms``; in a plugin file: ``orms["timesight"] = swift_reward()``.

    Args:
        think: Whether prompts ask for ``<think>…</think>``.
        judge: Scores captions; None leaves what needs one unscored.

    Returns:
        A class whose instances return the sum of the reward components of each reply; None for a reply that could
        not be judged.
    """

    class Reward:
        """Called with a batch of replies and the columns of their rows in the data set."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pass

        def __call__(
            self, completions: Sequence[Completion], sample: Sequence[str], **unused: Any
        ) -> list[float | None]:
            return [_total(row) for row in _rewards(completions, sample, think, judge)]

    return Reward


def verl_reward(*, think: bool = False, judge: Judge | None = None) -> Callable[..., dict[str, float]]:
    """A function ``compute_score`` for verl's ``custom_reward_function``.

    Args:
        think: Whether prompts ask for ``<think>…</think>``.
        judge: Scores captions; None leaves what needs one unscored.

    Returns:
        A function of a reply and its ``ground_truth``, the sample as one line of JSON. It returns ``score``, the
        sum of the reward components, ``format`` and ``unscored``. verl needs a score for every reply: one that
        could not be judged gets ``score`` 0 and ``unscored`` 1, so that such replies can be counted.
    """

    def compute_score(
        data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, **unused: Any
    ) -> dict[str, float]:
        (row,) = _rewards([solution_str], [ground_truth], think, judge)
        total = _total(row)
        # The same keys for every task: verl collates them over the batch.
        return {"score": total or 0.0, "unscored": float(total is None), "format": row["format"] or 0.0}

    return compute_score


def _rewards(
    completions: Sequence[Completion], samples: Sequence[str], think: bool, judge: Judge | None
) -> list[Rewards]:
    records = [json.loads(line) for line in samples]
    items = [TASKS[record["task"]].Sample.model_validate(record) for record in records]
    return reply_rewards([_text(completion) for completion in completions], items, [think] * len(items), judge)


def _text(completion: Completion) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def _total(components: Rewards) -> float | None:
    values = [value for value in components.values() if value is not None]
    return sum(values) if len(values) == len(components) else None
