"""An endpoint against a real server on loopback: what is sent, what comes back, and whom trouble stops."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from timesight.errors import InputError, ModelError
from timesight.generate.base import Completion, Sampling
from timesight.generate.served import ServedGenerator
from timesight.model.prompt import Prompt
from timesight.types import TextPart, Video, VideoPart
from timesight.video import Frames

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]
VIDEO = VideoPart(Video(path=Path("v.mp4")))


@contextmanager
def served(answer: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server that answers as told, and the requests that it got."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(request)
            code, body = answer(request)
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
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1", requests
    finally:
        http.shutdown()
        http.server_close()


def completion(content: Any, finish_reason: str = "stop", **more: Any) -> bytes:
    message = {"role": "assistant", "content": content} | more.pop("message", {})
    choice = {"index": 0, "finish_reason": finish_reason, "message": message}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return json.dumps(body | more).encode()


def refusal(words: str) -> bytes:
    return json.dumps({"error": {"message": words, "type": "invalid_request_error", "code": None}}).encode()


def question(request: dict[str, Any]) -> str:
    """The text after the pictures."""
    return str(request["messages"][0]["content"][-1]["text"])


def echo(request: dict[str, Any]) -> tuple[int, bytes]:
    return 200, completion(f"reply to {question(request)}")


def endpoint(url: str, **settings: Any) -> ServedGenerator:
    return ServedGenerator("m", url, **{"timeout_s": 5.0, "max_retries": 0, "concurrency": 4} | settings)


def ask(url: str, *texts: str, **settings: Any) -> list[Completion | ModelError]:
    prompts = [Prompt([TextPart(text)], []) for text in texts]
    return endpoint(url, **settings).answer(prompts, Sampling(max_new_tokens=16))


def flat(level: int, *times_s: float) -> Frames:
    """Grey frames, 28 × 56 px."""
    pixels = np.full((len(times_s), 28, 56, 3), level, dtype=np.uint8)
    return Frames(pixels, np.array(times_s), (0.0, 100.0), 100.0)


def test_frames_are_sent_as_pictures_after_their_times_in_the_order_of_the_parts() -> None:
    parts = [TextPart("First"), VIDEO, TextPart("then"), VIDEO, TextPart("which is darker?")]
    prompt = Prompt(parts, [flat(40, 0.0, 0.5), flat(200, 61.25)])
    with served(echo) as (url, requests):
        replies = endpoint(url).answer([prompt], Sampling(temperature=0.7, max_new_tokens=12))
    assert replies == [Completion("reply to which is darker?")]
    (request,) = requests
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("m", 0.7, 12)
    assert [message["role"] for message in request["messages"]] == ["user"]
    sent: list[Any] = []
    for part in request["messages"][0]["content"]:
        if part["type"] == "text":
            sent.append(part["text"])
            continue
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/jpeg;base64"
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (picture.format, picture.size) == ("JPEG", (56, 28))
        sent.append(round(float(np.mean(np.asarray(picture)))))
    assert sent == ["First", "0.0 s:", 40, "0.5 s:", 40, "then", "61.2 s:", 200, "which is darker?"]


def test_as_many_prompts_at_once_as_asked_for_and_replies_in_order() -> None:
    together = threading.Barrier(4)
    running: list[str] = []
    most: list[int] = []

    def in_fours(request: dict[str, Any]) -> tuple[int, bytes]:
        running.append(question(request))
        together.wait(timeout=5)  # broken, and so no reply, unless four are here at once
        threading.Event().wait(0.1)  # time for a fifth to come
        most.append(len(running))
        running.remove(question(request))
        return echo(request)

    with served(in_fours) as (url, _):
        replies = ask(url, *map(str, range(8)), concurrency=4)
    assert replies == [Completion(f"reply to {n}") for n in range(8)]
    assert max(most) == 4


def test_what_the_server_tells_about_the_reply_is_kept() -> None:
    usage = {"prompt_tokens": 900, "completion_tokens": 16, "total_tokens": 916}
    bodies = {
        "all": completion("a", "length", usage=usage),
        "some": completion("b", usage={"prompt_tokens": 900}),
        "nonsense": completion("c", usage={"prompt_tokens": "many", "completion_tokens": None}),
        "none": completion("d"),
    }
    with served(lambda request: (200, bodies[question(request)])) as (url, _):
        assert ask(url, *bodies) == [
            Completion("a", finish_reason="length", prompt_tokens=900, completion_tokens=16),
            Completion("b", prompt_tokens=900),
            Completion("c"),
            Completion("d"),
        ]


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [
        (400, refusal("maximum context length is 4096 tokens"), "maximum context length is 4096 tokens"),
        (413, b"request too large\n" * 1000, "request too large request too large"),
        (502, b"<html>\n<h1>Bad Gateway</h1>\n</html>", "Bad Gateway"),
        (400, b'{"detail": "no pictures here"}', "no pictures here"),
        (422, refusal("at most 5 images\nare allowed"), "at most 5 images are allowed"),
        (429, refusal("quota"), "quota"),
        (500, b"", "500"),
        (200, completion(None), "no reply, finish_reason stop"),
        (200, completion(None, message={"refusal": "I will not look."}), "I will not look"),
        (200, completion("Half a", "content_filter"), "content_filter"),
        (200, completion([{"type": "text", "text": "a"}]), "no reply"),
        (200, b"{", "not a reply of this protocol"),
        (200, b"[]", "not a reply of this protocol"),
        (200, b"null", "not a reply of this protocol"),
        (200, b'{"choices": []}', "not a reply of this protocol"),
        (200, b'{"choices": [null]}', "not a reply of this protocol"),
        (200, b'{"choices": [{"message": "hi"}]}', "not a reply of this protocol"),
        (200, b"[" * 100_000, "not a reply of this protocol"),
    ],
)
def test_a_prompt_without_a_reply_does_not_take_the_others_along(code: int, body: bytes, reason: str) -> None:
    with served(lambda request: (code, body) if question(request) == "bad" else echo(request)) as (url, _):
        first, second, third = ask(url, "a", "bad", "c")
    assert (first, third) == (Completion("reply to a"), Completion("reply to c"))
    assert isinstance(second, ModelError)
    assert str(second).startswith(f"m at {url}")
    assert reason in str(second)
    assert "\n" not in str(second)
    assert len(str(second)) < 400


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_server_that_does_not_know_us_or_the_model_is_not_asked_for_each_of_many(code: int) -> None:
    asked = threading.Semaphore(1)

    def turns_away(request: dict[str, Any]) -> tuple[int, bytes]:
        if not asked.acquire(blocking=False):
            threading.Event().wait(0.3)  # time for the first to be heard
        return code, refusal("The model `m`\ndoes not exist")

    with served(turns_away) as (url, requests):
        with pytest.raises(ModelError, match=rf"^m at {url}/: The model `m` does not exist$"):
            ask(url, *map(str, range(300)), concurrency=2)
        assert len(requests) < 20


def test_a_server_that_is_not_there_is_an_error_at_once() -> None:
    with served(echo) as (url, _):
        gone = url
    with pytest.raises(ModelError, match=rf"^m at {gone}/: .*refused"):
        ask(gone, *map(str, range(300)))


def test_a_server_that_does_not_answer_is_an_error() -> None:
    done = threading.Event()

    def stalls(request: dict[str, Any]) -> tuple[int, bytes]:
        done.wait(5)
        return echo(request)

    with served(stalls) as (url, requests):
        with pytest.raises(ModelError, match=rf"^m at {url}/: .*timed out"):
            ask(url, *map(str, range(300)), timeout_s=0.2)
        done.set()
        assert len(requests) < 20


def test_a_server_that_is_busy_is_asked_again() -> None:
    codes = iter([503, 429, 200])
    with served(lambda request: (next(codes), completion("late"))) as (url, requests):
        assert ask(url, "a", max_retries=2) == [Completion("late")]
    assert len(requests) == 3


def test_no_prompts_are_no_requests() -> None:
    assert ask("http://127.0.0.1:9/v1") == []


def test_the_key_is_taken_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(InputError, match="no key in MY_KEY"):
        ServedGenerator("m", None, api_key_env="MY_KEY")
    ServedGenerator("m", "http://127.0.0.1:9/v1", api_key_env="MY_KEY")  # servers of the user want none
    monkeypatch.setenv("MY_KEY", "k")
    assert ServedGenerator("m", None, api_key_env="MY_KEY", factor=32).factor == 32


def test_a_request_holds_a_modest_number_of_pictures() -> None:
    budget = endpoint("http://127.0.0.1:9/v1").default_budget
    assert (budget.fps, budget.max_frames) == (1.0, 32)
