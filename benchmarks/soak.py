"""A long run over a world with faults: python benchmarks/soak.py --steps 500

The demo's recipe on captions and spans, 5% of the videos broken in five ways, a judge that fails one time in ten.
Every ten steps it notes the memory of the process, its open files and its worker processes; at the end it prints
their slopes with 95% intervals (least squares, over the second half of the run). What grows for a while and is no
leak is kept out: oneDNN keeps kernels for up to 1,024 shapes, and the heap keeps what has been freed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")  # read when torch is loaded

import numpy as np

from timesight.training import run as run_module
from timesight.training.loop import Callback
from timesight.training.recipe import load_recipe
from timesight.training.run import run_recipe
from timesight.training.run_dir import init_run_dir
from timesight.training.samples import load_mixture
from timesight.types import Judge

BROKEN_SHARE, FAILURES = 0.05, 0.1
EVERY = 10  # steps from one look to the next


class UnreliableJudge:
    """The world's judge, which leaves a share of the captions unscored."""

    def __init__(self, judge: Judge) -> None:
        self._judge, self._draws = judge, random.Random(0)
        self.num_failed = 0

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        """As the judge."""
        return self._judge.events(captions)

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[tuple[bool, ...] | None]:
        """As the judge; None for what failed."""
        verdicts = self._judge.entailed(captions, events)
        verdicts = [None if self._draws.random() < FAILURES else verdict for verdict in verdicts]
        self.num_failed += verdicts.count(None)
        return verdicts


class Watcher(Callback):
    """Notes what a process that leaks would need more and more of."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, int, int]] = []

    def on_log(self, step: int, entry: dict[str, float], out: Path) -> None:
        """Every ``EVERY`` steps: memory in MB, open files, workers."""
        if step % EVERY == 0:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            memory_mb = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
            self.rows.append((step, memory_mb, len(os.listdir("/proc/self/fd")), len(children)))


def main() -> None:
    """The run, and what it needed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    overrides = [
        f"train.max_steps={options.steps}",
        "train.save_steps=50",
        "train.batch_size=4",
        "data.world.num_videos=200",
        "data.world.tasks=[temporal_grounding,captioning]",
        "judge.kind=world",
    ]
    judges, watcher = [], Watcher()
    make_judge = run_module.judge_for

    def judge_for(*args: Any) -> Judge | None:
        judge = make_judge(*args)
        assert judge is not None
        judges.append(UnreliableJudge(judge))
        return judges[0]

    run_module.judge_for = judge_for
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        recipe = load_recipe("tiny/grpo", overrides)
        init_run_dir(recipe, out)
        mixture = load_mixture(recipe.data, out)
        broken = break_videos(sorted({sample.video.path for sample in mixture.samples}))
        result = run_recipe(recipe, out, callbacks=[watcher])
        entries = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    print(f"{len(entries)} steps, {result.num_quarantined} of {broken} broken videos met and quarantined")
    print(f"{judges[0].num_failed} captions left unscored by the judge")
    rewards = [entry["reward"] for entry in entries]
    print(f"reward {np.mean(rewards[:50]):.3f} in the first 50 steps, {np.mean(rewards[-50:]):.3f} in the last 50")
    for name, column, unit in (("memory", 1, "MB"), ("open files", 2, ""), ("workers", 3, "")):
        show(name, [row[0] for row in watcher.rows], [row[column] for row in watcher.rows], unit)


def break_videos(paths: Sequence[Path]) -> int:
    """Break some in five ways; returns how many."""
    chosen = random.Random(1).sample(list(paths), round(BROKEN_SHARE * len(paths)))
    for number, path in enumerate(chosen):
        content = path.read_bytes()
        path.unlink()
        match number % 5:
            case 0:
                path.write_text("not a video")
            case 1:
                path.touch()
            case 2:
                path.write_bytes(content[: len(content) // 2])
            case 3:
                os.mkfifo(path)
            # and the fifth is gone
    return len(chosen)


def show(name: str, steps: Sequence[int], values: Sequence[float], unit: str) -> None:
    """First and last value, and the slope over the second half with its interval."""
    half = len(steps) // 2
    x, y = np.array(steps[half:], float), np.array(values[half:], float)
    slope, intercept = np.polyfit(x, y, 1)
    residuals = y - (slope * x + intercept)
    error = np.sqrt(residuals.var(ddof=2) / len(x)) / x.std()
    print(
        f"{name}: {values[0]:.0f} {unit} at step {steps[0]}, {values[half]:.0f} at {steps[half]}, "
        f"{values[-1]:.0f} at {steps[-1]}; slope {100 * slope:+.3f} ± {196 * error:.3f} {unit} in 100 steps"
    )


if __name__ == "__main__":
    main()
