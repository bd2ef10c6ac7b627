"""A made world of coloured shapes with exact truth, written as real .mp4 files.

``scene`` decides what happens, ``render`` draws it, ``write`` puts videos and samples on disk.
"""

from timesight.world.scene import Event, Scene, make_scene
from timesight.world.write import Corruption, write_video, write_world

__all__ = ["Corruption", "Event", "Scene", "make_scene", "write_video", "write_world"]
