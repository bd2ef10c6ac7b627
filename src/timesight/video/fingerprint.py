"""Digests of the content of videos: the same content has the same digest, whatever its path."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from timesight.errors import VideoError, reason_of

CHUNK = 1 << 20


def fingerprint(path: Path) -> str:
    """Compute a digest of a video for use as a cache key.

    Returns:
        For a file, a digest of its content (40 hex digits); for a folder of frames, one of the names, sizes and
        modification times of its files.

    Raises:
        VideoError: If it cannot be read.
    """
    try:
        if not path.is_dir():
            return content_fingerprint([path])
        digest = hashlib.blake2b(digest_size=20)
        for file in sorted(path.iterdir()):
            digest.update(os.fsencode(f"{file.name} {state(file)}\n"))
    except OSError as error:
        raise VideoError(path, f"cannot be read ({reason_of(error)})") from None
    return digest.hexdigest()


def content_fingerprint(files: Iterable[Path]) -> str:
    """Compute a digest of the content of ``files`` in order, without their names.

    Returns:
        40 hex digits.

    Raises:
        VideoError: If a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=20)
    for file in files:
        try:
            with file.open("rb") as content:
                while chunk := content.read(CHUNK):
                    digest.update(chunk)
        except OSError as error:
            raise VideoError(file, f"cannot be read ({reason_of(error)})") from None
    return digest.hexdigest()


def state(path: Path) -> str:
    """Size and modification time of a file, which is taken for unchanged while they are.

    Raises:
        OSError: If there is no such file.
    """
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"
