"""What a run reports: gathered during a step, written as one line a step, sent to trackers."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from timesight.artifacts import MetricsEntry, append_record, drop_torn_line, read_records, write_records


class MetricsLog:
    """The metrics of a run directory.

    Args:
        file: ``metrics.jsonl``.
        device: Waited for where stages are timed.
        accelerator: Its main process writes, and its trackers are sent every entry.
    """

    def __init__(self, file: Path, device: torch.device, accelerator: Any) -> None:
        self._file = file
        self._device = device
        self._accelerator = accelerator
        self._values: dict[str, list[float]] = defaultdict(list)
        self._began = time.perf_counter()  # the step
        self.doing = ("the first step", time.monotonic())  # the stage this process is in, and since when

    def log_metrics(self, **values: float) -> None:
        """Report ``values`` with the next step.

        Counts (``num_…``) are summed over a step and over processes. Seconds (``…_s``) are summed over a step, and
        their mean over processes is taken. All else is averaged over all calls.
        """
        for name, value in values.items():
            if not math.isnan(value):
                self._values[name].append(value)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Report the time of this block as ``name_s``."""
        begin = self._seconds()
        with self.watched(name):
            yield
        self.log_metrics(**{f"{name}_s": self._seconds() - begin})

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """Let stall warnings call this block ``name``."""
        self.doing = (name, time.monotonic())
        yield
        self.doing = (f"what follows {name}", time.monotonic())

    def begin_step(self) -> None:
        """A step is timed from here: not the validation and the checkpoint after the one before."""
        self._began = time.perf_counter()

    def write_step(self, step: int, **values: float) -> dict[str, float]:
        """Write what was gathered since the last step, with ``values``; returns the entry.

        Every process calls it at the same time.
        """
        step_s = time.perf_counter() - self._began
        everywhere = gather_object([dict(self._values)])
        names = dict.fromkeys(name for of_process in everywhere for name in of_process)
        entry = values | {name: _summary(name, everywhere) for name in names} | {"step_s": step_s}
        if "num_tokens" in entry:
            entry["tokens_per_s"] = entry["num_tokens"] / step_s
        self._values.clear()
        self.write(step, entry)
        return entry

    def write(self, step: int, entry: dict[str, float]) -> None:
        """Append one line."""
        if self._accelerator.is_main_process:
            append_record(self._file, MetricsEntry(step=step, **entry))
        self._accelerator.log(entry, step=step)

    def drop_after(self, step: int) -> None:
        """Drop the lines of steps that will be taken again."""
        if self._accelerator.is_main_process:
            drop_torn_line(self._file)
            kept = [entry for entry in read_records(self._file, MetricsEntry) if entry.step <= step]
            write_records(self._file, kept)

    def _seconds(self) -> float:
        """A clock that waits for the device, so that stages can be timed one by one."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _summary(name: str, everywhere: Sequence[Mapping[str, list[float]]]) -> float:
    values = [value for of_process in everywhere for value in of_process.get(name, ())]
    total = sum(values)
    if name.startswith("num_"):
        return total
    return total / (len(everywhere) if name.endswith("_s") else len(values))
