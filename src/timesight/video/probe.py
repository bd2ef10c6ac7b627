"""Size and timing of a video: when each of its frames is shown, from packets, without decoding them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from timesight.errors import VideoError, reason_of
from timesight.types import Video

FRAME_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
LARGE_PX = 960 * 540  # below this area a frame, decoding in several threads costs more than it saves


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """A video's size and timing.

    Args:
        path: The file or folder.
        width_px: As shown, with rotation applied.
        height_px: As shown, with rotation applied.
        duration_s: Of the whole file.
        times_s: (N,), presentation time of every frame, ascending, the first at 0. Frame ``i`` is on screen during
            ``[times_s[i], times_s[i + 1])``, the last one until ``duration_s``.
        stamps: (N,), of a file: the same times in ticks of its stream, as in packets and frames. None for a folder.
        frame_paths: Of a folder: its images in order. Empty for a file.
    """

    path: Path
    width_px: int
    height_px: int
    duration_s: float
    times_s: NDArray[np.float64]
    stamps: NDArray[np.int64] | None = None
    frame_paths: tuple[Path, ...] = ()

    @property
    def num_frames(self) -> int:
        """Number of frames in the whole file."""
        return len(self.times_s)

    @property
    def fps(self) -> float:
        """Mean frames per second."""
        return self.num_frames / self.duration_s


def probe(video: Video) -> VideoInfo:
    """Read size and timing of a video, of the whole file without regard to the window.

    Times are those of the packets; only the first frame is decoded, for its rotation.

    Args:
        video: A file, or a folder of images with ``fps``.

    Raises:
        VideoError: If it cannot be read, has no video frames, or is a folder without ``fps``.
    """
    path = video.path
    if is_folder(path):
        return _probe_folder(path, video.fps)
    require_file(path)
    with open_container(path) as container:
        return probe_container(container, path)


def require_file(path: Path) -> None:
    """Raise VideoError unless ``path`` is a regular file (a pipe would block forever) that may be accessed."""
    try:
        if not path.exists():
            raise VideoError(path, "no such file")
        if not path.is_file():
            raise VideoError(path, "is not a regular file")
    except OSError as error:  # no permission for a folder above it
        raise VideoError(path, f"cannot be read ({reason_of(error)})") from None


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder, and so one of frames.

    Raises:
        VideoError: If it may not be accessed.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise VideoError(path, f"cannot be read ({reason_of(error)})") from None


class open_container:  # noqa: N801 - reads as a verb where it is used
    """``av.open`` for reading, in a ``with`` statement, with VideoError in place of errors of FFmpeg."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> av.container.InputContainer:
        try:
            # titles and comments, which are not used, may be in any encoding
            self._container = av.open(str(self._path), metadata_errors="replace")
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(self._path, f"cannot be opened as a video ({reason_of(error)})") from None
        return self._container

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._container.close()
        if isinstance(error, av.error.FFmpegError):
            raise VideoError(self._path, f"cannot be decoded ({reason_of(error)})") from None


def probe_container(container: av.container.InputContainer, path: Path) -> VideoInfo:
    """Read size and timing of an open container from its packets.

    Args:
        container: Its packets are read to the end: seek before decoding.
        path: Of the file, for the result and for errors.

    Raises:
        VideoError: If there is no video stream or frame, or the codec is not supported.
    """
    stream = video_stream(container, path)
    base = stream.time_base or Fraction(1, 1)
    stamps: list[int] = []
    lengths: list[int] = []
    for packet in container.demux(stream):
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and packet.size and not packet.is_discard:
            stamps.append(stamp)
            lengths.append(packet.duration or 0)
    if not stamps:
        raise VideoError(path, "holds no video frames")
    order = np.argsort(stamps, kind="stable")
    ticks = np.array(stamps, dtype=np.int64)[order]
    times_s = (ticks - ticks[0]).astype(np.float64) * float(base)
    last_s = lengths[order[-1]] * float(base)
    if last_s <= 0.0:  # some containers have no duration of the last frame
        last_s = float(np.diff(times_s).mean()) if len(times_s) > 1 else 1 / float(stream.average_rate or 1)
    width, height = shown_size(container, stream, path)
    return VideoInfo(path, width, height, float(times_s[-1]) + last_s, times_s, ticks)


def video_stream(container: av.container.InputContainer, path: Path) -> VideoStream:
    """Select the first video stream that is not a cover image, and set the number of its decoding threads.

    Raises:
        VideoError: If there is none, or its codec is not supported.
    """
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            if stream.codec_context is None:
                raise VideoError(path, "is in a codec that cannot be decoded here: convert it to H.264")
            if not stream.codec_context.is_open:
                stream.thread_type = "AUTO"
                large = stream.codec_context.width * stream.codec_context.height >= LARGE_PX
                stream.codec_context.thread_count = 0 if large else 1  # 0: as many as there are cores
            return stream
    raise VideoError(path, "has no video stream")


def shown_size(container: av.container.InputContainer, stream: VideoStream, path: Path) -> tuple[int, int]:
    """Read width and height as shown, in pixels; the first frame is decoded, as rotation is a property of frames.

    Raises:
        VideoError: If no frame decodes.
    """
    container.seek(0, stream=stream)
    for frame in container.decode(stream):
        turned = frame.rotation % 180 != 0
        return (frame.height, frame.width) if turned else (frame.width, frame.height)
    raise VideoError(path, "holds no frame that decodes")


def _probe_folder(path: Path, fps: float | None) -> VideoInfo:
    if fps is None:
        raise VideoError(path, 'is a folder of frames: say its "fps" in the sample')
    try:
        frames = sorted((p for p in path.iterdir() if p.suffix.lower() in FRAME_SUFFIXES), key=_natural)
    except OSError as error:
        raise VideoError(path, f"cannot be read ({reason_of(error)})") from None
    if not frames:
        raise VideoError(path, f"holds no frames ({', '.join(sorted(FRAME_SUFFIXES))})")
    with open_image(frames[0]) as image:
        width, height = image.size
    times_s = np.arange(len(frames), dtype=np.float64) / fps
    return VideoInfo(path, width, height, len(frames) / fps, times_s, frame_paths=tuple(frames))


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """``Image.open``, in a ``with`` statement, with VideoError in place of Pillow's errors."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow's readers raise
        raise VideoError(path, f"is not an image that can be read ({error})") from None


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key that puts ``frame_2`` before ``frame_10``."""
    pieces = re.split(r"(\d+)", path.name)
    return [(not piece.isdigit(), int(piece) if piece.isdigit() else 0, piece) for piece in pieces if piece]
