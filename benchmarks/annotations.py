"""Reading annotation files of full size, made up: python benchmarks/annotations.py

Charades-STA's training file has 12,408 queries on 5,338 videos, ActivityNet Captions' 37,421 on 10,009. Seconds to
samples, median and half the spread of REPEATS, and to JSONL and back.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from timesight.data import read, read_jsonl
from timesight.data.jsonl import write_jsonl

REPEATS = 5
CHARADES, ACTIVITYNET = (12_408, 5_338), (37_421, 10_009)


def main() -> None:
    """One line a file."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        charades(root)
        activitynet(root)
        for name in ("charades_sta", "activitynet_captions"):
            samples = read(name, root)
            report(name, len(samples), lambda name=name: read(name, root))
            report("  to JSONL", len(samples), lambda samples=samples: write_jsonl(root / "samples.jsonl", samples))
            report("  from JSONL", len(samples), lambda: read_jsonl(root / "samples.jsonl"))


def report(name: str, count: int, work: Callable[[], object]) -> None:
    """Time ``work``."""
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    spread = (max(seconds) - min(seconds)) / 2
    print(f"{name:24} {count:6,} samples {statistics.median(seconds):6.2f} s (± {spread:.2f})")


def charades(root: Path) -> None:
    """The official text and table."""
    queries, videos = CHARADES
    names = [f"V{n:05d}" for n in range(videos)]
    lines = [
        f"{names[n % videos]} {n % 9}.3 {n % 9 + 7}.1##person number {n} opens a door." for n in range(queries)
    ]
    (root / "charades_sta_train.txt").write_text("\n".join(lines))
    (root / "Charades_v1_train.csv").write_text("id,length\n" + "".join(f"{name},30.96\n" for name in names))


def activitynet(root: Path) -> None:
    """The official JSON."""
    queries, videos = ACTIVITYNET
    content = {}
    for n in range(videos):
        count = queries // videos + (n < queries % videos)
        content[f"v_{n:011d}"] = {
            "duration": 120.0,
            "timestamps": [[k * 10.0, k * 10.0 + 15] for k in range(count)],
            "sentences": [f" Sentence {k} of video {n}." for k in range(count)],
        }
    (root / "train.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main()
