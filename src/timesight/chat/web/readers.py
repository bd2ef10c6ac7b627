"""Processes that read the videos of a site, so that a malicious file ends its process and not the server."""

from __future__ import annotations

from timesight.chat.web.settings import SiteSettings
from timesight.video.pool import VideoPool

QUICK_PX = 10**9  # in all frames of a video: some seconds of decoding on one core
QUICK_LIMIT_S = 30.0
NUM_QUICK, NUM_SLOW = 2, 1  # processes


class Readers:
    """Two pools of processes: for videos that are read quickly, and for the rest, so that these do not block all.

    Args:
        settings: Limits of time and memory.
    """

    def __init__(self, settings: SiteSettings) -> None:
        self.quick = VideoPool(NUM_QUICK, QUICK_LIMIT_S, settings.read_memory_bytes)
        self._slow = VideoPool(NUM_SLOW, settings.read_limit_s, settings.read_memory_bytes)

    def of(self, video_px: int) -> VideoPool:
        """Return the pool for a video with ``video_px`` pixels in all its frames."""
        return self.quick if video_px <= QUICK_PX else self._slow

    def close(self) -> None:
        """End all processes, even those that are reading."""
        self.quick.close()
        self._slow.close()
