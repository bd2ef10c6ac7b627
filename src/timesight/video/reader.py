"""Frames of many videos: in memory if they were read lately, from the cache, or read ahead in other processes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
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
    """Frames to read: those of ``request`` where a task demands some, else as many as the budget says.

    Of what is looked at second_look, ``share`` says how much of all that this is; None for anything else.
    """

    video: Video
    request: FrameRequest | None = None
    share: float | None = None


class ReadingSettings(BaseModel):
    """How videos are read: by how many processes, how far ahead, and what is kept of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(default=2, ge=0)  # processes that read ahead; with 0 there is no time limit either
    ahead: int = Field(default=16, ge=1)  # prompts
    limit_s: float = Field(default=300.0, gt=0)  # a video that takes longer is broken
    cache: Path | None = None  # folder of decoded frames, for later epochs and runs
    cache_gb: float = Field(default=50.0, gt=0)


class FrameReader:
    """``read`` for many videos. Close it when done, or use it in a ``with`` statement.

    A ``pool`` of processes that is given reads whatever the settings say, and stays open.
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

    def expect(self, wanted: Iterable[Wanted]) -> None:
        """Begin to read what will be asked for soon."""
        if not self._in_processes:
            return
        for key in wanted:
            if key not in self._held and key not in self._pending:
                self._pending[key] = self._submit(key)

    def read(self, wanted: Wanted) -> Frames:
        """The frames of ``wanted``, as ``timesight.video.read`` returns them. Raises VideoError."""
        if wanted in self._held:
            self._held.move_to_end(wanted)
            return self._held[wanted]
        if not self._in_processes:
            frames = _load(self._job(wanted))
        else:
            pending = self._pending.pop(wanted, None) or self._submit(wanted)
            frames = pending.result()
        self._hold(wanted, frames)
        return frames

    def close(self) -> None:
        """End the processes; what was read stays in memory."""
        self._pending.clear()
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    @property
    def _in_processes(self) -> bool:
        return self._shared_pool is not None or self.settings.workers > 0

    def _job(self, wanted: Wanted) -> _Job:
        budget = self._budget if wanted.share is None else self._second_look.budget(self._budget, wanted.share)
        return _Job(wanted, budget, self._factor, self.settings.cache, int(self.settings.cache_gb * 1e9))

    def _submit(self, wanted: Wanted) -> Pending[Frames]:
        pool = self._shared_pool or self._pool
        if pool is None:
            pool = self._pool = VideoPool(self.settings.workers, self.settings.limit_s)
        return pool.submit(wanted.video.path, _load, self._job(wanted))

    def _hold(self, key: Wanted, frames: Frames) -> None:
        self._held[key] = frames
        self._held_bytes += frames.pixels.nbytes
        while self._held_bytes > self._memory_bytes and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self._held_bytes -= oldest.pixels.nbytes


class _Job(NamedTuple):
    """What ``_load`` needs, in any process."""

    wanted: Wanted
    budget: FrameBudget
    factor: int
    cache_folder: Path | None
    cache_bytes: int


def _load(job: _Job) -> Frames:
    """Read what is wanted, through the cache."""
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
