"""Reading many videos: ahead, in other processes, with a time limit."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from timesight.errors import VideoError
from timesight.types import FrameRequest, Video
from timesight.video import FrameBudget, FrameReader, ReadingSettings, SecondLook, Wanted, read
from timesight.video.pool import VideoPool

BUDGET = FrameBudget(min_pixels=784, max_pixels=4704, max_frames=8)


@pytest.mark.parametrize("workers", [0, 2])
def test_frames_are_the_same_however_they_are_read(video: Path, tmp_path: Path, workers: int) -> None:
    windows = [Video(path=video, start_s=k / 4) for k in range(6)]
    settings = ReadingSettings(workers=workers, cache=tmp_path / "cache")
    for _ in range(2):  # the second time from the cache
        with FrameReader(BUDGET, 28, settings) as reader:
            reader.prefetch(Wanted(window) for window in windows)
            for window in windows:
                assert np.array_equal(reader.read(Wanted(window)).pixels, read(window, BUDGET).pixels)
            request = FrameRequest(2, (0.0, 1.0))
            assert np.array_equal(
                reader.read(Wanted(windows[0], request)).pixels, read(windows[0], BUDGET, request).pixels
            )


def test_memory_holds_what_was_used_last(video: Path) -> None:
    a, b, c = (Video(path=video, start_s=k / 4) for k in range(3))
    size = read(a, BUDGET).pixels.nbytes
    reader = FrameReader(BUDGET, 28, memory_bytes=2 * size)
    first = reader.read(Wanted(a))
    reader.read(Wanted(b))
    assert reader.read(Wanted(a)) is first
    reader.read(Wanted(c))  # b goes
    assert reader.read(Wanted(a)) is first
    assert reader._held_bytes <= 2 * size


def test_what_is_looked_at_closer_is_larger_and_denser(video: Path) -> None:
    whole = FrameBudget(fps=2.0, min_pixels=784, max_pixels=784, max_frames=16)
    segment = Video(path=video, start_s=0.5, end_s=1.5)
    with FrameReader(whole, 28, second_look=SecondLook(resolution_boost=3.0, fps_boost=4.0)) as reader:
        plain, closer = reader.read(Wanted(segment)), reader.read(Wanted(segment, share=1.0))
        half = reader.read(Wanted(segment, share=0.5))
        assert reader.read(Wanted(segment)) is plain  # one is not taken for the other
    assert (len(plain.times_s), len(closer.times_s)) == (4, 8)
    area, closer_area = (math.prod(frames.pixels.shape[1:3]) for frames in (plain, closer))
    assert area <= whole.max_pixels < closer_area <= 9 * whole.max_pixels
    assert closer.window_s == (0.5, 1.5)
    assert np.array_equal(half.pixels, closer.pixels)  # 8 frames are half of 16


def test_a_pool_that_is_given_reads_and_stays_open(video: Path) -> None:
    pool = VideoPool(1, 60.0)
    try:
        for _ in range(2):
            with FrameReader(BUDGET, 28, pool=pool) as reader:
                found = reader.read(Wanted(Video(path=video)))
            assert np.array_equal(found.pixels, read(Video(path=video), BUDGET).pixels)
    finally:
        pool.close()


def test_broken_videos_are_told_through_processes(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    with FrameReader(BUDGET, 28, ReadingSettings(workers=1, limit_s=60)) as reader:
        for name, reason in (
            ("text.mp4", "cannot be opened as a video"),
            ("empty.mp4", "cannot be opened as a video"),
            ("pipe.mp4", "is not a regular file"),
            ("gone.mp4", "no such file"),
        ):
            with pytest.raises(VideoError, match=reason) as told:
                reader.read(Wanted(Video(path=tmp_path / name)))
            assert told.value.path == str(tmp_path / name)


def _sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_work_that_hangs_or_crashes_is_cut_off_and_the_rest_goes_on() -> None:
    pool = VideoPool(1, limit_s=1.0)
    try:
        pool.submit(Path("a.mp4"), _sleep, 0.0).result()  # the process is up
        hanging = pool.submit(Path("b.mp4"), _sleep, 600.0)
        crashing = pool.submit(Path("c.mp4"), _die)
        fine = pool.submit(Path("d.mp4"), _sleep, 0.0)
        with pytest.raises(VideoError, match=r"b\.mp4: is not read within 1 s; its process was ended"):
            hanging.result()
        with pytest.raises(VideoError, match=r"c\.mp4: crashes the decoder \(exit code -9\)"):
            crashing.result()
        assert fine.result() == 0.0
    finally:
        pool.close()


def test_a_script_whose_processes_do_not_start_is_told_why(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from timesight.types import Video\n"
        "from timesight.video import FrameBudget, FrameReader, ReadingSettings, Wanted\n"
        "FrameReader(FrameBudget(), 28, ReadingSettings(workers=1)).read(Wanted(Video(path=Path('v.mp4'))))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert 'put what your script does under if __name__ == "__main__"' in done.stderr.splitlines()[-1]


def test_an_error_crosses_processes_whole() -> None:
    error = VideoError("a.mp4", "holds no video frames")
    kind, arguments = error.__reduce__()
    again = kind(*arguments)
    assert (str(again), again.path, again.reason) == (str(error), error.path, error.reason)


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[None]:
    """Not root, who may read everything; ``closed`` is a folder nobody may look into."""
    (tmp_path / "closed").mkdir(mode=0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def test_a_closed_folder_is_told(tmp_path: Path, unprivileged: None) -> None:
    for path in (tmp_path / "closed" / "v.mp4", tmp_path / "closed" / "frames"):
        with pytest.raises(VideoError, match=r"cannot be read \(permission denied\)"):
            read(Video(path=path, fps=2.0))
