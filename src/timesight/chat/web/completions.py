"""The OpenAI-compatible API: ``/v1/models`` and ``/v1/chat/completions`` with a video part, streamed or whole.

A question without a ``task`` is asked as an open question, so that its reply names spans; one that contains an
``<answer>`` tag is a complete prompt. Replies carry their evidence under ``timesight``: spans, boxes, passes. With
``clue`` the content is the reply of the last pass.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from timesight.chat.session import ChatSettings, Session, as_record
from timesight.chat.web.guard import error_body
from timesight.chat.web.protocol import ChatRequest, decoded, earlier, read_request
from timesight.chat.web.scheduler import Done, RequestScheduler
from timesight.chat.web.settings import RefusedError
from timesight.chat.web.videos import VideoStore
from timesight.errors import TimesightError
from timesight.generate.base import Generator
from timesight.types import Question, Reply

T = TypeVar("T")
MAX_BODIES = 8  # requests that are received at the same time, each held in memory


@dataclass(frozen=True)
class Completions:
    """The routes of the API.

    Args:
        models: Generators by the names that clients ask for.
        store: Holds the video of a request until its reply is sent.
        scheduler: Queues the questions.
        settings: How questions are answered; a request can lower ``max_new_tokens`` and set the temperature.
    """

    models: Mapping[str, Generator]
    store: VideoStore
    scheduler: RequestScheduler
    settings: ChatSettings
    _bodies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_BODIES))

    def router(self) -> APIRouter:
        """Return the routes, under ``/v1``."""
        router = APIRouter(prefix="/v1")
        router.add_api_route("/models", self.list_models, methods=["GET"])
        router.add_api_route("/models/{name:path}", self.show_model, methods=["GET"])
        router.add_api_route("/chat/completions", self.complete, methods=["POST"], response_model=None)
        router.add_api_route("/{path:path}", _nothing_here, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
        return router

    def list_models(self) -> dict[str, Any]:
        """Return the list of models, in OpenAI's form."""
        return {"object": "list", "data": [self.show_model(name) for name in self.models]}

    def show_model(self, name: str) -> dict[str, Any]:
        """Return one model, in OpenAI's form.

        Raises:
            RefusedError: 404 if there is no model of this name.
        """
        self._require_model(name)
        return {"id": name, "object": "model", "created": 0, "owned_by": "timesight"}

    async def complete(self, request: Request) -> Response:
        """Reply to the last message of a request. The reply is ended if the client disconnects.

        Raises:
            RefusedError: 400 for a request that cannot be answered, 404 for an unknown model, 503 if too many are
                waiting, and as ``VideoStore.receive``.
            ClientDisconnect: If the client left before the reply began.
        """
        self.scheduler.require_room()  # before the video is read
        owner = secrets.token_hex(8)
        try:
            asked, token = await self._receive(request, owner)
            return await _while_there(request, self._respond(self._pieces(asked, token, owner), asked))
        except BaseException:
            self.store.forget(owner)
            raise

    async def _receive(self, request: Request, owner: str) -> tuple[ChatRequest, str]:
        """The request, and the token of its video. Only ``MAX_BODIES`` at once: each is held in memory."""
        if self._bodies.locked():
            raise RefusedError(503, f"{MAX_BODIES} requests are being received already; try again in a minute")
        async with self._bodies:
            body = b"".join([chunk async for chunk in request.stream()])
            asked = await asyncio.to_thread(read_request, body)
            del body
            self._require_model(asked.model)
            asked.require_short()
            token = await _while_there(request, self._keep_video(asked, owner))
            asked.drop_videos()
            return asked, token

    def _require_model(self, name: str) -> None:
        if name not in self.models:
            raise RefusedError(404, f"no model {name}; there is {', '.join(self.models)}")

    async def _respond(self, pieces: AsyncGenerator[str | Reply, None], asked: ChatRequest) -> Response:
        if asked.stream:
            # Wait for the first piece, so that an error still sets the status of the response.
            first = await anext(pieces)
            return StreamingResponse(
                _events(asked, first, pieces),
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
        return await self.store.receive(decoded(addresses[0]), "video", owner)

    async def _pieces(self, asked: ChatRequest, token: str, owner: str) -> AsyncGenerator[str | Reply, None]:
        """Pieces of the text, then the reply. The video is removed at the end."""
        try:
            stored = self.store.get(token)
            assert stored is not None
            most = asked.max_completion_tokens or asked.max_tokens or self.settings.max_new_tokens
            settings = replace(
                self.settings,
                temperature=asked.temperature or 0.0,
                max_new_tokens=min(most, self.settings.max_new_tokens),
            )
            session = Session(self.models[asked.model], stored.video, settings, self.store.pool(stored))
            session.recall(earlier(asked.messages))
            question = Question(asked.messages[-1].text, asked.task, asked.options)
            async with aclosing(self.scheduler.ask(session, question, clue=asked.clue)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Done):
                        if asked.clue:  # only now is it known that this pass was the last one
                            yield piece.result.text
                        yield piece.result
                    elif isinstance(piece, str) and not asked.clue:
                        yield piece
        except TimesightError as error:
            raise error if isinstance(error, RefusedError) else RefusedError(400, str(error)) from None
        finally:
            self.store.forget(owner)


async def _while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is canceled if the client disconnects. Raises ClientDisconnect then."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    """Wait until the client has disconnected. Its request must have been received."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _nothing_here(path: str) -> None:
    raise RefusedError(404, f"nothing at /v1/{path}; there is /v1/models and /v1/chat/completions")


async def _events(
    asked: ChatRequest, first: str | Reply, rest: AsyncGenerator[str | Reply, None]
) -> AsyncGenerator[str, None]:
    """Server-sent events: pieces of text, then the evidence and the finish reason."""
    about = _about(asked.model, "chat.completion.chunk")

    def event(delta: Mapping[str, Any], end: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        return f"data: {json.dumps({**about, 'choices': [choice]})}\n\n"

    yield event({"role": "assistant", "content": ""})
    async with aclosing(rest):
        piece: str | Reply | None = first
        while piece is not None:
            if isinstance(piece, Reply):
                yield event({"timesight": as_record(piece)}, _end(piece))
                if asked.stream_options is not None and asked.stream_options.include_usage:
                    yield f"data: {json.dumps({**about, 'choices': [], 'usage': _usage(piece)})}\n\n"
            else:
                yield event({"content": piece})
            piece = await anext(rest, None)
    yield "data: [DONE]\n\n"


def _completion(model: str, reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text, "timesight": as_record(reply)}
    return {
        **_about(model, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": _end(reply)}],
        "usage": _usage(reply),
    }


def _usage(reply: Reply) -> dict[str, int]:
    prompt_tokens = sum(seen.prompt_tokens for seen in reply.passes)
    new_tokens = sum(seen.new_tokens for seen in reply.passes)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": new_tokens,
        "total_tokens": prompt_tokens + new_tokens,
    }


def _about(model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}


def _end(reply: Reply) -> str:
    return "length" if reply.truncated else "stop"


def refused(_: Request, error: Exception) -> JSONResponse:
    """Return the response for a RefusedError."""
    assert isinstance(error, RefusedError)
    return JSONResponse(error_body(error), error.status)
