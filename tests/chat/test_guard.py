"""Who is let in, and what of a request is read."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.chat.conftest import MB, PASSWORD, Running, send

pytest.importorskip("nicegui", reason="the page needs nicegui: pip install 'timesight[serve]'")
from timesight.chat.web.server import bind
from timesight.chat.web.settings import SiteSettings
from timesight.errors import InputError


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "headers", [{"host": "["}, {"origin": "http://["}, {"host": "evil@127.0.0.1"}, {"host": "@localhost"}]
)
def test_hosts_and_origins_that_are_no_addresses(running: Running, headers: dict[str, str]) -> None:
    assert httpx.get(running.url, headers=headers).status_code == 400


def test_wrong_passwords_are_told_one_after_another(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most, sleep = 0, 0, asyncio.sleep

    async def pause(seconds: float) -> None:
        nonlocal under_way, most
        under_way += seconds == 0.05
        most = max(most, under_way)
        await sleep(seconds)
        under_way -= seconds == 0.05

    monkeypatch.setattr("timesight.chat.web.guard.WRONG_PASSWORD_S", 0.05)
    monkeypatch.setattr("asyncio.sleep", pause)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(httpx.get, running.url, auth=("timesight", "wrong")) for _ in range(8)]
    assert {answer.result().status_code for answer in asked} == {401}
    assert most == 1


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


def test_a_request_that_never_ends_is_ended(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timesight.chat.web.guard.REQUEST_S", 0.2)
    with send(running, "/v1/chat/completions", b"{", 100) as sent:
        assert b"it was not received within 0.2 s" in sent.recv(10_000)


def test_what_lies_in_the_folder_is_not_served_by_its_name(running: Running, tmp_path: Path) -> None:
    link = running.uploads / "link"
    link.symlink_to(tmp_path)
    (tmp_path / "secret").write_text("mine")
    try:
        for path in ("link", "link/secret", "..%2f..%2fetc%2fpasswd", str(tmp_path / "secret")):
            assert running.http.get(f"/media/{path}").status_code == 404
    finally:
        link.unlink()


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


@pytest.mark.slow
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
