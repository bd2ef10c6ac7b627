"""Warnings about a step that does not end: which process, in which stage, and for how long."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from timesight.training.metrics import MetricsLog

LOGGER = logging.getLogger("timesight")


@contextmanager
def stall_warnings(metrics: MetricsLog, rank: int, limit_s: float) -> Iterator[None]:
    """Warn once for each stage that takes longer than ``limit_s``.

    Processes wait for each other, so the one to look at is the one in another stage than the rest.

    Args:
        metrics: Knows the stage of this process.
        rank: Of this process.
        limit_s: Seconds.
    """
    done = Event()

    def watch() -> None:
        said = None
        while not done.wait(limit_s / 10):
            stage, since = metrics.doing
            if time.monotonic() - since > limit_s and (stage, since) != said:
                said = (stage, since)
                LOGGER.warning(
                    "process %d has been in %s for over %.0f s: see what the others say; a server, a disk or "
                    "another process may not answer",
                    rank,
                    stage,
                    limit_s,
                )

    thread = Thread(target=watch, daemon=True, name="stall warnings")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
