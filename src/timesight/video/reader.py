"""Frames of many videos: in memory if they were read lately, from the cache, or read ahead in other processes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from timesight.types import FrameRequest, Video
from timesight.video.cache import FrameCache
from timesight.video.pool import Pending, VideoPool
from timesight.video.read import Frames, read
from timesight.video.sample import FrameBudget

MEMORY_BYTES = 2 << 30
Wanted = tuple[Video, FrameRequest | None]


class ReadingSettings(BaseModel):
    """How videos are read: by how many processes, how far ahead, and what is kept of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(default=2, ge=0)  # processes that read ahead; with 0 there is no time limit either
    ahead: int = Field(default=16, ge=1)  # prompts
    limit_s: float = Field(default=300.0, gt=0)  # a video that takes longer is broken
    cache: Path | None = None  # folder of decoded frames, for later epochs and runs
    cache_gb: float = Field(default=50.0, gt=0)


class FrameReader:
    """``read`` for many videos. Close it when done, or use it in a ``with`` statement."""

    def __init__(
        self,
        budget: FrameBudget,
        factor: int,
        settings: ReadingSettings | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._budget = budget
        self._factor = factor
        self.settings = settings or ReadingSettings(workers=0)
        self._memory_bytes = memory_bytes
        self._held: OrderedDict[Wanted, Frames] = OrderedDict()
        self._held_bytes = 0
        self._pending: dict[Wanted, Pending[Frames]] = {}
        self._pool: VideoPool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def expect(self, wanted: Iterable[Wanted]) -> None:
        """Begin to read what will be asked for soon."""
        if self.settings.workers == 0:
            return
        for key in wanted:
            if key not in self._held and key not in self._pending:
                self._pending[key] = self._submit(key)

    def read(self, video: Video, request: FrameRequest | None = None) -> Frames:
        """Frames of ``video``, as ``timesight.video.read`` returns them. Raises VideoError."""
        key = (video, request)
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        if self.settings.workers == 0:
            frames = _load(*key, self._budget, self._factor, self.settings.cache, self._cache_bytes)
        else:
            pending = self._pending.pop(key, None) or self._submit(key)
            frames = pending.result()
        self._hold(key, frames)
        return frames

    def close(self) -> None:
        """End the processes; what was read stays in memory."""
        self._pending.clear()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    @property
    def _cache_bytes(self) -> int:
        return int(self.settings.cache_gb * 1e9)

    def _submit(self, key: Wanted) -> Pending[Frames]:
        if self._pool is None:
            self._pool = VideoPool(self.settings.workers, self.settings.limit_s)
        video, request = key
        return self._pool.submit(
            video.path, _load, video, request, self._budget, self._factor, self.settings.cache, self._cache_bytes
        )

    def _hold(self, key: Wanted, frames: Frames) -> None:
        self._held[key] = frames
        self._held_bytes += frames.pixels.nbytes
        while self._held_bytes > self._memory_bytes and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self._held_bytes -= oldest.pixels.nbytes


def _load(
    video: Video,
    request: FrameRequest | None,
    budget: FrameBudget,
    factor: int,
    cache_folder: Path | None,
    cache_bytes: int,
) -> Frames:
    """Read ``video`` through the cache; runs in any process."""
    if cache_folder is None:
        return read(video, budget, request, factor)
    cache = _open_cache(cache_folder, cache_bytes)
    key = cache.key(video, budget, request, factor)
    frames = cache.read(key)
    if frames is None:
        frames = read(video, budget, request, factor)
        cache.write(key, frames)
    return frames


@lru_cache
def _open_cache(folder: Path, max_bytes: int) -> FrameCache:
    return FrameCache(folder, max_bytes)
