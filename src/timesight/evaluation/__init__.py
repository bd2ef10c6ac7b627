"""Evaluation: from a benchmark's files to figures one can trust.

``suites`` declares the benchmarks, ``runner`` asks and ``replies`` keeps what comes back, ``score`` turns it into
results (``figures`` of each protocol) and ``items`` keeps them item by item. ``questions`` and ``folder`` see to it
that what a folder holds is of one model and the same questions. ``compare`` sets two runs next to each
other, ``export`` writes tables and what leaderboards take, ``plan`` says beforehand what a run will cost. Only
``runner``, ``questions`` and ``plan`` need torch.
"""

from timesight.evaluation.figures import Scoring
from timesight.evaluation.folder import require_folder, require_unused
from timesight.evaluation.replies import Replies, kept_replies, read_replies
from timesight.evaluation.score import (
    EvalResult,
    joined_json,
    protocols_of,
    require_judge,
    score_answers,
    score_replies,
    score_tasks,
)
from timesight.evaluation.suites import SUITES, Suite, find_suite

__all__ = [
    "SUITES",
    "EvalResult",
    "Replies",
    "Scoring",
    "Suite",
    "find_suite",
    "joined_json",
    "kept_replies",
    "protocols_of",
    "read_replies",
    "require_folder",
    "require_judge",
    "require_unused",
    "score_answers",
    "score_replies",
    "score_tasks",
]
