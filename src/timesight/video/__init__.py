"""From video files to frames: ``probe`` gives size and timing, ``sample`` chooses times, ``read`` decodes."""

from timesight.video.pool import VideoPool
from timesight.video.probe import VideoInfo, probe
from timesight.video.quarantine import Quarantine
from timesight.video.read import Frames, read
from timesight.video.reader import FrameReader, ReadingSettings, Wanted, reading_pool
from timesight.video.sample import FrameBudget, SecondLook, choose_times, count_frames, fit_size

__all__ = [
    "FrameBudget",
    "FrameReader",
    "Frames",
    "Quarantine",
    "ReadingSettings",
    "SecondLook",
    "VideoInfo",
    "VideoPool",
    "Wanted",
    "choose_times",
    "count_frames",
    "fit_size",
    "probe",
    "read",
    "reading_pool",
]
