"""A synthetic world of colored shapes with exact truth, written as real .mp4 files.

``settings`` says what kind of world it is, ``generate`` draws scenes at random, ``scene`` is what happens in one,
and ``render`` draws it. ``questions`` asks about it in the words of ``wording``, with options from ``choices`` and
mistakes from ``corruption``. ``write`` puts videos and samples on disk, and ``judge`` reads captions.
"""

from timesight.world.generate import make_scene
from timesight.world.judge import WorldJudge
from timesight.world.questions import QUESTIONS, unseen_samples
from timesight.world.scene import Event, Scene
from timesight.world.settings import WORLDS, WorldSettings
from timesight.world.write import write_video, write_world

__all__ = [
    "QUESTIONS",
    "WORLDS",
    "Event",
    "Scene",
    "WorldJudge",
    "WorldSettings",
    "make_scene",
    "unseen_samples",
    "write_video",
    "write_world",
]
