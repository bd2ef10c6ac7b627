"""What a video holds, as a short name: the same content has the same name wherever it lies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from timesight.errors import VideoError, reason_of

CHUNK = 1 << 20


def fingerprint(path: Path) -> str:
    """A digest of the content of a file. Raises VideoError.

    Of a folder of frames it is one of the names, sizes and times of change of its files.
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
    """A digest of the content of ``files``, one after the other, whatever they are called. Raises VideoError."""
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
    """Size and time of change: while they stay, a file is taken for unchanged. Raises OSError."""
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"
