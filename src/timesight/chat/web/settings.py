"""Settings of a site: access and limits."""

from __future__ import annotations

from dataclasses import dataclass

from timesight.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MB = 1 << 20
MAX_QUESTION_CHARS = 2000
MAX_HISTORY_CHARS = 16_000  # of the messages before the question


class RefusedError(InputError):
    """A request that is refused.

    Args:
        status: HTTP status.
        message: For the visitor or client.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[RefusedError], tuple[int, str]]:
        return RefusedError, (self.status, str(self))  # so that it passes from one process to another


@dataclass(frozen=True)
class SiteSettings:
    """Access to a site, and its limits.

    Args:
        host: Address to listen on. One that other machines can reach needs a password.
        port: 0: any free one.
        user: Name for the log-in of browsers.
        password: None: no log-in, for local sites only.
        max_upload_bytes: Limit of one upload.
        max_duration_s: Longest video that can be uploaded.
        max_frame_px: Most pixels (width × height) of its frames.
        max_video_px: Most pixels in all its frames together.
        max_uploads: Most uploads of one visitor.
        max_kept_bytes: Limit of all uploads together.
        receive_limit_s: Time in which an upload must be received.
        keep_uploads_s: Time after which an upload is removed; it is removed earlier when its visitor leaves.
        max_active: Most replies that are generated at the same time.
        max_waiting: Most questions that wait for their turn.
        read_limit_s: Time in which a large video must be read; small ones have ``readers.QUICK_LIMIT_S``.
        read_memory_bytes: Memory of each process that reads videos.
        reconnect_s: Time after which a visitor whose connection was lost counts as having left.

    Raises:
        InputError: If the password is empty, or a site without one could be reached from other machines.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    user: str = "timesight"
    password: str | None = None
    max_upload_bytes: int = 200 * MB
    max_duration_s: float = 3600.0
    max_frame_px: int = 4096 * 2304
    max_video_px: int = 300 * 10**9  # an hour of Full HD has 220 · 10⁹
    max_uploads: int = 8
    max_kept_bytes: int = 4096 * MB
    receive_limit_s: float = 600.0
    keep_uploads_s: float = 3600.0
    max_active: int = 2
    max_waiting: int = 16
    read_limit_s: float = 120.0
    read_memory_bytes: int = 4 << 30
    reconnect_s: float = 3.0

    def __post_init__(self) -> None:
        if self.password == "":
            raise InputError("the password is empty")
        if self.password is None and not self.is_local:
            raise InputError(
                f"--host {self.host} lets other machines in: set a password (TIMESIGHT_PASSWORD or --password-file)"
            )

    @property
    def max_request_bytes(self) -> int:
        """Limit of requests other than uploads, which are held in memory; the largest hold a video as base64."""
        return min(50 * MB, self.max_upload_bytes * 4 // 3 + MB)

    @property
    def is_local(self) -> bool:
        """Whether the site can be reached from this machine only."""
        return self.host in LOOPBACK
