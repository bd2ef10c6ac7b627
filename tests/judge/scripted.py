"""A small OpenAI-compatible server on loopback that does what a script says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StatusError(Exception):
    """Answer with this HTTP status, and words."""


class StallError(Exception):
    """Answer after this many seconds."""


class Server:
    """``reply`` gets the data of a question and the number of the request; it returns a text, or a raw body."""

    def __init__(self, reply: Callable[[dict[str, Any], int], str | bytes]) -> None:
        self.reply = reply
        self.requests: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.url = ""


def _content(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"])


def _completion(model: str, text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    completion = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 50, "completion_tokens": 50, "total_tokens": 100},
    }
    return json.dumps(completion).encode()


@contextmanager
def served(reply: Callable[[dict[str, Any], int], str | bytes]) -> Iterator[Server]:
    """Run a scripted server for the time of the block."""
    server = Server(reply)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.requests.append(request)
                number = len(server.requests)
            code, body = 200, b"{}"
            try:
                said = server.reply(json.loads(_content(request)), number)
                body = said if isinstance(said, bytes) else _completion(request["model"], said)
            except StatusError as status:
                code, body = status.args[0], json.dumps({"error": {"message": " ".join(status.args[1:])}}).encode()
            except StallError as stall:
                time.sleep(stall.args[0])
            try:
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # the client did not wait

        def log_message(self, *unused: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def honest(content: dict[str, Any], number: int) -> str:
    """A judge that reads word by word: sentences are events, and an event is said when its words are there."""
    words = set(content["caption"].lower().replace(".", " ").split())
    if "events" not in content:
        events = [sentence.strip() for sentence in content["caption"].split(".") if sentence.strip()]
        return json.dumps({"events": events})
    return json.dumps(
        {
            "verdicts": [
                {"id": row["id"], "entailed": set(row["event"].lower().replace(".", " ").split()) <= words}
                for row in content["events"]
            ]
        }
    )


def obedient(content: dict[str, Any], number: int) -> str:
    """A judge that does what captions tell it to."""
    if "events" in content and "ignore" in content["caption"].lower():
        return json.dumps({"verdicts": [{"id": row["id"], "entailed": True} for row in content["events"]]})
    return honest(content, number)
