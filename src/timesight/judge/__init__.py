"""Judges: models that say which events a caption tells, with everything done so that their word can be trusted.

``questions`` is what they are asked and what counts as an answer, ``asking`` puts the questions and keeps the
answers, ``served`` and ``local`` are the two ways to reach a model.
"""

from timesight.judge.asking import AskingJudge
from timesight.judge.settings import JudgeSettings, open_judge

__all__ = ["AskingJudge", "JudgeSettings", "open_judge"]
