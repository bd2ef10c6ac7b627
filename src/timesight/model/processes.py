"""Which of the processes of this run this one is."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import PartialState

LONGEST_WAIT = timedelta(days=7)  # for a process that writes a world, asks a judge, or has more videos than others


def this_process() -> PartialState:
    """The state of this process among those that ``accelerate launch`` started, or of a single one."""
    # accelerate does not look for processes on CPUs unasked
    return PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT)
