"""How long a piece of work takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


def seconds_of(run: Callable[[], Any]) -> float:
    """Seconds that ``run`` takes, what it leaves to a GPU included."""
    begin = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin
