"""Warnings during a GRPO run: what its metrics say is going wrong, once, with advice."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from timesight.training.loop import Callback

LOGGER = logging.getLogger("timesight")
WINDOW = 20  # steps whose mean is looked at
FALLEN_REWARD, FALLEN_ENTROPY, FALLEN_LENGTH = 0.5, 0.05, 0.33  # shares of what there was before
MAX_KL, MAX_SAMPLER_KL = 1.0, 0.1  # nats a token
MAX_TRUNCATED, MAX_ZERO_STD = 0.5, 0.8  # shares
WATCHED = ("reward", "entropy", "completion_tokens", "kl", "sampler_kl", "truncated_share", "frac_reward_zero_std")


class Watch(Callback):
    """Logs each warning of ``warnings_of`` the first time that it holds."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._first: dict[str, float] = {}
        self._best_reward = float("-inf")
        self._said: set[str] = set()

    def on_log(self, step: int, entry: dict[str, float], out: Path) -> None:
        """Take in a step."""
        for name in WATCHED:
            if name in entry:
                self._recent[name].append(entry[name])
        now = {name: sum(values) / WINDOW for name, values in self._recent.items() if len(values) == WINDOW}
        for name, mean in now.items():
            self._first.setdefault(name, mean)
        self._best_reward = max(self._best_reward, now.get("reward", float("-inf")))
        for metric, warning in warnings_of(now, self._first, self._best_reward):
            if metric not in self._said:
                self._said.add(metric)
                LOGGER.warning("step %d: %s", step, warning)


def warnings_of(
    now: Mapping[str, float], first: Mapping[str, float], best_reward: float
) -> Iterator[tuple[str, str]]:
    """What goes wrong in a run.

    Args:
        now: Means of metrics over the last steps.
        first: Means over the first steps.
        best_reward: The largest mean reward over as many steps so far.

    Yields:
        The metric, and a sentence with what to do.
    """

    def fell(metric: str, share: float) -> bool:
        return metric in now and now[metric] < share * first[metric]

    if "reward" in now and now["reward"] < FALLEN_REWARD * best_reward:
        yield (
            "reward",
            f"the mean reward fell from {best_reward:.2f} to {now['reward']:.2f}: go back to an earlier checkpoint "
            "with a lower train.learning_rate or a higher grpo.beta",
        )
    if fell("entropy", FALLEN_ENTROPY):
        yield (
            "entropy",
            f"the entropy fell from {first['entropy']:.3f} to {now['entropy']:.4f}: the replies of a group hardly "
            "differ; lower train.learning_rate, or raise grpo.temperature or grpo.epsilon_high",
        )
    if fell("completion_tokens", FALLEN_LENGTH):
        yield (
            "completion_tokens",
            f"replies shrank from {first['completion_tokens']:.0f} to {now['completion_tokens']:.0f} tokens: read "
            "some in completions/, and check that no reward pays for saying less",
        )
    if now.get("truncated_share", 0.0) > MAX_TRUNCATED:
        yield (
            "truncated_share",
            f"{now['truncated_share']:.0%} of the replies are cut off: raise grpo.max_completion_length",
        )
    if now.get("kl", 0.0) > MAX_KL:
        yield (
            "kl",
            f"the KL divergence to the reference is {now['kl']:.1f} a token: the policy has moved far; raise "
            "grpo.beta or lower train.learning_rate",
        )
    if now.get("sampler_kl", 0.0) > MAX_SAMPLER_KL:
        yield (
            "sampler_kl",
            f"the generator's probabilities are not the trainer's (sampler_kl {now['sampler_kl']:.2f}): set "
            "grpo.importance_sampling_correction, and check that the generator has the newest weights",
        )
    if now.get("frac_reward_zero_std", 0.0) > MAX_ZERO_STD:
        yield (
            "frac_reward_zero_std",
            f"in {now['frac_reward_zero_std']:.0%} of the groups all replies earn the same and teach nothing: take "
            "harder or easier samples, or more generations",
        )
