"""Processes for jobs on videos, with a time limit for each job.

A decoder can hang or crash on a damaged file, and nothing inside its process can stop it. Here the process is
terminated and replaced, and the video is reported as broken.
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
    """A job on the video at ``path`` that was submitted to a pool."""

    path: Path
    limit_s: float
    future: ProcessFuture[T]

    def result(self) -> T:
        """Wait for the result of the job.

        Raises:
            VideoError: If the job took longer than the time limit, crashed its process, or ran out of memory.
            InputError: If the processes cannot be started.
            Exception: Any error that the job itself raised.
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
            raise VideoError(self.path, "needs more memory than a video may take") from None  # none for a thread
        return outcome

    def done(self) -> bool:
        """Whether ``result`` returns at once."""
        return bool(self.future.done())


class VideoPool:
    """Processes that run jobs on videos. Close it when done.

    Args:
        num_workers: Number of processes.
        limit_s: Seconds for one job; after that its process is terminated and replaced.
        memory_bytes: Limit of each process's address space (``RLIMIT_AS``); None sets none.
    """

    def __init__(self, num_workers: int, limit_s: float, memory_bytes: int | None = None) -> None:
        self._limit_s = limit_s
        # spawn, not fork: a caller that has loaded torch has threads that do not survive a fork
        self._pool = ProcessPool(
            num_workers, context=get_context("spawn"), initializer=begin_worker, initargs=(memory_bytes,)
        )

    def submit(self, path: Path, work: Callable[..., T], *args: Any) -> Pending[T]:
        """Submit a job.

        Args:
            path: Of the video, for errors.
            work: A function at the top level of a module, so that another process can import it.
            *args: Of ``work``; they and the result are pickled.
        """
        return Pending(path, self._limit_s, self._pool.schedule(work, args=args, timeout=self._limit_s))

    def close(self) -> None:
        """Terminate all processes, with the jobs that they run."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()


def begin_worker(memory_bytes: int | None = None) -> None:
    """Initialize a worker process: it ignores Ctrl-C and exits when its parent does.

    Args:
        memory_bytes: Limit of its address space; None sets none.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _end_with_parent() -> None:
    """Exit when the parent has: a killed one cannot stop its workers."""
    parent = parent_process()
    assert parent is not None  # workers are started by one
    parent.join()
    os._exit(1)
