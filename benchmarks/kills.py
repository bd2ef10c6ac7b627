"""Whether a run that is killed ends as if it had not been: python benchmarks/kills.py --kills 20

The demo's recipe, a few steps of it with a checkpoint after each, once to its end and once killed by SIGKILL at
random moments, also while it writes a checkpoint. The same command starts it again each time. Compares the weights
bit for bit, and the metrics but for their times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from timesight.model.load import load_policy

SAVE_S = 0.04  # less than a checkpoint takes
OVERRIDES = ("train.save_steps=1", "data.world.num_videos=40", "reading.workers=0", "grpo.num_generations=8")


def main() -> None:
    """Two runs, and what differs between them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        begin = time.monotonic()
        process = start(whole, options.steps)
        wait(process, lambda: (whole / "checkpoint-1").exists())
        first_s = time.monotonic() - begin
        process.wait()
        kills = during_save = 0
        for number in range(options.kills):
            process = start(killed, options.steps)
            until = time.monotonic() + draws.uniform(0.5, 1.5) * first_s
            wait(process, lambda until=until: time.monotonic() > until)
            if number % 2:  # every second kill hits a checkpoint
                wait(process, lambda: is_saving(killed))
                time.sleep(draws.uniform(0, SAVE_S))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                during_save += is_saving(killed)
        while start(killed, options.steps).wait() != 0:
            raise SystemExit("the run could not be gone on with")
        weights, again = (load_policy(run, dtype="float32").model.state_dict() for run in (whole, killed))
        same = all(torch.equal(weights[name], again[name]) for name in weights)
        entries = [metrics(run) for run in (whole, killed)]
        print(f"{kills} kills, {during_save} of them while a checkpoint was being written")
        print("weights equal bit for bit" if same else "weights DIFFER")
        print("metrics equal" if entries[0] == entries[1] else "metrics DIFFER")


def wait(process: subprocess.Popen[bytes], moment: Callable[[], bool]) -> None:
    """Until the moment has come, or the process has ended."""
    while process.poll() is None and not moment():
        time.sleep(0.002)


def is_saving(run: Path) -> bool:
    """Whether a checkpoint has been begun and not been finished."""
    return any(run.glob("unfinished-checkpoint-*"))


def start(out: Path, steps: int) -> subprocess.Popen[bytes]:
    """The run in a new process group."""
    settings = [flag for override in (*OVERRIDES, f"train.max_steps={steps}") for flag in ("--set", override)]
    return subprocess.Popen(
        [sys.executable, "-m", "timesight", "train", "tiny/grpo", *settings, "--out", str(out)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def metrics(run: Path) -> list[dict[str, float]]:
    """Every step's metrics without those that a clock gives."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.endswith("_s")} for line in lines]


if __name__ == "__main__":
    main()
