"""Peak memory of a piece of work, above what the process holds before it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_above(device: torch.device, work: Callable[[], Any]) -> int:
    """Bytes by which ``work`` raises the memory in use at its highest: of the device, or on a CPU of the process.

    On a CPU the kernel's own record of the process's peak is reset first, so this needs Linux.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    CLEAR.write_text("5")
    before = _kilobytes("VmRSS")
    work()
    return (_kilobytes("VmHWM") - before) * 1024


def _kilobytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"the kernel does not say {field}")
    return int(found.group(1))
