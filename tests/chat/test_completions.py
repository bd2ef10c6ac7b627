"""What an OpenAI client gets."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.chat.conftest import PASSWORD, Running, send, wait

pytest.importorskip("nicegui", reason="the page needs nicegui: pip install 'timesight[serve]'")
from timesight.chat.web.completions import MAX_BODIES


def data_address(path: Path) -> str:
    return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()


def message(text: str, *paths: Path) -> dict[str, Any]:
    videos = [{"type": "video_url", "video_url": {"url": data_address(path)}} for path in paths]
    return {"role": "user", "content": [*videos, {"type": "text", "text": text}]}


PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}}]}]


LONG_TALK = [
    {"role": "user", "content": "one?"},
    {"role": "assistant", "content": "x" * 16_000},
    {"role": "user", "content": "two?"},
]


@pytest.fixture
def client(running: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key=PASSWORD, max_retries=0)


def test_too_many_requests_under_way_are_refused(running: Running, video: Path) -> None:
    with ExitStack() as open_ones:
        for _ in range(MAX_BODIES):
            open_ones.enter_context(send(running, "/v1/chat/completions", b"{", 100))
        body = {"model": "base", "messages": [message("What?", video)]}
        wait(lambda: running.http.post("/v1/chat/completions", json=body).status_code == 503)
    wait(lambda: running.http.post("/v1/chat/completions", json=body).status_code == 200)


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
        messages=[message("word " * 380, video)],  # type: ignore[list-item]
        stream=True,
    )
    next(iter(stream))
    wait(lambda: model.running == 1)
    stream.close()
    wait(lambda: model.running == 0)
    wait(lambda: not list(running.uploads.iterdir()))


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, {"stream": True}, {"stream": True, "clue": True}])
def test_a_client_that_leaves_is_noticed_before_the_first_piece(
    running: Running, video: Path, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, scheduler = running.models["base"], running.site.scheduler
    monkeypatch.setattr(model, "word_s", 1.0)  # minutes a reply
    body = json.dumps({"model": "base", "messages": [message("word " * 300, video)]} | how).encode()
    asked = [send(running, "/v1/chat/completions", body, len(body)) for _ in range(3)]
    wait(lambda: model.running == 2 and scheduler.num_waiting == 1)
    for one in asked:
        one.close()
    wait(lambda: model.running == 0 and scheduler.num_waiting == scheduler.num_active == 0)
    wait(lambda: not list(running.uploads.iterdir()))


def test_what_clients_leave_open_or_ask_besides(running: Running, client: openai.OpenAI, video: Path) -> None:
    instructed = {"role": "developer", "content": "be brief"}
    nothing = {"temperature": None, "n": None, "stream": None, "max_tokens": None}
    body = {"model": "base", "messages": [instructed, message("What?", video)]} | nothing
    assert running.http.post("/v1/chat/completions", json=body).status_code == 200
    *_, last = client.chat.completions.create(
        model="base",
        messages=[message("What?", video)],  # type: ignore[list-item]
        stream=True,
        stream_options={"include_usage": True},
    )
    assert (last.choices, last.usage.prompt_tokens) == ([], 10)  # type: ignore[union-attr]
    assert client.models.retrieve("trained").id == "trained"
    for path, reason in (
        ("/v1/models/runs/other", "no model runs/other"),
        ("/v1/nothing", "nothing at /v1/nothing"),
    ):
        answer = running.http.get(path)
        assert (answer.status_code, reason in answer.json()["error"]["message"]) == (404, True)


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
        ({"messages": PICTURE}, 400, "messages.0.content.0.type: Input should be 'text' or 'video_url'"),
        ({"options": ["x" * 2000]}, 400, "the question and its options have 2005 characters: at most 2000"),
        ({"messages": LONG_TALK}, 400, "the messages before it have 16004 characters: at most 16000"),
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
        "data:video/mp4;base64,éé",
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
