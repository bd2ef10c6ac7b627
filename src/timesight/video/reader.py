"""Frames of many videos: recent ones in memory, others from the cache or read ahead by other processes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

from timesight.errors import InputError, reason_of
from timesight.types import FrameRequest, Video
from timesight.video.cache import FrameCache
from timesight.video.pool import Pending, VideoPool
from timesight.video.read import Frames, read
from timesight.video.sample import FrameBudget, SecondLook

MEMORY_BYTES = 2 << 30


class Wanted(NamedTuple):
    """Frames to read.

    Args:
        video: With the window.
        request: Frames that the task requires; None leaves their number to the budget.
        share: For a segment of a second look, its share of the total length of the prompt's segments, in (0, 1].
            None for anything else.
    """

    video: Video
    request: FrameRequest | None = None
    share: float | None = None


class ReadingSettings(BaseModel):
    """How videos are read.

    Args:
        workers: Processes that read ahead. 0 reads in the calling process, without a time limit.
        ahead: Number of prompts whose videos are read ahead.
        limit_s: Seconds for one video; one that takes longer is broken.
        cache: Folder of decoded frames for later epochs and runs; None does not cache.
        cache_gb: Approximate size limit of the cache, in units of 10^9 bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(default=2, ge=0)
    ahead: int = Field(default=16, ge=1)
    limit_s: float = Field(default=300.0, gt=0)
    cache: Path | None = None
    cache_gb: float = Field(default=50.0, gt=0)


@contextmanager
def reading_pool(settings: ReadingSettings) -> Iterator[VideoPool | None]:
    """The processes that ``settings`` ask for, to be shared by readers; None if they ask for none."""
    if settings.workers == 0:
        yield None
        return
    pool = VideoPool(settings.workers, settings.limit_s)
    try:
        yield pool
    finally:
        pool.close()


class FrameReader:
    """Reads frames of many videos. Close it when done, or use it in a ``with`` statement.

    Args:
        budget: Number and size of frames.
        factor: Sides are multiples of this many pixels (``fit_size``).
        settings: None reads in the calling process, without a cache.
        second_look: The budget of segments in relation to ``budget``; None has the defaults.
        memory_bytes: Limit for frames held in memory; the latest are held in any case.
        pool: Processes to read in, instead of ``settings.workers`` new ones; ``close`` leaves them running.
    """

    def __init__(
        self,
        budget: FrameBudget,
        factor: int,
        settings: ReadingSettings | None = None,
        second_look: SecondLook | None = None,
        memory_bytes: int = MEMORY_BYTES,
        pool: VideoPool | None = None,
    ) -> None:
        self._budget = budget
        self._second_look = second_look or SecondLook()
        self._factor = factor
        self.settings = settings or ReadingSettings(workers=0)
        self._memory_bytes = memory_bytes
        self._held: OrderedDict[Wanted, Frames] = OrderedDict()
        self._held_bytes = 0
        self._pending: dict[Wanted, Pending[Frames]] = {}
        self._shared_pool = pool
        self._pool: VideoPool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prefetch(self, wanted: Iterable[Wanted]) -> None:
        """Start to read ahead what ``read`` will be called with; without processes this does nothing."""
        if self.pool is None:
            return
        for key in wanted:
            if key not in self._held and key not in self._pending:
                self._pending[key] = self._submit(key, self.pool)

    def read(self, wanted: Wanted) -> Frames:
        """Read frames, as ``timesight.video.read`` does; wait for those that are being read ahead.

        Raises:
            VideoError: As ``timesight.video.read``; and if another process reads, for a video that exceeds the time
                or memory limit or crashes the decoder.
            InputError: If the processes cannot be started, or the folder of the cache cannot be created.
        """
        if wanted in self._held:
            self._held.move_to_end(wanted)
            return self._held[wanted]
        if self.pool is None:
            frames = _load(self._job(wanted))
        else:
            pending = self._pending.pop(wanted, None) or self._submit(wanted, self.pool)
            frames = pending.result()
        self._hold(wanted, frames)
        return frames

    def close(self) -> None:
        """Terminate the processes; frames in memory stay."""
        self._pending.clear()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    @property
    def pool(self) -> VideoPool | None:
        """The processes that read, for other readers; None if there are none."""
        if self._pool is None and self._shared_pool is None and self.settings.workers > 0:
            self._pool = VideoPool(self.settings.workers, self.settings.limit_s)
        return self._shared_pool or self._pool

    def _job(self, wanted: Wanted) -> _Job:
        budget = self._budget if wanted.share is None else self._second_look.budget(self._budget, wanted.share)
        return _Job(wanted, budget, self._factor, self.settings.cache, int(self.settings.cache_gb * 1e9))

    def _submit(self, wanted: Wanted, pool: VideoPool) -> Pending[Frames]:
        return pool.submit(wanted.video.path, _load, self._job(wanted))

    def _hold(self, key: Wanted, frames: Frames) -> None:
        self._held[key] = frames
        self._held_bytes += frames.pixels.nbytes
        while self._held_bytes > self._memory_bytes and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self._held_bytes -= oldest.pixels.nbytes


class _Job(NamedTuple):
    """The arguments of ``_load``, in any process."""

    wanted: Wanted
    budget: FrameBudget
    factor: int
    cache_folder: Path | None
    cache_bytes: int


def _load(job: _Job) -> Frames:
    """Read frames from the cache, or from the video and add them to the cache."""
    asked = (job.wanted.video, job.budget, job.wanted.request, job.factor)
    if job.cache_folder is None:
        return read(*asked)
    cache = _open_cache(job.cache_folder, job.cache_bytes)
    key = cache.key(*asked)
    frames = cache.read(key)
    if frames is None:
        frames = read(*asked)
        cache.write(key, frames)
    return frames


@lru_cache
def _open_cache(folder: Path, max_bytes: int) -> FrameCache:
    try:
        return FrameCache(folder, max_bytes)
    except OSError as error:
        raise InputError(
            f"{folder}: no frames can be kept there ({reason_of(error)}); give reading.cache a folder"
        ) from None
