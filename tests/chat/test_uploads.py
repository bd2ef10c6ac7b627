"""What is kept of visitors, and what is not taken."""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
from tests.chat.conftest import MB, Running

pytest.importorskip("nicegui", reason="the page needs nicegui: pip install 'timesight[serve]'")
from timesight.chat.web.readers import Readers
from timesight.chat.web.settings import RefusedError, SiteSettings
from timesight.chat.web.videos import FOLDER, VideoStore, inspect, remove_orphans
from timesight.errors import VideoError
from timesight.video.pool import VideoPool


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    found = Readers(SiteSettings())
    yield found
    found.close()


@pytest.fixture
def store(readers: Readers) -> Iterator[VideoStore]:
    settings = SiteSettings(
        max_upload_bytes=2 * MB,
        max_kept_bytes=5 * MB,
        max_duration_s=60.0,
        max_uploads=2,
        keep_uploads_s=0.2,
    )
    found = VideoStore(settings, readers)
    yield found
    found.close()


def receive(store: VideoStore, content: bytes, name: str = "v.mp4", owner: str = "me") -> str:
    half = len(content) // 2
    return asyncio.run(store.receive(chunks(content[:half], content[half:]), name, owner))


def make_video(path: Path, width: int, height: int, gap_s: int = 1) -> bytes:
    """Four frames, ``gap_s`` seconds apart."""
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
        for number in range(4):
            frame.pts, frame.time_base = number * gap_s, Fraction(1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def test_uploads_need_a_visitor(running: Running, video: Path) -> None:
    for visitor in ("", "nobody", "../../x"):
        answer = running.http.put("/upload", content=video.read_bytes(), headers={"x-visitor": visitor})
        assert answer.status_code == 403
    assert list(running.uploads.iterdir()) == []


def test_an_upload_has_a_random_name_and_is_its_owners(store: VideoStore, video: Path) -> None:
    name = "../../<b>\x00\n.mp4"
    token = receive(store, video.read_bytes(), name)
    stored = store.get(token)
    assert stored is not None
    assert stored.name == "../../<b>__.mp4"  # shown as text, never used
    assert stored.video.path.parent == store.folder
    assert re.fullmatch("[0-9a-f]{32}", stored.video.path.name)
    assert store.folder.stat().st_mode & 0o077 == 0
    assert token in store.names("me")
    assert token not in store.names("somebody else")
    store.forget("somebody else")
    assert stored.video.path.is_file()
    store.forget("me")
    assert not stored.video.path.exists()
    assert store.get(token) is None


def test_uploads_are_bounded_and_go_with_time(store: VideoStore, video: Path) -> None:
    with pytest.raises(RefusedError, match="larger than 2 MB"):
        receive(store, video.read_bytes() + bytes(3 * MB))
    receive(store, video.read_bytes())
    receive(store, video.read_bytes())
    with pytest.raises(RefusedError, match="2 uploads already"):
        receive(store, video.read_bytes())

    async def sweep() -> None:
        task = asyncio.create_task(store.sweep())
        for _ in range(200):
            if not list(store.folder.iterdir()):
                break
            await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(sweep())
    assert list(store.folder.iterdir()) == []
    assert store.names("me") == {}


def test_uploads_at_once_are_bounded_too(store: VideoStore, video: Path) -> None:
    async def send_all(owners: list[str], extra: int) -> list[str | BaseException]:
        content = video.read_bytes() + bytes(extra)
        sent = (store.receive(chunks(content), "v.mp4", owner) for owner in owners)
        return await asyncio.gather(*sent, return_exceptions=True)

    outcomes = asyncio.run(send_all(["me"] * 10, 0))
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 2
    assert len(list(store.folder.iterdir())) == 2
    outcomes = asyncio.run(send_all(["a", "b", "c", "d"], MB + MB // 2))
    refused = [outcome for outcome in outcomes if isinstance(outcome, RefusedError)]
    assert {(error.status, "no room for more" in str(error)) for error in refused} == {(507, True)}
    assert len(list(store.folder.iterdir())) == 2 + 4 - len(refused)
    for owner in ("me", "a", "b", "c", "d"):
        store.forget(owner)
    receive(store, video.read_bytes() + bytes(MB))  # its place is free again


def test_an_upload_that_is_left_leaves_nothing(store: VideoStore) -> None:
    async def leave() -> None:
        task = asyncio.create_task(store.receive(never(), "v.mp4", "me"))
        await asyncio.sleep(0.05)
        assert len(list(store.folder.iterdir())) == 1
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(60)

    asyncio.run(leave())
    assert list(store.folder.iterdir()) == []


def test_long_work_has_a_queue_of_its_own(readers: Readers, tmp_path: Path) -> None:
    assert readers.of(320 * 240 * 300) is readers.quick
    assert readers.of(4096 * 2304 * 400) is not readers.quick
    make_video(tmp_path / "v.mp4", 640, 480)
    with pytest.raises(VideoError, match="4 frames of 640 × 480 px are too many"):
        inspect(tmp_path / "v.mp4", 60.0, 640 * 480, 10**6)


def test_uploads_of_a_killed_server_are_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readers: Readers
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    living = VideoStore(SiteSettings(), readers)
    dead, young, other = (tmp_path / name for name in (f"{FOLDER}dead", f"{FOLDER}young", "other"))
    for folder in (dead, young, other, living.folder):
        folder.mkdir(exist_ok=True)
        (folder / "upload").touch()
    (tmp_path / f"{FOLDER}link").symlink_to(other)
    for folder in (dead, other, living.folder):
        os.utime(folder, (0, 0))
    remove_orphans()
    assert not dead.exists()
    assert all((folder / "upload").exists() for folder in (young, other, living.folder))
    living.close()
    assert not living.folder.exists()


def test_an_upload_is_not_written_through_a_link(
    store: VideoStore, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name cannot be guessed; if it could, a link that somebody put there would not be followed."""
    secret = tmp_path / "secret"
    secret.write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    (store.folder / "guessed").symlink_to(secret)
    with pytest.raises(FileExistsError):
        receive(store, video.read_bytes())
    assert secret.read_text() == "mine"
    assert store.names("me") == {}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", "this is not a video"),
        ("empty", "this is not a video"),
        ("html", "this is not a video"),
        ("head", "this is not a video"),
        ("huge", "are too large"),
        ("endless", "are too long"),
        ("playlist", "this is not a video"),
    ],
)
def test_what_is_not_a_video_or_too_much_of_one_is_refused(
    store: VideoStore, video: Path, tmp_path: Path, kind: str, reason: str
) -> None:
    content = {
        "text": lambda: b"hello",
        "empty": lambda: b"",
        "html": lambda: b"<html><script>alert(1)</script></html>",
        "head": lambda: video.read_bytes()[:200],
        "huge": lambda: make_video(tmp_path / "v.mp4", 8000, 4000),
        "endless": lambda: make_video(tmp_path / "v.mp4", 64, 64, 1000),
        # A playlist or a concat script would have the decoder open other files.
        "playlist": lambda: f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{video}\n#EXT-X-ENDLIST\n".encode(),
    }[kind]()
    with pytest.raises(RefusedError, match=reason):
        receive(store, content)
    assert list(store.folder.iterdir()) == []


@pytest.mark.parametrize(
    "script",
    ["ffconcat version 1.0\nfile '{video}'\n", "#EXTM3U\n#EXTINF:9,\nfile://{video}\n#EXT-X-ENDLIST\n"],
)
def test_no_file_leads_to_another(tmp_path: Path, video: Path, script: str) -> None:
    lure = tmp_path / "lure"
    lure.write_text(script.replace("{video}", str(video)))
    with pytest.raises(VideoError):
        inspect(lure, 60.0, 640 * 480, 10**9)


@pytest.mark.slow
@pytest.mark.parametrize("memory_mb", [600, 800])  # where threads are out, and where frames are
def test_a_decoder_that_wants_too_much_memory_is_ended(tmp_path: Path, memory_mb: int) -> None:
    small = VideoPool(1, 60.0, memory_mb << 20)
    try:
        make_video(tmp_path / "v.mp4", 8000, 4000)
        with pytest.raises(VideoError):  # Python or ffmpeg, whoever comes upon it first, says it in its own words
            small.submit(tmp_path / "v.mp4", inspect, tmp_path / "v.mp4", 60.0, 10**9, 10**12).result()
    finally:
        small.close()


def test_whoever_leaves_ends_the_reading(video: Path, readers: Readers) -> None:
    from timesight.chat.session import _Reads

    reads = _Reads(readers.quick)
    pending = [reads.submit(video, time.sleep, 60) for _ in range(3)]
    reads.close()
    for one in pending:
        with pytest.raises(CancelledError):
            one.result()
    assert readers.quick.submit(video, math.sqrt, 4.0).result() == 2.0
