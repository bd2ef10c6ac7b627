"""Decoded, sized frames on disk, one file for each (content of the video, sampling, size).

A file is complete or absent, so several processes may share a cache and a kill does no harm. Past the bound the
files that were not used for the longest time go. A disk that is full ends the caching, not the run.
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
VERSION = 1  # of how frames are chosen, sized and stored: another one finds none of the files of this one
KEPT_SHARE = 0.9  # of the bound: what is left after making room
RECOUNT_SHARE = 0.02  # of the bound: after writing as much, what other processes wrote is counted too
FRAMES = ".frames"
FINGERPRINT = re.compile(rb"[0-9a-f]{40}")


class FrameCache:
    """Frames of videos in ``folder``, up to about ``max_bytes``. Raises OSError where the folder cannot be made."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_bytes = max_bytes
        self._is_full = False
        self._fingerprints: dict[str, str] = {}
        self._written = 0  # bytes since the last count
        self._counted = sum(size for _, size, _ in self._files())

    def key(self, video: Video, budget: FrameBudget, request: FrameRequest | None, factor: int) -> str:
        """What frames are known by: the content of the file, and all that says which of them and how large.

        Raises VideoError for a file that cannot be read.
        """
        asked = video.model_copy(update={"path": Path()}).model_dump_json(), budget.model_dump_json()
        wanted = None if request is None else (request.num_frames, request.times_s)
        text = json.dumps([VERSION, self._fingerprint(video.path), *asked, wanted, factor])
        return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()

    def read(self, key: str) -> Frames | None:
        """The frames under ``key``, or None; a file that cannot be read counts as absent."""
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
        with suppress(OSError):  # somebody else's file can be used, but not be marked as used
            os.utime(file)
        return frames

    def write(self, key: str, frames: Frames) -> None:
        """Keep ``frames``, making room where there is none."""
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
            with suppress(FileNotFoundError):  # another process took it for a killed one's, and made room
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
                file.unlink(missing_ok=True)  # another process may have been faster
                total -= file_size
        self._counted, self._written = total, 0

    def _files(self) -> list[tuple[int, int, Path]]:
        """Time of last use, size and path of each file of frames, and of what a killed process left unfinished."""
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
        """The fingerprint of ``path``, kept too, so that each file is read through once."""
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
    """The fingerprint in ``note``; None if there is none, or if a crash of the machine left half of it."""
    try:
        found = note.read_bytes()
    except OSError:
        return None
    return found.decode() if FINGERPRINT.fullmatch(found) else None
