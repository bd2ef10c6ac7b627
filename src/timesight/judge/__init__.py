"""Judges: language models that decide which events a caption entails, with checks on their replies.

``questions`` has the questions and the checks of replies, ``decoys`` the false events among them, ``asking`` sends
questions and caches replies, ``served`` and ``local`` are the two ways to run a model. ``noisy`` makes mistakes on
purpose.
"""

from timesight.judge.llm import LLMJudge
from timesight.judge.settings import JudgeSettings, open_judge

__all__ = ["JudgeSettings", "LLMJudge", "open_judge"]
