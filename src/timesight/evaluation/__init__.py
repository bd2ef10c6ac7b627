"""Evaluation: ``runner`` asks and keeps replies, ``score`` turns replies into figures."""

from timesight.evaluation.runner import EvalSettings, Replies, collect_replies, read_replies
from timesight.evaluation.score import (
    EvalResult,
    joined_json,
    require_judge,
    score_replies,
    score_tasks,
    write_result,
)

__all__ = [
    "EvalResult",
    "EvalSettings",
    "Replies",
    "collect_replies",
    "joined_json",
    "read_replies",
    "require_judge",
    "score_replies",
    "score_tasks",
    "write_result",
]
