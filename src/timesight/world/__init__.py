"""A synthetic world of colored shapes with exact truth, written as real .mp4 files.

``scene`` decides what happens, ``render`` draws it, ``questions`` asks about it, ``write`` puts videos and
samples on disk, and ``judge`` reads its captions.
"""

from timesight.world.judge import WorldJudge
from timesight.world.questions import QUESTIONS, unseen_samples
from timesight.world.scene import Event, Scene, make_scene
from timesight.world.settings import WorldSettings
from timesight.world.write import write_video, write_world

__all__ = [
    "QUESTIONS",
    "Event",
    "Scene",
    "WorldJudge",
    "WorldSettings",
    "make_scene",
    "unseen_samples",
    "write_video",
    "write_world",
]
