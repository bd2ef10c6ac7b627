"""The videos of a site: examples of whoever runs it, and what visitors upload.

A video is known by a token that nobody can guess. No part of a request is ever used as a path: uploads have random
names in a folder of their own, and what a request names is looked up.
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

from timesight.chat.web.settings import MB, RefusedError, SiteSettings
from timesight.errors import VideoError
from timesight.types import Video
from timesight.video import FrameBudget, probe, read
from timesight.video.pool import VideoPool

GLANCE = FrameBudget(min_frames=4, max_frames=4, min_pixels=784, max_pixels=112 * 112)
MAX_NAME = 80  # characters
FOLDER = "timesight-uploads-"
SWEEP_S = 30.0
YOUNG_S = 60.0  # a folder that is not locked yet may be about to be


@dataclass(frozen=True)
class StoredVideo:
    """A video that can be asked about; ``owner`` is the visitor who uploaded it, None for an example."""

    video: Video
    name: str
    duration_s: float
    owner: str | None = None
    added: float = field(default_factory=time.monotonic)


class VideoStore:
    """Videos by token. Close it when done: uploads go."""

    def __init__(self, settings: SiteSettings, pool: VideoPool) -> None:
        self._settings = settings
        self._pool = pool
        remove_orphans()
        self.folder = Path(tempfile.mkdtemp(prefix=FOLDER))  # for this user only
        self._lock = os.open(self.folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)  # says that a server lives here
        self._by_token: dict[str, StoredVideo] = {}

    def add_example(self, video: Video, name: str) -> str:
        """A video that every visitor sees. Raises VideoError."""
        return self._add(StoredVideo(video, name, probe(video).duration_s))

    def get(self, token: str) -> StoredVideo | None:
        """The video of ``token``, whoever asks: tokens are secrets."""
        return self._by_token.get(token)

    def names(self, visitor: str) -> dict[str, str]:
        """What ``visitor`` can choose from, by token."""
        return {token: v.name for token, v in self._by_token.items() if v.owner in (None, visitor)}

    async def receive(self, chunks: AsyncIterator[bytes], name: str, owner: str) -> str:
        """Keep an upload that is a video within the limits. Raises RefusedError, and then nothing is left of it."""
        if sum(video.owner == owner for video in self._by_token.values()) >= self._settings.max_uploads:
            raise RefusedError(
                429, f"you have {self._settings.max_uploads} uploads already; reload the page to drop them"
            )
        path = self.folder / secrets.token_hex(16)
        try:
            await self._write(chunks, path)
            settings = self._settings
            looking = self._pool.submit(path, inspect, path, settings.max_duration_s, settings.max_frame_px)
            try:
                duration_s = await asyncio.to_thread(looking.result)
            except VideoError as error:
                raise RefusedError(415, f"this is not a video that can be read: {error.reason}") from None
            return self._add(StoredVideo(Video(path=path), _plain(name), duration_s, owner))
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def forget(self, owner: str) -> None:
        """Remove what ``owner`` has uploaded."""
        self._remove([token for token, video in self._by_token.items() if video.owner == owner])

    async def sweep(self) -> None:
        """Remove uploads when their time is over, until this is cancelled."""
        while True:
            oldest = time.monotonic() - self._settings.keep_uploads_s
            self._remove(
                [t for t, video in self._by_token.items() if video.owner is not None and video.added < oldest]
            )
            await asyncio.sleep(min(SWEEP_S, self._settings.keep_uploads_s))

    def close(self) -> None:
        """Remove all uploads."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    async def _write(self, chunks: AsyncIterator[bytes], path: Path) -> None:
        left = self._settings.max_upload_bytes
        with path.open("xb") as file:
            async for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    raise RefusedError(413, f"the file is larger than {self._settings.max_upload_bytes / MB:g} MB")
                file.write(chunk)

    def _add(self, video: StoredVideo) -> str:
        token = secrets.token_urlsafe(24)
        self._by_token[token] = video
        return token

    def _remove(self, tokens: list[str]) -> None:
        for token in tokens:
            self._by_token.pop(token).video.path.unlink(missing_ok=True)


def remove_orphans() -> None:
    """Remove the uploads of servers that were killed: of folders of this user that nobody holds."""
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


def inspect(path: Path, max_duration_s: float, max_frame_px: int) -> float:
    """The duration of the upload at ``path``, in seconds; runs in a process of its own.

    What a file is, is known by decoding some of it. Raises VideoError for one that is none, or past the limits.
    """
    info = probe(Video(path=path))
    if info.width_px * info.height_px > max_frame_px:
        raise VideoError(path, f"frames of {info.width_px} × {info.height_px} px are too large")
    if not info.duration_s <= max_duration_s:
        raise VideoError(path, f"{info.duration_s:.0f} s are too long, {max_duration_s:.0f} s are taken")
    read(Video(path=path), GLANCE)
    return info.duration_s


def _plain(name: str) -> str:
    """A file's name as a label: it is shown, never used."""
    kept = "".join(c if c.isprintable() else "_" for c in name)[:MAX_NAME].strip()
    return kept or "upload"
