"""Who is let in, what is kept, and what an OpenAI client gets."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.chat.conftest import MB, PASSWORD, Running, wait

pytest.importorskip("nicegui", reason="the page needs nicegui: pip install 'timesight[serve]'")
from timesight.chat.web.desk import Desk, Done, FairLock, TakingTurns
from timesight.chat.web.server import bind
from timesight.chat.web.settings import RefusedError, SiteSettings
from timesight.chat.web.videos import FOLDER, VideoStore, inspect, remove_orphans
from timesight.errors import InputError, VideoError
from timesight.video.pool import VideoPool


def data_address(path: Path) -> str:
    return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()


def message(text: str, *paths: Path) -> dict[str, Any]:
    videos = [{"type": "video_url", "video_url": {"url": data_address(path)}} for path in paths]
    return {"role": "user", "content": [*videos, {"type": "text", "text": text}]}


@pytest.fixture
def client(running: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key=PASSWORD, max_retries=0)


def test_every_address_asks_for_the_password(running: Running) -> None:
    own = re.findall(r'"(/_nicegui/[^"]+\.(?:js|css))"', running.http.get("/").text)
    assert len(own) > 3
    paths = ["/", "/v1/models", "/media/x", "/nothing", "/_nicegui_ws/socket.io/?EIO=4&transport=polling", *own]
    for path in paths:
        answer = httpx.get(running.url + path)
        assert (answer.status_code, "Basic" in answer.headers["www-authenticate"]) == (401, True), path
        assert httpx.get(running.url + path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert httpx.put(f"{running.url}/upload", content=b"x").status_code == 401
    for given in (("timesight", "wrong"), ("somebody", PASSWORD), ("", ""), ("tïme", "ünïcode")):
        assert httpx.get(running.url, auth=given).status_code == 401


def test_a_browser_gets_a_cookie_that_cannot_be_made_up(running: Running) -> None:
    let_in = httpx.get(running.url, auth=("timesight", PASSWORD))
    cookie = let_in.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in cookie.split(";")}
    name, _, value = cookie.split(";")[0].partition("=")
    assert httpx.get(running.url, headers={"cookie": f"{name}={value}"}).status_code == 200
    for wrong in (f"9{value}", value[:-1], value.split(".")[0], "", "9" * 30 + ".x", "²." + "0" * 64):
        answer = httpx.get(running.url, headers={"cookie": f"{name}={wrong}".encode()})
        assert answer.status_code == 401, wrong


def test_other_sites_and_other_names_are_kept_out(running: Running) -> None:
    assert running.http.get("/", headers={"host": "evil.example"}).status_code == 403
    assert running.http.put("/upload", headers={"origin": "http://evil.example"}).status_code == 403
    assert running.http.get("/", headers={"host": f"localhost:{running.port}"}).status_code == 200
    policy = running.http.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http:" not in policy


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/_nicegui_ws/socket.io/?EIO=4&transport=polling"])
def test_a_body_without_end_is_not_read(running: Running, path: str, chunked: bool) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100:
            sent += 1
            yield bytes(MB)

    headers = {} if chunked else {"content-length": str(100 * MB)}
    with suppress(httpx.TransportError):  # the connection may be closed while we are sending
        assert running.http.post(path, content=endless(), headers=headers).status_code in (400, 413)
    assert sent < 30


@pytest.mark.parametrize(
    "path", ["/media/../server.py", "/media/%2e%2e%2fserver.py", "/media/x", "/media//etc/passwd", "/media/%00"]
)
def test_no_path_of_a_request_is_ever_opened(running: Running, path: str) -> None:
    answer = running.http.get(path)
    assert answer.status_code == 404
    token = next(iter(running.site.store.names("nobody")))
    assert running.http.get(f"/media/{token}/../../etc/passwd").status_code == 404
    part = running.http.get(f"/media/{token}", headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_uploads_need_a_visitor(running: Running, video: Path) -> None:
    for visitor in ("", "nobody", "../../x"):
        answer = running.http.put("/upload", content=video.read_bytes(), headers={"x-visitor": visitor})
        assert answer.status_code == 403
    assert list(running.uploads.iterdir()) == []


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.fixture(scope="module")
def pool() -> Iterator[VideoPool]:
    found = VideoPool(1, 60.0, 4 << 30)
    yield found
    found.close()


@pytest.fixture
def store(pool: VideoPool) -> Iterator[VideoStore]:
    settings = SiteSettings(max_upload_bytes=2 * MB, max_duration_s=60.0, max_uploads=2, keep_uploads_s=0.2)
    found = VideoStore(settings, pool)
    yield found
    found.close()


def receive(store: VideoStore, content: bytes, name: str = "v.mp4", owner: str = "me") -> str:
    half = len(content) // 2
    return asyncio.run(store.receive(chunks(content[:half], content[half:]), name, owner))


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


def test_uploads_of_a_killed_server_are_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pool = VideoPool(1, 60.0)
    living = VideoStore(SiteSettings(), pool)
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
    pool.close()
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


def test_what_lies_in_the_folder_is_not_served_by_its_name(running: Running, tmp_path: Path) -> None:
    link = running.uploads / "link"
    link.symlink_to(tmp_path)
    (tmp_path / "secret").write_text("mine")
    try:
        for path in ("link", "link/secret", "..%2f..%2fetc%2fpasswd", str(tmp_path / "secret")):
            assert running.http.get(f"/media/{path}").status_code == 404
    finally:
        link.unlink()


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
        inspect(lure, 60.0, 640 * 480)


@pytest.mark.parametrize("memory_mb", [600, 800])  # where threads are out, and where frames are
def test_a_decoder_that_wants_too_much_memory_is_ended(tmp_path: Path, memory_mb: int) -> None:
    small = VideoPool(1, 60.0, memory_mb << 20)
    try:
        make_video(tmp_path / "v.mp4", 8000, 4000)
        with pytest.raises(VideoError):  # Python or ffmpeg, whoever comes upon it first, says it in its own words
            small.submit(tmp_path / "v.mp4", inspect, tmp_path / "v.mp4", 60.0, 10**9).result()
    finally:
        small.close()


def test_a_site_for_others_needs_a_password() -> None:
    with pytest.raises(InputError, match="set a password"):
        SiteSettings(host="0.0.0.0")
    with pytest.raises(InputError, match="password is empty"):
        SiteSettings(password="")
    assert SiteSettings(host="0.0.0.0", password="x").password == "x"


def test_a_port_in_use_is_one_line(running: Running) -> None:
    with pytest.raises(
        InputError, match=f"cannot listen on 127.0.0.1, port {running.port}: address already in use"
    ):
        bind("127.0.0.1", running.port)


def test_questions_wait_for_their_turn_and_too_many_are_refused() -> None:
    async def main() -> None:
        desk = Desk(max_active=1, max_waiting=2)
        gate = threading.Event()
        order: list[int] = []

        def work(number: int) -> Iterator[str]:
            gate.wait(10)
            order.append(number)
            yield "a"
            return None

        async def ask(number: int) -> list[Any]:
            return [piece async for piece in desk.run(work(number))]  # type: ignore[arg-type]

        tasks = []
        for number in range(3):
            tasks.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0.05)
        assert (desk.num_active, desk.num_waiting) == (1, 2)
        with pytest.raises(RefusedError, match="2 questions are waiting already") as full:
            await ask(3)
        assert full.value.status == 503
        gate.set()
        assert all(pieces == ["a", Done(None)] for pieces in await asyncio.gather(*tasks))
        assert order == [0, 1, 2]
        await asyncio.sleep(0.05)
        assert (desk.num_active, desk.num_waiting) == (0, 0)
        desk.close()

    asyncio.run(main())


def test_whoever_leaves_ends_the_reply() -> None:
    async def main() -> None:
        desk = Desk(max_active=1, max_waiting=0)
        ended = threading.Event()

        def endless() -> Iterator[str]:
            try:
                while True:
                    threading.Event().wait(0.01)
                    yield "a"
            finally:
                ended.set()

        pieces = desk.run(endless())  # type: ignore[arg-type]
        await anext(pieces)
        await pieces.aclose()
        assert await asyncio.to_thread(ended.wait, 5)
        wait_for = asyncio.get_running_loop().time() + 5
        while desk.num_active and asyncio.get_running_loop().time() < wait_for:
            await asyncio.sleep(0.01)
        assert [piece async for piece in desk.run(iter_done())] == [Done("x")]
        desk.close()

    def iter_done() -> Any:
        return "x"
        yield

    asyncio.run(main())


def test_a_fair_lock_goes_round() -> None:
    lock, order = FairLock(), []
    threads = []
    with lock:
        for number in range(4):
            threads.append(threading.Thread(target=lambda n=number: _note(lock, order, n)))
            threads[-1].start()
            wait(lambda: lock._next_ticket == len(threads) + 1)
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3]


def _note(lock: FairLock, order: list[int], number: int) -> None:
    with lock:
        order.append(number)


def test_replies_under_way_share_the_model_token_by_token(video: Path) -> None:
    from tests.chat.scripted import Scripted

    from timesight.chat.session import Session
    from timesight.infer.ask import Question
    from timesight.types import Video

    model = TakingTurns(Scripted("m", "<answer>" + "a " * 30 + "</answer>", word_s=0.005))
    order: list[int] = []

    def go(number: int) -> None:
        for _ in Session(model, Video(path=video)).ask(Question("what?")):
            order.append(number)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    changes = sum(a != b for a, b in pairwise(order))
    assert changes > 20


def test_the_official_client_gets_replies_with_their_evidence(client: openai.OpenAI, video: Path) -> None:
    assert [model.id for model in client.models.list()] == ["base", "trained"]
    whole = client.chat.completions.create(model="trained", messages=[message("What?", video)])  # type: ignore[list-item]
    reply = whole.choices[0].message
    assert reply.content == "<answer>What?</answer><glue>[(1.0, 2.0), (2.4, 2.8)]</glue>"
    assert whole.choices[0].finish_reason == "stop"
    shown = reply.model_extra["timesight"]
    assert (shown["answer"], shown["spans"]) == ("What?", [[1.0, 2.0], [2.4, 2.8]])
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == 10
    pieces = list(
        client.chat.completions.create(model="trained", messages=[message("What?", video)], stream=True)  # type: ignore[call-overload]
    )
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == reply.content
    assert len(pieces) > 5
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert pieces[-1].choices[0].delta.model_extra["timesight"]["spans"] == [[1.0, 2.0], [2.4, 2.8]]


def test_the_official_client_can_look_again_and_go_on(client: openai.OpenAI, running: Running, video: Path) -> None:
    twice = client.chat.completions.create(
        model="base",
        messages=[message("When?", video)],  # type: ignore[list-item]
        extra_body={"clue": True, "task": "temporal_grounding"},
        max_tokens=2,
    )
    assert twice.choices[0].finish_reason == "length"
    pieces = list(
        client.chat.completions.create(
            model="base",
            messages=[message("What?", video)],  # type: ignore[list-item]
            extra_body={"clue": True},
            stream=True,
        )
    )
    shown = pieces[-1].choices[0].delta.model_extra["timesight"]  # type: ignore[index]
    assert len(shown["passes"]) == 2
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == shown["text"]
    talk = [message("one?", video), {"role": "assistant", "content": "yes"}, {"role": "user", "content": "two?"}]
    client.chat.completions.create(model="base", messages=talk)  # type: ignore[arg-type]
    (earlier,) = running.models["base"].prompts[-1].earlier
    assert earlier == ("one?", "yes")
    assert list(running.uploads.iterdir()) == []


def test_a_client_that_stops_listening_stops_the_model(
    client: openai.OpenAI, running: Running, video: Path
) -> None:
    model = running.models["base"]
    stream = client.chat.completions.create(
        model="base",
        messages=[message("word " * 900, video)],  # type: ignore[list-item]
        stream=True,
    )
    next(iter(stream))
    wait(lambda: model.running == 1)
    stream.close()
    wait(lambda: model.running == 0)
    wait(lambda: not list(running.uploads.iterdir()))


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"model": "other"}, 404, "no model other; there is base, trained"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "no video"}]}, 400, "0 videos in the conversation"),
        ({"temperature": -1}, 400, "temperature"),
        ({"n": 2}, 400, "n: "),
        ({"task": "captioning"}, 400, "task: "),
        ({"task": "grounded_qa"}, 400, "a choice needs two options"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(
    running: Running, video: Path, change: dict[str, Any], status: int, reason: str
) -> None:
    body = {"model": "base", "messages": [message("What?", video)]} | change
    for stream in (False, True):
        answer = running.http.post("/v1/chat/completions", json=body | {"stream": stream})
        assert answer.status_code == status
        assert reason in answer.json()["error"]["message"]
    assert list(running.uploads.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/x.mp4",
        "file:///etc/passwd",
        "data:video/mp4;base64,!!",
        "data:text/html;base64,aGVsbG8=",
        "data:video/mp4;base64,aGVsbG8=",
        "/etc/passwd",
    ],
)
def test_nothing_but_the_video_itself_is_taken(running: Running, address: str) -> None:
    content = [{"type": "video_url", "video_url": {"url": address}}, {"type": "text", "text": "?"}]
    body = {"model": "base", "messages": [{"role": "user", "content": content}]}
    assert running.http.post("/v1/chat/completions", json=body).status_code in (400, 415)
    assert list(running.uploads.iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": NaN}', b"\xff\xfe", b'{"a":' * 100_000])
def test_what_is_not_json_is_told_so(running: Running, body: bytes) -> None:
    answer = running.http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert "error" in answer.json()


def test_wrong_flags_of_serve_are_one_line(tmp_path: Path, running: Running) -> None:
    program = Path(sys.executable).parent / "timesight"
    for flags, reason in (
        (["--host", "0.0.0.0"], "set a password"),
        (["--port", str(running.port)], "cannot listen on 127.0.0.1"),
        (["--gallery", str(tmp_path)], "holds no finished evaluation"),
        (["--password-file", str(tmp_path / "no")], "the password cannot be read"),
    ):
        done = subprocess.run([program, "serve", *flags], capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, reason in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr
