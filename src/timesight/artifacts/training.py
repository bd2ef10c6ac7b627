"""What a training run writes."""

from __future__ import annotations

import statistics

from pydantic import ConfigDict

from timesight.artifacts.records import Metrics, Record

METRICS_FILE = "metrics.jsonl"
COMPLETIONS_DIR = "completions"
QUARANTINE_FILE = "quarantine.jsonl"
PREVIEW_FILE = "preview.jsonl"


class MetricsEntry(Record):
    """Metrics of one step; those of a validation have no ``loss``. docs/training.md lists the names."""

    model_config = ConfigDict(extra="allow")

    step: int

    @property
    def metrics(self) -> Metrics:
        """All metrics by name; those that are null in the file are left out."""
        return {name: value for name, value in (self.model_extra or {}).items() if value is not None}


class CompletionEntry(Record):
    """A sampled reply, with its reward components (None: not judged) and its advantage.

    Args:
        first_look: The reply that chose the ``segments`` of a second look, after which ``reply`` was given.
        segments: In seconds from the start of the file.
    """

    id: str
    reply: str
    first_look: str | None = None
    segments: tuple[tuple[float, float], ...] | None = None
    rewards: dict[str, float | None]
    advantage: float


class QuarantineEntry(Record):
    """A video that cannot be read, and the reason."""

    path: str
    reason: str


class PreviewEntry(Record):
    """What a group of replies of the untrained model earned.

    Args:
        settings: A digest of the settings that the replies depend on.
        rewards: Of each reply; None where it was not judged. Empty where the video cannot be read.
        components: Of each reply.
        num_truncated: Replies that reached the limit of new tokens.
    """

    id: str
    task: str
    settings: str
    rewards: tuple[float | None, ...]
    components: tuple[dict[str, float | None], ...]
    num_truncated: int

    @property
    def mean_reward(self) -> float | None:
        """The mean of those that were judged; None where there are none."""
        judged = self._judged()
        return statistics.fmean(judged) if judged else None

    @property
    def reward_std(self) -> float:
        """Their unbiased standard deviation; 0 for fewer than two."""
        judged = self._judged()
        return statistics.stdev(judged) if len(judged) > 1 else 0.0

    def _judged(self) -> list[float]:
        return [reward for reward in self.rewards if reward is not None]
