"""One site for all tests of the web, in a thread of this process: NiceGUI keeps one app a process."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chat.scripted import Scripted

PASSWORD = "s3cret"
MB = 1 << 20


@dataclass
class Running:
    """A site that listens at ``url``; ``http`` has its password."""

    site: Any
    url: str
    port: int
    http: httpx.Client
    models: dict[str, Scripted]
    uploads: Path


def wait(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Until ``condition``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def running(video: Path) -> Iterator[Running]:
    pytest.importorskip("nicegui", reason="the page needs nicegui: pip install 'timesight[serve]'")
    from timesight.chat.session import ChatSettings
    from timesight.chat.web.page import HardItem
    from timesight.chat.web.server import Server, bind, make_site
    from timesight.chat.web.settings import SiteSettings
    from timesight.types import Span, Video

    settings = SiteSettings(
        password=PASSWORD, max_upload_bytes=2 * MB, max_duration_s=60.0, max_frame_px=640 * 480, max_waiting=4
    )
    models = {name: Scripted(name, word_s=0.02) for name in ("base", "trained")}
    hard: list[HardItem] = []
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    site = make_site(settings, models, ChatSettings(), hard)
    site.store.add_example(Video(path=video), "example")
    token = site.store.add_example(Video(path=video), "item", listed=False)
    spans = (Span(0.5, 1.5),), (Span(1.0, 2.0),)
    hard.append(HardItem(token, "temporal_grounding", "it <b>falls</b>", "", "1 to 2", "mIoU: 0.33", *spans))
    hard.append(HardItem(token, "multiple_choice", "Who?", "you", "A", "accuracy: 0.00", (), (), ("me", "you")))
    server = Server(site)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    wait(lambda: server.started, 120)
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {PASSWORD}"}, timeout=60) as http:
        yield Running(site, url, port, http, models, site.store.folder)
    server.should_exit = True
    thread.join(20)
    site.close()
    assert not thread.is_alive()
    assert not site.store.folder.exists()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser for one file of tests: while playwright runs, nothing else in this thread can use asyncio."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on this machine (apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def send(running: Running, path: str, content: bytes, length: int) -> socket.socket:
    """A request that is left open, with ``content`` as the first of ``length`` bytes."""
    sent = socket.create_connection(("127.0.0.1", running.port), timeout=30)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nAuthorization: Bearer {PASSWORD}\r\n"
    sent.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + content)
    return sent
