"""Work on videos in processes of their own, each piece with a time limit.

A decoder can hang or crash on a damaged file, and nothing inside its process can stop it. Here the process is
ended, another one takes its place, and the video is reported as broken.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as LimitPassedError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Generic, TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from timesight.errors import InputError, VideoError

T = TypeVar("T")


@dataclass(frozen=True)
class Pending(Generic[T]):
    """A piece of work on the video at ``path`` that is under way."""

    path: Path
    limit_s: float
    future: ProcessFuture[T]

    def result(self) -> T:
        """Wait for the outcome.

        Raises what the work raised, VideoError where its process had to be ended, InputError where none starts.
        """
        try:
            outcome: T = self.future.result()
        except LimitPassedError:
            raise VideoError(self.path, f"is not read within {self.limit_s:g} s; its process was ended") from None
        except ProcessExpired as error:
            raise VideoError(self.path, f"crashes the decoder (exit code {error.exitcode})") from None
        except MemoryError:
            raise VideoError(self.path, "needs more memory than a video may take") from None
        except BrokenProcessPool:
            raise InputError(
                "the processes that read videos do not start: put what your script does under "
                'if __name__ == "__main__": or read without processes (reading: {workers: 0})'
            ) from None
        except RuntimeError as error:
            if "start new thread" not in str(error):
                raise
            raise VideoError(self.path, "needs more memory than a video may take") from None  # a thread needs some
        return outcome

    def done(self) -> bool:
        """Whether ``result`` would not wait."""
        return bool(self.future.done())


class VideoPool:
    """``num_workers`` processes; work that takes longer than ``limit_s`` seconds is cut off. Close it when done.

    ``memory_bytes`` bounds the memory of each process, where the system can.
    """

    def __init__(self, num_workers: int, limit_s: float, memory_bytes: int | None = None) -> None:
        self._limit_s = limit_s
        # spawn, not fork: a caller that has loaded torch has threads that do not survive a fork
        self._pool = ProcessPool(
            num_workers, context=get_context("spawn"), initializer=begin_worker, initargs=(memory_bytes,)
        )

    def submit(self, path: Path, work: Callable[..., T], *args: Any) -> Pending[T]:
        """Start ``work(*args)``, a function of a module, on the video at ``path``."""
        return Pending(path, self._limit_s, self._pool.schedule(work, args=args, timeout=self._limit_s))

    def close(self) -> None:
        """End all processes, whatever they are at."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()


def begin_worker(memory_bytes: int | None = None) -> None:
    """Ctrl-C is for the process that asked; workers end when it tells them to, or when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _end_with_parent() -> None:
    """A killed process cannot tell its workers anything."""
    parent = parent_process()
    assert parent is not None  # workers are started by one
    parent.join()
    os._exit(1)
