"""The site: one server for the page, its videos, and OpenAI clients."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import unquote

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from nicegui import Client, ui

from timesight.chat.session import ChatSettings
from timesight.chat.web.completions import Completions, refused
from timesight.chat.web.guard import UPLOAD_PATH, Guard
from timesight.chat.web.page import HardItem, Page
from timesight.chat.web.readers import Readers
from timesight.chat.web.scheduler import InterleavedGenerator, RequestScheduler
from timesight.chat.web.settings import RefusedError, SiteSettings
from timesight.chat.web.videos import VideoStore
from timesight.errors import InputError, reason_of
from timesight.generate.base import Generator

BACKLOG = 128  # connections
MEDIA_HEADERS = {"cache-control": "private, no-store", "content-security-policy": "default-src 'none'; sandbox"}


@dataclass(frozen=True, eq=False)
class Site:
    """What a server consists of. A process has only one, because NiceGUI keeps its app in a module.

    Args:
        settings: Access and limits.
        store: The videos.
        readers: The processes that read them.
        scheduler: The queue of questions.
        app: The ASGI application, with access control.
    """

    settings: SiteSettings
    store: VideoStore
    readers: Readers
    scheduler: RequestScheduler
    app: Guard

    def close(self) -> None:
        """End all replies and processes, and remove uploads."""
        self.scheduler.close()
        self.readers.close()
        self.store.close()


def make_site(
    settings: SiteSettings, models: Mapping[str, Generator], chat: ChatSettings, hard: Sequence[HardItem] = ()
) -> Site:
    """Assemble a site. Examples are added to its ``store`` afterwards.

    Args:
        settings: Access and limits.
        models: Generators by name; each is shared by all visitors.
        chat: How questions are answered.
        hard: Items of an evaluation for the gallery; it may be filled after the call.
    """
    readers = Readers(settings)
    store = VideoStore(settings, readers)
    scheduler = RequestScheduler(settings.max_active, settings.max_waiting)
    shared = {name: InterleavedGenerator(model) for name, model in models.items()}

    @asynccontextmanager
    async def sweeping(_: FastAPI) -> AsyncIterator[None]:
        sweep = asyncio.create_task(store.sweep())
        yield
        sweep.cancel()

    api = FastAPI(lifespan=sweeping, docs_url=None, redoc_url=None, openapi_url=None)
    api.add_exception_handler(RefusedError, refused)
    api.include_router(Completions(shared, store, scheduler, chat).router())
    _add_video_routes(api, store)
    Page(shared, store, scheduler, chat, settings.max_upload_bytes, hard).add()
    ui.run_with(
        api,
        title="timesight",
        reconnect_timeout=settings.reconnect_s,
        show_welcome_message=False,
        binding_refresh_interval=None,
    )
    return Site(settings, store, readers, scheduler, Guard(api, settings))


def _add_video_routes(api: FastAPI, store: VideoStore) -> None:
    @api.put(UPLOAD_PATH)
    async def upload(request: Request) -> dict[str, str]:
        visitor = request.headers.get("x-visitor", "")
        if visitor not in Client.instances:
            raise RefusedError(403, "open the page first")
        name = unquote(request.headers.get("x-name", ""))
        token = await store.receive(request.stream(), name, visitor)
        if visitor not in Client.instances:  # left in the meantime
            store.forget(visitor)
            raise RefusedError(403, "the page was closed")
        return {"token": token}

    @api.get("/media/{token}")
    def media(token: str) -> FileResponse:
        stored = store.get(token)
        if stored is None or not stored.video.path.is_file():
            raise RefusedError(404, "no such video")
        return FileResponse(stored.video.path, media_type="video/mp4", headers=MEDIA_HEADERS)


def bind(host: str, port: int) -> socket.socket:
    """Open a socket to listen on.

    Args:
        host: Name or address; IPv6 if it contains a colon.
        port: 0: any free one.

    Raises:
        InputError: If the address or port cannot be used.
    """
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(BACKLOG)  # connections wait until the server is ready
    except (OSError, OverflowError) as error:
        found.close()
        raise InputError(f"cannot listen on {host}, port {port}: {reason_of(error)}; try another --port") from None
    return found


class Server(uvicorn.Server):
    """A uvicorn server that ends replies before it waits for open connections to close."""

    def __init__(self, site: Site) -> None:
        super().__init__(
            uvicorn.Config(site.app, log_level="warning", proxy_headers=False, timeout_graceful_shutdown=2)
        )
        self._site = site

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As in the base, after all replies were ended."""
        self._site.scheduler.close()
        await super().shutdown(sockets)


def serve(site: Site, listening: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM, then close the site.

    Args:
        site: What is served.
        listening: From ``bind``.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn passes signals on when it has ended
    try:
        with suppress(KeyboardInterrupt):
            Server(site).run(sockets=[listening])
    finally:
        site.close()
