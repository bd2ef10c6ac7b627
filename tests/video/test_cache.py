"""Frames kept on disk: found again, bounded, and no harm done by kills, other processes and full disks."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from timesight.errors import InputError, VideoError
from timesight.types import FrameRequest, Video
from timesight.video import FrameBudget, FrameReader, Frames, ReadingSettings, Wanted, read
from timesight.video import reader as reader_module
from timesight.video.cache import FrameCache

BUDGET = FrameBudget(min_pixels=784, max_pixels=4704, max_frames=8)
PLENTY = 1 << 30


def same(a: Frames, b: Frames) -> bool:
    return (
        np.array_equal(a.pixels, b.pixels)
        and np.array_equal(a.times_s, b.times_s)
        and (a.window_s, a.duration_s) == (b.window_s, b.duration_s)
    )


def fake(mark: int, kilobytes: int = 30) -> Frames:
    pixels = np.full((kilobytes, 10, 34, 3), mark % 256, np.uint8)  # 1,020 bytes a frame
    return Frames(pixels, np.arange(kilobytes, dtype=np.float64), (0.0, 9.0), 9.0)


def test_what_is_read_back_is_what_was_read(video: Path, tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, PLENTY)
    key = cache.key(Video(path=video), BUDGET, None, 28)
    assert cache.read(key) is None
    frames = read(Video(path=video), BUDGET)
    cache.write(key, frames)
    kept = FrameCache(tmp_path, PLENTY).read(key)
    assert kept is not None
    assert same(kept, frames)


def test_the_key_is_content_and_sampling_and_size(video: Path, tmp_path: Path) -> None:
    cache = FrameCache(tmp_path / "cache", PLENTY)
    moved = tmp_path / "elsewhere.mov"
    moved.write_bytes(video.read_bytes())
    key = cache.key(Video(path=video), BUDGET, None, 28)
    assert cache.key(Video(path=moved), BUDGET, None, 28) == key
    others = [
        cache.key(Video(path=video, start_s=1.0), BUDGET, None, 28),
        cache.key(Video(path=video), BUDGET.model_copy(update={"fps": 1.0}), None, 28),
        cache.key(Video(path=video), BUDGET, FrameRequest(4), 28),
        cache.key(Video(path=video), BUDGET, FrameRequest(4, (0.0, 0.5, 1.0, 1.5)), 28),
        cache.key(Video(path=video), BUDGET, None, 32),
    ]
    moved.write_bytes(video.read_bytes() + b"more")
    others.append(cache.key(Video(path=moved), BUDGET, None, 28))
    assert len({key, *others}) == len(others) + 1


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, max_bytes=200_000)  # about six
    for mark in range(5):
        cache.write(f"k{mark}", fake(mark))
        os.utime(tmp_path / f"k{mark}.frames", ns=(mark, mark))
    assert cache.read("k0") is not None  # used just now
    for mark in range(5, 9):
        cache.write(f"k{mark}", fake(mark))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 200_000
    assert cache.read("k1") is None
    assert cache.read("k0") is not None
    assert cache.read("k8") is not None


def test_frames_above_the_bound_are_not_kept(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, max_bytes=20_000)
    cache.write("large", fake(0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage"])
def test_a_damaged_file_counts_as_absent(tmp_path: Path, damage: str) -> None:
    cache = FrameCache(tmp_path, PLENTY)
    cache.write("k", fake(1))
    file = tmp_path / "k.frames"
    content = file.read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "garbage": b"x" * 500}[damage])
    assert cache.read("k") is None
    cache.write("k", fake(2))
    kept = cache.read("k")
    assert kept is not None
    assert same(kept, fake(2))


def test_what_a_killed_process_left_makes_room_in_time(tmp_path: Path) -> None:
    left = tmp_path / "k.frames.99999"
    left.write_bytes(b"x" * 90_000)
    os.utime(left, ns=(1, 1))
    cache = FrameCache(tmp_path, max_bytes=100_000)
    cache.write("new", fake(1))
    assert not left.exists()
    assert cache.read("new") is not None


def test_an_unfinished_file_may_be_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process makes room, and takes it for one that a killed process left."""
    cache = FrameCache(tmp_path, PLENTY)
    replace = Path.replace

    def taken(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        self.unlink()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", taken)
    cache.write("lost", fake(1))
    cache.write("kept", fake(2))
    assert cache.read("lost") is None
    assert cache.read("kept") is not None


def test_a_cache_of_somebody_elses_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FrameCache(tmp_path, PLENTY)
    cache.write("k", fake(1))

    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "utime", forbidden)
    assert cache.read("k") is not None


@pytest.mark.parametrize("left", [b"", b"3f", b"\xff" * 40])
def test_a_fingerprint_cut_off_by_a_crash_is_taken_again(video: Path, tmp_path: Path, left: bytes) -> None:
    key = FrameCache(tmp_path, PLENTY).key(Video(path=video), BUDGET, None, 28)
    (note,) = tmp_path.glob("*.fingerprint")
    note.write_bytes(left)
    assert FrameCache(tmp_path, PLENTY).key(Video(path=video), BUDGET, None, 28) == key


def test_a_cache_that_is_no_folder_is_told(video: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        FrameReader(BUDGET, 28, ReadingSettings(workers=0, cache=tmp_path / "file")) as reader,
        pytest.raises(InputError, match="no frames can be kept there"),
    ):
        reader.read(Wanted(Video(path=video)))


def test_a_full_disk_ends_the_caching_and_nothing_else(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ReadingSettings(workers=0, cache=tmp_path / "cache")
    reader_module._open_cache.cache_clear()

    def no_room(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with FrameReader(BUDGET, 28, settings) as reader:
        for start_s in (0.0, 0.5):
            part = Video(path=video, start_s=start_s)
            assert same(reader.read(Wanted(part)), read(part, BUDGET))
    assert caplog.text.count("nothing more is cached (no space left on device)") == 1
    assert list((tmp_path / "cache").iterdir()) == []


def _write_many(folder: str, first: int) -> None:
    cache = FrameCache(Path(folder), max_bytes=150_000)
    for mark in range(first, first + 40):
        cache.write(f"k{mark % 10}", fake(mark % 10))
        kept = cache.read(f"k{mark % 10}")
        assert kept is None or same(kept, fake(mark % 10))


def test_processes_share_a_cache(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_write_many, [str(tmp_path)] * 4, range(4)))
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert all(file.suffix == ".frames" for file in tmp_path.iterdir())
    assert sum(sizes) <= 150_000 + 4 * max(sizes)


def test_a_video_that_is_gone_is_told(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, PLENTY)
    with pytest.raises(VideoError, match="no such file"):
        cache.key(Video(path=tmp_path / "none.mp4"), BUDGET, None, 28)
