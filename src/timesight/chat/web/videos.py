"""The videos of a site: its examples, and the uploads of visitors.

A video is addressed by a random token. No part of a request is ever used as a path: uploads get random names in a
separate folder, and tokens are looked up.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from timesight.chat.web.readers import Readers
from timesight.chat.web.settings import MB, RefusedError, SiteSettings
from timesight.errors import VideoError
from timesight.types import Video
from timesight.video import FrameBudget, VideoInfo, probe, read
from timesight.video.pool import VideoPool

GLANCE = FrameBudget(min_frames=4, max_frames=4, min_pixels=784, max_pixels=112 * 112)
GLANCE_S = 2.0  # from the start: later frames cost more to reach
MAX_NAME = 80  # characters
FOLDER = "timesight-uploads-"
SWEEP_S = 30.0
YOUNG_S = 60.0  # a new folder may not be locked yet


class Extent(NamedTuple):
    """Size of a video: its length in seconds, and the pixels in all its frames together."""

    duration_s: float
    video_px: int


@dataclass(frozen=True)
class StoredVideo:
    """A video that questions can be asked about.

    Args:
        video: The file.
        name: Label in the menu.
        extent: Its length and pixels.
        owner: The visitor who uploaded it; None for an example.
        num_bytes: Size of an upload.
        listed: Whether it is in the menu; otherwise it is reached by its token only.
        added: When, in seconds of ``time.monotonic``.
    """

    video: Video
    name: str
    extent: Extent
    owner: str | None = None
    num_bytes: int = 0
    listed: bool = True
    added: float = field(default_factory=time.monotonic)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.extent.duration_s


@dataclass(eq=False)
class _Arriving:
    """An upload that is being received."""

    path: Path
    owner: str
    num_bytes: int = 0


class VideoStore:
    """Videos by token, with the uploads in a temporary folder that ``close`` removes.

    Args:
        settings: Limits of uploads.
        readers: Inspect uploads, and read videos.
    """

    def __init__(self, settings: SiteSettings, readers: Readers) -> None:
        self._settings = settings
        self._readers = readers
        remove_orphans()
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER))  # for this user only
        self._lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)  # marks the folder as in use
        self._by_token: dict[str, StoredVideo] = {}
        self._arriving: list[_Arriving] = []

    def add_example(self, video: Video, name: str, *, listed: bool = True) -> str:
        """Add a video for all visitors.

        Args:
            video: The file.
            name: Label in the menu.
            listed: Whether it is in the menu.

        Returns:
            Its token.

        Raises:
            VideoError: If the video cannot be read.
        """
        return self._add(StoredVideo(video, name, _extent(probe(video)), listed=listed))

    def get(self, token: str) -> StoredVideo | None:
        """Return the video of a token, or None. The visitor is not checked: tokens are secret."""
        return self._by_token.get(token)

    def names(self, visitor: str) -> dict[str, str]:
        """Return the labels of the videos in a visitor's menu, by token: examples and the visitor's uploads."""
        return {
            t: video.name for t, video in self._by_token.items() if video.listed and video.owner in (None, visitor)
        }

    def pool(self, stored: StoredVideo) -> VideoPool:
        """Return the pool of processes that reads ``stored``."""
        return self._readers.of(stored.extent.video_px)

    async def receive(self, chunks: AsyncIterator[bytes], name: str, owner: str) -> str:
        """Receive an upload and store it if it is a video within the limits; otherwise nothing of it is kept.

        Args:
            chunks: The bytes of the file.
            name: The file's name, used as label only.
            owner: The visitor.

        Returns:
            The token of the video.

        Raises:
            RefusedError: 413 if the file is too large, 415 if it is not a video within the limits, 429 if the
                visitor has too many uploads, 507 if all uploads together take too much space.
        """
        arriving = self._begin(owner)
        try:
            await self._write(chunks, arriving)
            extent = await self._inspected(arriving.path)
            video = Video(path=arriving.path)
            return self._add(StoredVideo(video, _plain(name), extent, owner, arriving.num_bytes))
        except BaseException:
            arriving.path.unlink(missing_ok=True)
            raise
        finally:
            self._arriving.remove(arriving)

    def forget(self, owner: str) -> None:
        """Remove all uploads of a visitor."""
        self._remove([token for token, video in self._by_token.items() if video.owner == owner])

    async def sweep(self) -> None:
        """Remove expired uploads, again and again until the task is canceled."""
        while True:
            oldest = time.monotonic() - self._settings.keep_uploads_s
            self._remove(
                [t for t, video in self._by_token.items() if video.owner is not None and video.added < oldest]
            )
            await asyncio.sleep(min(SWEEP_S, self._settings.keep_uploads_s))

    def close(self) -> None:
        """Remove all uploads and their folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _begin(self, owner: str) -> _Arriving:
        """Reserve a place for an upload before any of it is received."""
        most = self._settings.max_uploads
        if sum(upload.owner == owner for upload in self._uploads()) >= most:
            raise RefusedError(429, f"you have {most} uploads already; reload the page to drop them")
        arriving = _Arriving(self.folder / secrets.token_hex(16), owner)
        self._arriving.append(arriving)
        return arriving

    async def _write(self, chunks: AsyncIterator[bytes], arriving: _Arriving) -> None:
        settings = self._settings
        with arriving.path.open("xb") as file:
            async for chunk in chunks:
                arriving.num_bytes += len(chunk)
                if arriving.num_bytes > settings.max_upload_bytes:
                    raise RefusedError(413, f"the file is larger than {settings.max_upload_bytes / MB:g} MB")
                if sum(upload.num_bytes for upload in self._uploads()) > settings.max_kept_bytes:
                    raise RefusedError(507, "there is no room for more uploads now; try again in some minutes")
                file.write(chunk)

    def _uploads(self) -> list[StoredVideo | _Arriving]:
        """All videos, and the uploads being received."""
        return [*self._by_token.values(), *self._arriving]

    async def _inspected(self, path: Path) -> Extent:
        settings = self._settings
        limits = settings.max_duration_s, settings.max_frame_px, settings.max_video_px
        looking = self._readers.quick.submit(path, inspect, path, *limits)
        try:
            return await asyncio.to_thread(looking.result)
        except VideoError as error:
            raise RefusedError(415, f"this is not a video that can be read: {error.reason}") from None
        finally:
            looking.future.cancel()  # type: ignore[no-untyped-call]  # if the request was canceled

    def _add(self, video: StoredVideo) -> str:
        token = secrets.token_urlsafe(24)
        self._by_token[token] = video
        return token

    def _remove(self, tokens: list[str]) -> None:
        for token in tokens:
            self._by_token.pop(token).video.path.unlink(missing_ok=True)


def remove_orphans() -> None:
    """Remove the uploads of servers that were killed: this user's upload folders that no process has locked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):  # another server may do the same
            about = folder.lstat()
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < YOUNG_S:
                continue
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(held)


def inspect(path: Path, max_duration_s: float, max_frame_px: int, max_video_px: int) -> Extent:
    """Check an upload by probing it and decoding its first seconds; it runs in a separate process.

    Args:
        path: The file.
        max_duration_s: Longest video.
        max_frame_px: Most pixels (width × height) of a frame.
        max_video_px: Most pixels in all frames together.

    Raises:
        VideoError: If the file is not a video, or exceeds a limit.
    """
    info = probe(Video(path=path))
    extent = _extent(info)
    if info.width_px * info.height_px > max_frame_px:
        raise VideoError(path, f"frames of {info.width_px} × {info.height_px} px are too large")
    if not info.duration_s <= max_duration_s:
        raise VideoError(path, f"{info.duration_s:.0f} s are too long, {max_duration_s:.0f} s are taken")
    if extent.video_px > max_video_px:
        raise VideoError(
            path, f"{info.num_frames} frames of {info.width_px} × {info.height_px} px are too many: make it smaller"
        )
    read(Video(path=path, end_s=min(GLANCE_S, info.duration_s)), GLANCE)
    return extent


def _extent(info: VideoInfo) -> Extent:
    return Extent(info.duration_s, info.width_px * info.height_px * info.num_frames)


def _plain(name: str) -> str:
    """A file's name as a label, which is shown but never used as a path."""
    kept = "".join(c if c.isprintable() else "_" for c in name)[:MAX_NAME].strip()
    return kept or "upload"
