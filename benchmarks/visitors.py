"""Many visitors at once, and the server's memory: python benchmarks/visitors.py [--visitors N] [--seconds S]

Starts ``timesight serve`` with the embedded model. Every visitor opens the page, uploads a video, asks about it
twice as an OpenAI client (once streaming), leaves without a word, and comes back as somebody else. Prints, every
ten seconds, how many pages, uploads and replies there were so far, how often the site said that it is full (status
503), what else went wrong, and the memory of the server with all its processes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import websockets

from timesight.world import WorldSettings, make_scene, write_video

MB = 1 << 20
REPORT_S = 10.0
WAIT_S = 0.5  # when the site is full


def main() -> None:
    """The table, then the server's end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "v.mp4"
        write_video(make_scene("visitors", (1,), WorldSettings(duration_s=(3.0, 4.0))), video)
        command = [sys.executable, "-m", "timesight", "serve", "--port", "0", "--no-examples"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = server.stdout.readline().split()[0]
            try:
                load = Load(address, video.read_bytes(), psutil.Process(server.pid))
                asyncio.run(load.run(flags.visitors, flags.seconds))
            finally:
                server.terminate()


class Load:
    """Visitors of the site at ``address`` who all have ``video``."""

    def __init__(self, address: str, video: bytes, server: psutil.Process) -> None:
        self.address = address
        self.video = video
        self.server = server
        self.counts: Counter[str] = Counter()

    async def run(self, num_visitors: int, seconds: float) -> None:
        """All of them for ``seconds``, and what is left when they are gone."""
        begin = time.monotonic()
        limits = httpx.Limits(max_connections=2 * num_visitors)
        async with httpx.AsyncClient(base_url=self.address, timeout=120, limits=limits) as http:
            print(f"before: {self.memory_mb():.0f} MB")
            visitors = [asyncio.create_task(self.keep_coming(http, begin + seconds)) for _ in range(num_visitors)]
            while time.monotonic() < begin + seconds:
                await asyncio.sleep(REPORT_S)
                self.report(f"{time.monotonic() - begin:5.0f} s")
            await asyncio.gather(*visitors)
        await asyncio.sleep(REPORT_S)
        self.report("after")

    async def keep_coming(self, http: httpx.AsyncClient, end: float) -> None:
        """One visit after the other."""
        while time.monotonic() < end:
            try:
                await self.visit(http)
            except (httpx.HTTPError, websockets.WebSocketException, AssertionError) as error:
                self.counts[f"error: {type(error).__name__} {error}"[:70]] += 1

    async def visit(self, http: httpx.AsyncClient) -> None:
        """The page, an upload, two questions; then the connection is cut."""
        page = (await http.get("/")).text
        self.counts["pages"] += 1
        client = found(r"""client_id['"]: ['"]([0-9a-f-]{36})""", page)
        message = found(r"""next_message_id['"]: ([0-9]+)""", page)
        query = (
            f"EIO=4&transport=websocket&implicit_handshake=true&client_id={client}"
            f"&next_message_id={message}"
            f"&document_id={uuid.uuid4()}&tab_id={uuid.uuid4()}"
        )
        url = f"ws{self.address.removeprefix('http')}_nicegui_ws/socket.io/?{query}"
        async with websockets.connect(url, max_size=None) as socket:
            await socket.recv()
            await socket.send("40")
            await socket.recv()
            talking = asyncio.create_task(answer_pings(socket))
            sent = await http.put("/upload", content=self.video, headers={"x-visitor": client, "x-name": "v.mp4"})
            self.count(sent, "uploads")
            for stream in (False, True):
                await self.ask(http, stream)
            talking.cancel()

    async def ask(self, http: httpx.AsyncClient, stream: bool) -> None:
        """One question."""
        address = "data:video/mp4;base64," + base64.b64encode(self.video).decode()
        content = [
            {"type": "video_url", "video_url": {"url": address}},
            {"type": "text", "text": "the first shape is visible"},
        ]
        body = {
            "model": "tiny",
            "messages": [{"role": "user", "content": content}],
            "stream": stream,
            "task": "temporal_grounding",
        }
        self.count(await http.post("/v1/chat/completions", json=body), "replies")
        await asyncio.sleep(WAIT_S)

    def count(self, response: httpx.Response, name: str) -> None:
        """Note what came of a request."""
        self.counts[name if response.status_code == 200 else f"status {response.status_code}"] += 1

    def memory_mb(self) -> float:
        """Of the server and its processes, what they share counted once."""
        found_mb = 0.0
        for process in [self.server, *self.server.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                found_mb += process.memory_full_info().pss / MB
        return found_mb

    def report(self, when: str) -> None:
        """One line."""
        print(f"{when}: {self.memory_mb():.0f} MB; {dict(self.counts)}", flush=True)


async def answer_pings(socket: websockets.ClientConnection) -> None:
    """Stay connected, as a browser does."""
    with suppress(websockets.WebSocketException):
        async for message in socket:
            if message == "2":
                await socket.send("3")


def found(pattern: str, text: str) -> str:
    """What ``pattern`` finds."""
    match = re.search(pattern, text)
    assert match is not None, f"no {pattern} in the page"
    return match.group(1)


if __name__ == "__main__":
    main()
