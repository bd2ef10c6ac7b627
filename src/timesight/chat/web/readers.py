"""Who reads the videos of a site: processes, so that a file made to blow up ends its process and not the site."""

from __future__ import annotations

from timesight.chat.web.settings import SiteSettings
from timesight.video.pool import VideoPool

QUICK_PX = 10**9  # in all frames of a video: some seconds of decoding on one core
QUICK_LIMIT_S = 30.0
NUM_QUICK, NUM_SLOW = 2, 1  # processes


class Readers:
    """A queue for what is quickly read and one for the rest, so that a few long videos do not hold up everybody."""

    def __init__(self, settings: SiteSettings) -> None:
        self.quick = VideoPool(NUM_QUICK, QUICK_LIMIT_S, settings.read_memory_bytes)
        self._slow = VideoPool(NUM_SLOW, settings.read_limit_s, settings.read_memory_bytes)

    def of(self, video_px: int) -> VideoPool:
        """Who reads a video of so many pixels in all its frames."""
        return self.quick if video_px <= QUICK_PX else self._slow

    def close(self) -> None:
        """End all processes, whatever they are at."""
        self.quick.close()
        self._slow.close()
