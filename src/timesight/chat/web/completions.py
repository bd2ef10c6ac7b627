"""What an OpenAI client talks to: ``/v1/models`` and ``/v1/chat/completions`` with a video part, streamed or whole.

A question without a form of its own is put as an open question, so that its reply names spans; one that shows an
``<answer>`` tag is put as it is. Replies carry what they show under ``timesight``: spans, boxes, passes. With
``clue`` the content is the last look's reply.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.responses import Response

from timesight.chat.session import ChatSettings, Session, as_record
from timesight.chat.web.desk import Desk, Done
from timesight.chat.web.guard import error_body
from timesight.chat.web.settings import RefusedError
from timesight.chat.web.videos import VideoStore
from timesight.errors import TimesightError
from timesight.infer.ask import Question
from timesight.policy.answering import Answerer, Exchange
from timesight.types import Reply
from timesight.video.pool import VideoPool

DATA_VIDEO = re.compile(r"data:video/[\w.+-]{1,40};base64,", re.ASCII)
CHUNK = 1 << 20  # characters decoded at once


class VideoAddress(BaseModel):
    """``data:video/mp4;base64,…``; nothing is fetched from anywhere."""

    url: str


class ContentPart(BaseModel):
    """A piece of a message."""

    type: Literal["text", "video_url"]
    text: str = ""
    video_url: VideoAddress | None = None


class ChatMessage(BaseModel):
    """One side's words."""

    role: Literal["user", "assistant", "system"]
    content: str | list[ContentPart]

    @property
    def text(self) -> str:
        """What is said, videos left out."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if part.type == "text").strip()

    @property
    def videos(self) -> list[str]:
        """The addresses of its videos."""
        parts = self.content if isinstance(self.content, list) else []
        return [part.video_url.url for part in parts if part.video_url is not None]


class ChatRequest(BaseModel):
    """What a client asks for. ``task``, ``options`` and ``clue`` are ours; fields that are not here are ignored."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=64)
    stream: bool = False
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: Literal[1] = 1
    task: Literal["open_qa", "temporal_grounding", "grounded_qa"] = "open_qa"
    options: tuple[str, ...] = ()
    clue: bool = False


@dataclass(frozen=True)
class Completions:
    """The two routes, for ``models`` by name."""

    models: Mapping[str, Answerer]
    store: VideoStore
    desk: Desk
    pool: VideoPool
    settings: ChatSettings

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/v1")
        router.add_api_route("/models", self.list_models, methods=["GET"])
        router.add_api_route("/chat/completions", self.complete, methods=["POST"], response_model=None)
        return router

    def list_models(self) -> dict[str, Any]:
        """Which models there are."""
        named = [{"id": name, "object": "model", "created": 0, "owned_by": "timesight"} for name in self.models]
        return {"object": "list", "data": named}

    async def complete(self, request: Request) -> Response:
        """A reply to the last message."""
        self.desk.require_room()  # before the video is read
        asked = _read_request(await request.body())
        if asked.model not in self.models:
            raise RefusedError(404, f"no model {asked.model}; there is {', '.join(self.models)}")
        owner = secrets.token_hex(8)
        token = await self._keep_video(asked, owner)
        pieces = self._pieces(asked, token, owner)
        if asked.stream:
            # The first piece is waited for, so that what is wrong has a status of its own.
            first = await anext(pieces)
            return StreamingResponse(
                _events(asked.model, first, pieces),
                media_type="text/event-stream",
                headers={"cache-control": "no-store"},
            )
        async with aclosing(pieces):
            async for piece in pieces:
                if isinstance(piece, Reply):
                    return JSONResponse(_completion(asked.model, piece))
        raise RefusedError(503, "the reply was stopped")

    async def _keep_video(self, asked: ChatRequest, owner: str) -> str:
        addresses = [url for message in asked.messages for url in message.videos]
        if len(addresses) != 1:
            raise RefusedError(400, f"{len(addresses)} videos in the conversation: send one, as a video_url part")
        return await self.store.receive(_decoded(addresses[0]), "video", owner)

    async def _pieces(self, asked: ChatRequest, token: str, owner: str) -> AsyncGenerator[str | Reply, None]:
        """The text as it is written, then the reply. The video goes with the last of it."""
        try:
            stored = self.store.get(token)
            assert stored is not None
            most = asked.max_completion_tokens or asked.max_tokens or self.settings.max_new_tokens
            settings = replace(
                self.settings,
                temperature=asked.temperature,
                max_new_tokens=min(most, self.settings.max_new_tokens),
            )
            session = Session(self.models[asked.model], stored.video, settings, self.pool)
            session.recall(_earlier(asked.messages))
            question = Question(asked.messages[-1].text, asked.task, asked.options)
            async with aclosing(self.desk.run(session.ask(question, clue=asked.clue))) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Done):
                        if asked.clue:  # only now is it known that this look was the last one
                            yield piece.result.text
                        yield piece.result
                    elif isinstance(piece, str) and not asked.clue:
                        yield piece
        except TimesightError as error:
            raise error if isinstance(error, RefusedError) else RefusedError(400, str(error)) from None
        finally:
            self.store.forget(owner)


def _read_request(body: bytes) -> ChatRequest:
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise RefusedError(400, f"{where}: {first['msg']}" if where else str(first["msg"])) from None


async def _decoded(address: str) -> AsyncIterator[bytes]:
    """The bytes of a ``data:`` address, piece by piece."""
    match = DATA_VIDEO.match(address)
    if match is None:
        raise RefusedError(
            400, "video_url must be a data:video/…;base64,… address; nothing is fetched from elsewhere"
        )
    for first in range(match.end(), len(address), CHUNK):
        try:
            yield base64.b64decode(address[first : first + CHUNK], validate=True)
        except binascii.Error:
            raise RefusedError(400, "video_url is not base64") from None


def _earlier(messages: list[ChatMessage]) -> list[Exchange]:
    """What was said before the last message, in pairs of question and reply."""
    said = [message for message in messages[:-1] if message.role != "system"]
    roles = [message.role for message in said] + [messages[-1].role]
    if roles != ["user", "assistant"] * (len(said) // 2) + ["user"]:
        raise RefusedError(400, "messages must go from user to assistant in turns and end with user")
    return [Exchange(q.text, reply.text) for q, reply in zip(said[::2], said[1::2], strict=True)]


async def _events(
    model: str, first: str | Reply, rest: AsyncGenerator[str | Reply, None]
) -> AsyncGenerator[str, None]:
    """Server-sent events: pieces, then what the reply shows and why it ended."""
    about = _about(model, "chat.completion.chunk")

    def event(delta: Mapping[str, Any], end: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        return f"data: {json.dumps({**about, 'choices': [choice]})}\n\n"

    yield event({"role": "assistant", "content": ""})
    async with aclosing(rest):
        piece: str | Reply | None = first
        while piece is not None:
            if isinstance(piece, Reply):
                yield event({"timesight": as_record(piece)}, _end(piece))
            else:
                yield event({"content": piece})
            piece = await anext(rest, None)
    yield "data: [DONE]\n\n"


def _completion(model: str, reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text, "timesight": as_record(reply)}
    return {
        **_about(model, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": _end(reply)}],
        "usage": {
            "prompt_tokens": sum(seen.prompt_tokens for seen in reply.passes),
            "completion_tokens": sum(seen.new_tokens for seen in reply.passes),
            "total_tokens": sum(seen.prompt_tokens + seen.new_tokens for seen in reply.passes),
        },
    }


def _about(model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}


def _end(reply: Reply) -> str:
    return "length" if reply.truncated else "stop"


def refused(_: Request, error: Exception) -> JSONResponse:
    """What a client is told."""
    assert isinstance(error, RefusedError)
    return JSONResponse(error_body(error), error.status)
