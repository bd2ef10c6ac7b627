"""Frames that were read once and may be wanted again, kept in memory up to a bound."""

from __future__ import annotations

from collections import OrderedDict

from timesight.types import FrameRequest, Video
from timesight.video.read import Frames, read
from timesight.video.sample import FrameBudget

DEFAULT_BYTES = 2 << 30


class FrameMemory:
    """``read`` with a memory: the most recently used frames stay, up to ``max_bytes`` of pixels."""

    def __init__(self, budget: FrameBudget, factor: int, max_bytes: int = DEFAULT_BYTES) -> None:
        self._budget = budget
        self._factor = factor
        self._max_bytes = max_bytes
        self._held: OrderedDict[tuple[Video, FrameRequest | None], Frames] = OrderedDict()
        self._bytes = 0

    def read(self, video: Video, request: FrameRequest | None = None) -> Frames:
        """Frames of ``video``, as ``timesight.video.read`` returns them. Raises VideoError."""
        key = (video, request)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        frames = read(video, self._budget, request, self._factor)
        self._held[key] = frames
        self._bytes += frames.pixels.nbytes
        while self._bytes > self._max_bytes and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.pixels.nbytes
        return frames
