"""Access control for every request and websocket, those for static files included.

It is plain ASGI, because middleware of the frameworks inside does not see the files that they serve themselves.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from timesight.chat.web.settings import LOOPBACK, MB, RefusedError, SiteSettings

COOKIE_S = 12 * 3600
WRONG_PASSWORD_S = 0.3  # delay before a wrong password is refused
REQUEST_S = 120.0  # to receive a request; uploads have a separate limit
UPLOAD_PATH = "/upload"
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws://{host} wss://{host}; object-src 'none'; "
    "base-uri 'self'; frame-ancestors 'none'"
)


class Guard:
    """ASGI middleware that checks host, origin, password and size of requests, and adds headers to responses.

    A browser logs in by HTTP Basic and gets a signed cookie, which its websocket carries; a program sends the
    password as a Bearer token, as OpenAI clients send their key.

    Args:
        app: What is served.
        settings: Host, user, password and limits.
    """

    def __init__(self, app: ASGIApp, settings: SiteSettings) -> None:
        self.app = app  # under this name: NiceGUI looks for its server behind it
        self._settings = settings
        self._key = secrets.token_bytes(32)
        self._wrong_password = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; a refusal is sent as a response, or closes the websocket."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check_origin(headers)
            is_new = await self._check_password(scope, headers)
            if scope["type"] == "websocket":
                await self.app(scope, receive, send)
                return
            await self._serve(scope, receive, send, headers, is_new)
        except RefusedError as error:
            await _refuse(scope, receive, send, error)

    def _check_origin(self, headers: MutableMapping[str, str]) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name, site = urlsplit(f"//{host}").hostname, urlsplit(origin or "").netloc
        except ValueError:
            raise RefusedError(400, "Host or Origin is no address") from None
        if "@" in host:  # a user name before the host, which the check of the host would ignore
            raise RefusedError(400, "Host is no address")
        if self._settings.is_local and name not in LOOPBACK:
            raise RefusedError(403, "unknown host name")  # DNS rebinding
        if origin is not None and site != host:
            raise RefusedError(403, "request from another site")

    async def _check_password(self, scope: Scope, headers: MutableMapping[str, str]) -> bool:
        """Whether this is a new log-in, which gets a cookie. Raises RefusedError without a valid password."""
        if self._settings.password is None:
            return False
        entry = _entry(headers)
        if self._knows_cookie(entry.cookies.get(_cookie_name(scope), "")):
            return False
        is_bearer = entry.scheme == "bearer" and _same(entry.value, self._settings.password)
        is_user = entry.scheme == "basic" and _same(entry.user, self._settings.user)
        is_basic = is_user & _same(entry.password, self._settings.password)
        if is_bearer or is_basic:
            return is_basic
        if entry.scheme:
            async with self._wrong_password:  # one at a time, so that parallel guesses are not faster
                await asyncio.sleep(WRONG_PASSWORD_S)
        raise RefusedError(401, "user and password needed")

    def _knows_cookie(self, cookie: str) -> bool:
        expiry, _, _ = cookie.partition(".")
        is_number = expiry.isascii() and expiry.isdigit() and len(expiry) < 20
        return is_number and int(expiry) > time.time() and _same(cookie, self._cookie(expiry))

    def _cookie(self, expiry: str) -> str:
        return f"{expiry}.{hmac.new(self._key, expiry.encode(), hashlib.sha256).hexdigest()}"

    async def _serve(
        self, scope: Scope, receive: Receive, send: Send, headers: MutableMapping[str, str], is_new: bool
    ) -> None:
        stated = headers.get("content-length", "0")
        is_upload = scope["path"] == UPLOAD_PATH
        most = self._settings.max_upload_bytes if is_upload else self._settings.max_request_bytes
        limit_s = self._settings.receive_limit_s if is_upload else REQUEST_S
        body = _Body(receive, most, limit_s, is_whole=scope["method"] in ("GET", "HEAD"))
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                extra = self._headers(scope, headers, is_new, body.is_whole, message)
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        if not stated.isdigit() or int(stated) > most:
            raise _too_large(most)
        try:
            await self.app(scope, body.receive, send_marked)
        except ClientDisconnect:  # there is no client to answer
            return
        except RefusedError:
            if started:  # the status has been sent: only the connection can end
                return
            raise

    def _headers(
        self, scope: Scope, headers: MutableMapping[str, str], is_new: bool, is_whole: bool, message: Message
    ) -> list[tuple[bytes, bytes]]:
        found = [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")]
        if not any(name == b"content-security-policy" for name, _ in message["headers"]):
            found.append(("content-security-policy", POLICY.format(host=headers.get("host", ""))))
        if not is_whole:  # answered before the whole body was received: the rest is not read
            found.append(("connection", "close"))
        if is_new:
            value = self._cookie(str(int(time.time()) + COOKIE_S))
            secure = "; Secure" if scope["scheme"] == "https" else ""
            found.append(
                ("set-cookie", f"{_cookie_name(scope)}={value}; HttpOnly; SameSite=Strict; Path=/{secure}")
            )
        return [(name.encode(), value.encode("latin-1")) for name, value in found]


class _Body:
    """The body of a request, limited in size and time; chunked requests do not state their length."""

    def __init__(self, receive: Receive, max_bytes: int, limit_s: float, is_whole: bool) -> None:
        self._receive = receive
        self._max_bytes = self._left = max_bytes
        self._limit_s = limit_s
        self._end = asyncio.get_running_loop().time() + limit_s
        self.is_whole = is_whole

    async def receive(self) -> Message:
        try:
            async with asyncio.timeout_at(None if self.is_whole else self._end):
                message = await self._receive()
        except TimeoutError:
            raise RefusedError(408, f"it was not received within {self._limit_s:g} s") from None
        if message["type"] == "http.request":
            self.is_whole = self.is_whole or not message.get("more_body")
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _too_large(self._max_bytes)
        return message


def _too_large(max_bytes: int) -> RefusedError:
    return RefusedError(413, f"this is too large: at most {max_bytes / MB:g} MB are taken")


class _Entry(NamedTuple):
    """The credentials of a request."""

    scheme: str
    value: str
    user: str
    password: str
    cookies: dict[str, str]


def _entry(headers: MutableMapping[str, str]) -> _Entry:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    user = password = ""
    if scheme.lower() == "basic":
        with suppress(binascii.Error, UnicodeDecodeError):
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return _Entry(scheme.lower(), value.strip(), user, password, {name: found for name, _, found in pairs})


def _cookie_name(scope: Scope) -> str:
    return f"timesight_{(scope.get('server') or ('', 0))[1]}"  # cookies are shared by all ports of a host


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


async def _refuse(scope: Scope, receive: Receive, send: Send, error: RefusedError) -> None:
    if scope["type"] == "websocket":  # closed before it is accepted: the client sees status 403
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": str(error)})
        return
    headers = {} if scope["method"] in ("GET", "HEAD") else {"connection": "close"}
    if error.status == 401:
        headers["www-authenticate"] = 'Basic realm="timesight", charset="UTF-8"'
    await JSONResponse(error_body(error), error.status, headers)(scope, receive, send)


def error_body(error: RefusedError) -> dict[str, Any]:
    """Return a refusal in the form of OpenAI's errors."""
    kind = "authentication_error" if error.status == 401 else "invalid_request_error"
    return {"error": {"message": str(error), "type": kind, "param": None, "code": None}}
