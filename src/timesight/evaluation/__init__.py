"""Evaluation: from a benchmark's files to figures one can trust.

``suites`` declares the benchmarks, ``runner`` asks the questions and ``replies`` stores the replies. ``score``
turns them into results (``figures`` of each protocol) and ``items`` into a record for each item. ``questions`` and
``folder`` make sure that a folder holds replies of one model, made with one set of settings, to the same questions.
``compare`` compares two runs, ``export`` writes tables and the files that leaderboards accept, ``plan`` estimates
what a run will take. Only ``runner``, ``questions`` and ``plan`` need torch.
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
from timesight.evaluation.suites import SUITES, Suite, find_suite, items_of, scoring_of

__all__ = [
    "SUITES",
    "EvalResult",
    "Replies",
    "Scoring",
    "Suite",
    "find_suite",
    "items_of",
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
    "scoring_of",
]
