"""A cache of decoded, resized frames on disk, with one file per content of a video, sampling and size.

A file is complete or absent, so several processes may share a cache, and a killed one does not damage it. Above the
size limit the least recently used files are removed. A full disk ends the caching, not the run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from timesight.errors import VideoError, reason_of
from timesight.types import FrameRequest, Video
from timesight.video.fingerprint import fingerprint, state
from timesight.video.probe import is_folder, require_file
from timesight.video.read import Frames
from timesight.video.sample import FrameBudget

LOGGER = logging.getLogger("timesight")
VERSION = 1  # of how frames are chosen, resized and stored, and part of the key
KEPT_SHARE = 0.9  # of the size limit: what is left after making room
RECOUNT_SHARE = 0.02  # of the size limit: after writing as much, what other processes wrote is counted too
FRAMES = ".frames"
FINGERPRINT = re.compile(rb"[0-9a-f]{40}")


class FrameCache:
    """A cache of frames.

    Args:
        folder: Created if needed; several processes may share it.
        max_bytes: Approximate size limit.

    Raises:
        OSError: If the folder cannot be created.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._is_full = False
        self._fingerprints: dict[str, str] = {}
        self._written = 0  # bytes since the last count
        self._counted = sum(size for _, size, _ in self._files())

    def key(self, video: Video, budget: FrameBudget, request: FrameRequest | None, factor: int) -> str:
        """Compute the key of frames: a digest of the file's content and of all that decides their choice and size.

        Args:
            video: The window is part of the key, the path is not.
            budget: Limits the size of frames, and without ``request`` their number.
            request: The frames that the task requires; None leaves the choice to ``budget``.
            factor: As in ``fit_size``.

        Raises:
            VideoError: If the file cannot be read.
        """
        asked = video.model_copy(update={"path": Path()}).model_dump_json(), budget.model_dump_json()
        wanted = None if request is None else (request.num_frames, request.times_s)
        text = json.dumps([VERSION, self._fingerprint(video.path), *asked, wanted, factor])
        return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()

    def read(self, key: str) -> Frames | None:
        """Read the frames under ``key``; None if there are none, or their file cannot be read."""
        file = self._folder / f"{key}{FRAMES}"
        try:
            with safe_open(file, framework="numpy") as kept:
                about = json.loads(kept.metadata()["about"])
                frames = Frames(
                    kept.get_tensor("pixels"),
                    kept.get_tensor("times_s"),
                    tuple(about["window_s"]),
                    about["duration_s"],
                )
        except (OSError, SafetensorError, ValueError, KeyError):
            return None
        with suppress(OSError):  # another user's file can be used, but its time of use not be set
            os.utime(file)
        return frames

    def write(self, key: str, frames: Frames) -> None:
        """Store ``frames`` under ``key`` and remove least recently used ones if the cache is full.

        Frames larger than 90% of the size limit are not stored. If the disk is full, a warning says so once, and
        nothing more is stored.
        """
        about = json.dumps({"window_s": frames.window_s, "duration_s": frames.duration_s})
        arrays: dict[str, NDArray[Any]] = {"pixels": np.ascontiguousarray(frames.pixels), "times_s": frames.times_s}
        size = frames.pixels.nbytes
        if size > self._max_bytes * KEPT_SHARE:
            return
        if (
            self._written > self._max_bytes * RECOUNT_SHARE
            or self._counted + self._written + size > self._max_bytes
        ):
            self._make_room(size)
        self._write(f"{key}{FRAMES}", lambda: save(arrays, metadata={"about": about}))
        self._written += size

    def _write(self, name: str, content: Callable[[], bytes]) -> None:
        if self._is_full:
            return
        unfinished = self._folder / f"{name}.{os.getpid()}"
        try:
            unfinished.write_bytes(content())
            with suppress(FileNotFoundError):  # another process removed it as unfinished, to make room
                unfinished.replace(self._folder / name)
        except OSError as error:
            self._is_full = True
            unfinished.unlink(missing_ok=True)
            LOGGER.warning("%s: nothing more is cached (%s)", self._folder, reason_of(error))

    def _make_room(self, size: int) -> None:
        files = sorted(self._files())
        total = sum(file_size for _, file_size, _ in files)
        if total + size > self._max_bytes:
            for _, file_size, file in files:
                if total + size <= self._max_bytes * KEPT_SHARE:
                    break
                file.unlink(missing_ok=True)  # another process may have removed it
                total -= file_size
        self._counted, self._written = total, 0

    def _files(self) -> list[tuple[int, int, Path]]:
        """Time of last use, size and path of each file of frames, unfinished ones of killed processes included."""
        files = []
        for file in self._folder.iterdir():
            try:
                if FRAMES in file.name:
                    stat = file.stat()
                    files.append((stat.st_mtime_ns, stat.st_size, file))
            except FileNotFoundError:
                continue
        return files

    def _fingerprint(self, path: Path) -> str:
        """The fingerprint of ``path``, which is cached too, so that each file is read once."""
        if is_folder(path):
            return fingerprint(path)
        require_file(path)
        try:
            known_as = f"{path.absolute()} {state(path)}"
        except OSError as error:
            raise VideoError(path, f"cannot be read ({reason_of(error)})") from None
        if known_as not in self._fingerprints:
            name = hashlib.blake2b(known_as.encode(), digest_size=20).hexdigest()
            note = self._folder / f"{name}.fingerprint"
            found = _noted(note)
            if found is None:
                found = fingerprint(path)
                self._write(note.name, found.encode)
            self._fingerprints[known_as] = found
        return self._fingerprints[known_as]


def _noted(note: Path) -> str | None:
    """The fingerprint in ``note``; None if there is none, or only part of it after a crash."""
    try:
        found = note.read_bytes()
    except OSError:
        return None
    return found.decode() if FINGERPRINT.fullmatch(found) else None
