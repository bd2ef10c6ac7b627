"""Requests of OpenAI clients: the fields that are read, and the errors about them."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from timesight.chat.web.settings import MAX_HISTORY_CHARS, MAX_QUESTION_CHARS, RefusedError
from timesight.model.prompt import Exchange
from timesight.tasks import TASKS

DATA_VIDEO = re.compile(r"data:video/[\w.+-]{1,40};base64,", re.ASCII)
CHUNK = 1 << 20  # characters decoded at once


class VideoAddress(BaseModel):
    """A video as a ``data:video/…;base64,…`` URL; other addresses are refused, so nothing is fetched."""

    url: str


class ContentPart(BaseModel):
    """A text or a video in a message."""

    type: Literal["text", "video_url"]
    text: str = ""
    video_url: VideoAddress | None = None


class ChatMessage(BaseModel):
    """A message; ``content`` is a text, or texts and videos."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[ContentPart]

    @property
    def text(self) -> str:
        """The text without the videos."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if part.type == "text").strip()

    @property
    def videos(self) -> list[str]:
        """The URLs of the videos."""
        parts = self.content if isinstance(self.content, list) else []
        return [part.video_url.url for part in parts if part.video_url is not None]


class StreamOptions(BaseModel):
    """What is sent at the end of a stream."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """A request to ``/v1/chat/completions``, in OpenAI's form and with three fields more. Others are ignored.

    Args:
        model: Name of the model.
        messages: The conversation; the last message is the question. Exactly one video in all of them.
        stream: Whether the reply is sent as server-sent events.
        stream_options: For streams.
        temperature: 0 is greedy.
        max_tokens: Limit of the reply; the server's own limit stays.
        max_completion_tokens: Its newer name, which wins.
        n: Number of replies.
        task: The form of the question; None: an open question. Tracking is not possible, since it needs a box.
        options: For a task with options.
        clue: Take a second look.
    """

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=64)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(default=0.0, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: Literal[1] | None = 1
    task: str | None = None
    options: tuple[str, ...] = ()
    clue: bool = False

    @field_validator("task")
    @classmethod
    def _known(cls, task: str | None) -> str | None:
        known = [name for name, form in TASKS.question_forms.items() if form.needs != "box"]
        if task is not None and task not in known:
            raise ValueError(f"is one of {', '.join(known)}")
        return task

    def require_short(self) -> None:
        """Raise RefusedError (400) if the question or the messages before it are too long."""
        *before, last = self.messages
        num_asked = len(last.text) + sum(map(len, self.options))
        num_said = sum(len(message.text) for message in before)
        for what, num, most in (
            ("the question and its options", num_asked, MAX_QUESTION_CHARS),
            ("the messages before it", num_said, MAX_HISTORY_CHARS),
        ):
            if num > most:
                raise RefusedError(400, f"{what} have {num} characters: at most {most} are taken")

    def drop_videos(self) -> None:
        """Remove the videos, which are large, from the messages; the store has them by now."""
        for message in self.messages:
            message.content = message.text


def read_request(body: bytes) -> ChatRequest:
    """Parse a request.

    Raises:
        RefusedError: 400 if it is not valid; the message names the field.
    """
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        # Of the forms that a field may have, the one whose error lies deepest is the one that was meant.
        deepest = max(error.errors(include_input=False, include_url=False), key=lambda found: len(found["loc"]))
        steps = [str(step) for step in deepest["loc"]]
        where = ".".join(step for step in steps if step != "str" and "[" not in step)
        raise RefusedError(400, f"{where}: {deepest['msg']}" if where else str(deepest["msg"])) from None


async def decoded(address: str) -> AsyncIterator[bytes]:
    """Decode a ``data:`` URL piece by piece.

    Raises:
        RefusedError: 400 for any other address, and for text that is not base64.
    """
    match = DATA_VIDEO.match(address)
    if match is None:
        raise RefusedError(
            400, "video_url must be a data:video/…;base64,… address; nothing is fetched from elsewhere"
        )
    for first in range(match.end(), len(address), CHUNK):
        try:
            yield base64.b64decode(address[first : first + CHUNK], validate=True)
        except ValueError:
            raise RefusedError(400, "video_url is not base64") from None
        await asyncio.sleep(0)  # let other requests run


def earlier(messages: list[ChatMessage]) -> list[Exchange]:
    """Return the conversation before the last message. System and developer messages are ignored.

    Raises:
        RefusedError: 400 if messages do not alternate between user and assistant, or do not end with user.
    """
    said = [message for message in messages[:-1] if message.role in ("user", "assistant")]
    roles = [message.role for message in said] + [messages[-1].role]
    if roles != ["user", "assistant"] * (len(said) // 2) + ["user"]:
        raise RefusedError(400, "messages must go from user to assistant in turns and end with user")
    return [Exchange(q.text, reply.text) for q, reply in zip(said[::2], said[1::2], strict=True)]
