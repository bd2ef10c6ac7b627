"""How a site is run."""

from __future__ import annotations

from dataclasses import dataclass

from timesight.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MB = 1 << 20
MAX_QUESTION_CHARS = 2000
MAX_HISTORY_CHARS = 16_000  # of what was said before


class RefusedError(InputError):
    """A request that is not served; ``status`` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[RefusedError], tuple[int, str]]:
        return RefusedError, (self.status, str(self))  # so that it passes from one process to another


@dataclass(frozen=True)
class SiteSettings:
    """Who may come in, and how much one visitor may ask for.

    ``max_active`` replies are written at once and ``max_waiting`` questions wait for their turn. An upload has at
    most ``max_upload_bytes``, ``max_duration_s`` of video, ``max_frame_px`` pixels a frame and ``max_video_px`` in
    all frames, and comes within ``receive_limit_s``; it goes when its visitor leaves, or after ``keep_uploads_s``.
    All of them together have ``max_kept_bytes``. Raises InputError where a site would be open to everybody.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    user: str = "timesight"
    password: str | None = None
    max_upload_bytes: int = 200 * MB
    max_duration_s: float = 3600.0
    max_frame_px: int = 4096 * 2304
    max_video_px: int = 300 * 10**9  # an hour of Full HD has 220
    max_uploads: int = 8  # a visitor
    max_kept_bytes: int = 4096 * MB
    receive_limit_s: float = 600.0
    keep_uploads_s: float = 3600.0
    max_active: int = 2
    max_waiting: int = 16
    read_limit_s: float = 120.0
    read_memory_bytes: int = 4 << 30
    reconnect_s: float = 3.0  # a connection that was lost for longer is a visitor who has left

    def __post_init__(self) -> None:
        if self.password == "":
            raise InputError("the password is empty")
        if self.password is None and not self.is_local:
            raise InputError(
                f"--host {self.host} lets other machines in: set a password (TIMESIGHT_PASSWORD or --password-file)"
            )

    @property
    def max_request_bytes(self) -> int:
        """Of what other programs send, which is kept in memory: a video as base64 in JSON is the largest."""
        return min(50 * MB, self.max_upload_bytes * 4 // 3 + MB)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can come in."""
        return self.host in LOOPBACK
