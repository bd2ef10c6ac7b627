"""Folders that are named after what their content depends on; one process at a time makes one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from timesight.evaluation.questions import weight_files

DIGITS = 12  # of a digest in a folder's name
END_BYTES = 2**22  # of a file of weights, which has gigabytes
Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


class Store:
    """The folder of all tables.

    Args:
        root: ``models/``, ``measurements/``, ``worlds/`` and ``locks/`` are made in it.
        progress: Given what is done and how often, a context that gives a function to call each time.
    """

    def __init__(self, root: Path, progress: Progress) -> None:
        self.root = root
        self.progress = progress

    @contextmanager
    def lock(self, folder: Path, *, wait: bool = True) -> Iterator[bool]:
        """Only one process at a time makes ``folder``: another one waits, and finds it made.

        Yields:
            Whether nobody else is making it; always, with ``wait``.
        """
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{folder.name}.lock")
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


@contextmanager
def no_progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    """Shows nothing."""
    yield lambda *counts: None


def identity(model: str) -> Any:
    """What a model is, wherever it lies: the sizes and ends of its files of weights; of a hub id, its name."""
    return [_ends(Path(file)) for file in weight_files(model)] or model


def _ends(file: Path) -> list[Any]:
    size = file.stat().st_size
    with file.open("rb") as content:
        ends = sha256(content.read(END_BYTES))
        content.seek(max(0, size - END_BYTES))
        ends.update(content.read())
    return [file.name, size, ends.hexdigest()]


def digest(content: Any) -> str:
    """The name of a folder whose content depends on ``content``."""
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGITS]
