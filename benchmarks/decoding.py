"""Reading videos next to qwen-vl-utils with decord and with torchcodec: python benchmarks/decoding.py VIDEO…

    pip install decord torchcodec qwen-vl-utils

Each video is sampled at 2 frames per second and sized for Qwen2.5-VL by both, at the default budgets, and each is
read as it comes and looped to a minute. Every reader works in a separate process: the time for a whole video
(median and half the spread of REPEATS), the seconds of video read in a second, the peak of memory, and how many
times faster than the best of the two it is. The last rows are ours from the cache of frames, as in a second epoch.

    python benchmarks/decoding.py --long VIDEO

reads 0.2 frames per second of VIDEO looped to two hours.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av

REPEATS = 7
LOOPED_S = 60.0
LONG_S = 7200.0
READERS = ("timesight", "decord", "torchcodec", "timesight, cached")


def main(paths: list[str]) -> None:
    """All readers on all videos, as they come and looped."""
    with tempfile.TemporaryDirectory() as folder:
        for name in paths:
            for video in (Path(name), loop(Path(name), Path(folder), LOOPED_S)):
                compare(video, Path(folder))


def compare(video: Path, folder: Path) -> None:
    """One line a reader."""
    results = {}
    for reader in READERS:
        done = subprocess.run(
            [sys.executable, __file__, "--measure", reader, str(video), str(folder / "cache")],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"FORCE_QWENVL_VIDEO_READER": reader},
        )
        if done.returncode:
            print(f"{video.name:24} {reader:18} fails: {done.stderr.strip().splitlines()[-1][:60]}")
            continue
        results[reader] = json.loads(done.stdout.splitlines()[-1])
    for reader, result in results.items():
        best = min((r["seconds"] for name, r in results.items() if name in READERS[1:3]), default=float("nan"))
        rate = result["duration_s"] / result["seconds"]
        print(
            f"{video.name:24} {result['duration_s']:5.1f} s {reader:18} {result['num_frames']:4d} frames "
            f"{1000 * result['seconds']:7.1f} ms (± {1000 * result['spread']:5.1f}) {rate:7.0f} s/s "
            f"{result['peak_mb']:6.0f} MB  × {best / result['seconds']:.2f}"
        )


def long(video: Path) -> None:
    """Two hours, looked at every five seconds."""
    from timesight.types import Video
    from timesight.video import FrameBudget
    from timesight.video import read as read_frames

    with tempfile.TemporaryDirectory() as folder:
        looped = loop(video, Path(folder), LONG_S)
        before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        begin = time.perf_counter()
        frames = read_frames(Video(path=looped), FrameBudget(fps=0.2, max_frames=1440))
        seconds = time.perf_counter() - begin
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    count, height, width, _ = frames.pixels.shape
    print(f"{frames.duration_s:.0f} s, {count} frames of {width} × {height}: {seconds:.1f} s, ", end="")
    print(f"peak {peak_mb:.0f} MB ({before_mb:.0f} MB before)")


def measure(reader: str, video: Path, cache: Path) -> None:
    """One reader on one video, in this process; the result is the last line."""
    read = ours(video, cache if "cached" in reader else None) if reader.startswith("timesight") else theirs(video)
    num_frames, duration_s = read()  # libraries warm up, the file is in the page cache
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        read()
        seconds.append(time.perf_counter() - begin)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    median = statistics.median(seconds)
    spread = (max(seconds) - min(seconds)) / 2
    result = {"seconds": median, "spread": spread, "num_frames": num_frames, "duration_s": duration_s}
    print(json.dumps(result | {"peak_mb": peak_mb}))


def ours(video: Path, cache: Path | None) -> Callable[[], tuple[int, float]]:
    """Our reader, with or without the cache."""
    from timesight.types import Video
    from timesight.video import FrameBudget, FrameReader, ReadingSettings

    def read() -> tuple[int, float]:
        reader = FrameReader(FrameBudget(), 28, ReadingSettings(workers=0, cache=cache))
        frames = reader.read(Video(path=video))
        return len(frames.pixels), frames.duration_s

    return read


def theirs(video: Path) -> Callable[[], tuple[int, float]]:
    """qwen-vl-utils; its backend is chosen by the environment."""
    from qwen_vl_utils import fetch_video

    from timesight.types import Video
    from timesight.video import probe

    duration_s = probe(Video(path=video)).duration_s

    def read() -> tuple[int, float]:
        frames = fetch_video(
            {"type": "video", "video": str(video), "fps": 2.0, "total_pixels": 3584 * 28 * 28}, image_patch_size=14
        )
        return len(frames), duration_s

    return read


def loop(video: Path, folder: Path, seconds: float) -> Path:
    """The packets of ``video`` again and again, without decoding, until ``seconds`` are full."""
    out = folder / f"{video.stem}_loop{video.suffix}"
    with av.open(str(out), "w") as target:
        stream, shift, last = None, 0, 0
        while stream is None or (shift + last) * float(stream.time_base) < seconds:
            with av.open(str(video)) as source:
                origin = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(origin)
                    stream.time_base = origin.time_base
                shift, first = shift + last, None
                for packet in source.demux(origin):
                    if packet.dts is None or packet.pts is None:
                        continue
                    first = packet.dts if first is None else first
                    packet.pts, packet.dts = packet.pts - first + shift, packet.dts - first + shift
                    last = max(last if first != packet.dts else 0, packet.dts - shift + (packet.duration or 1))
                    packet.stream = stream
                    target.mux(packet)
    return out


if __name__ == "__main__":
    if sys.argv[1:2] == ["--long"]:
        long(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(sys.argv[1:])
