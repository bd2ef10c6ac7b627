"""How fast this machine multiplies and reads: the rates that costs are divided by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from timesight.bench.clock import seconds_of

SIDES = {"cpu": 2048, "cuda": 8192}  # of a square product that takes much longer than its launch
COPY_BYTES = 2**28
REPEATS = 5


def matrix_rate() -> float:
    """FLOP/s of a large bf16 matrix product."""
    device = _device()
    side = SIDES[device]
    a = torch.randn(side, side, device=device).bfloat16()
    return 2.0 * side**3 / _fastest(lambda: a @ a)


def memory_rate() -> float:
    """Bytes/s read while a large tensor is summed up."""
    data = torch.zeros(COPY_BYTES // 4, device=_device())
    return COPY_BYTES / _fastest(data.sum)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _fastest(run: Callable[[], Any]) -> float:
    run()
    return min(seconds_of(run) for _ in range(REPEATS))
