"""Decoding of exactly the frames that are needed, at the size that is needed.

A request for time ``t`` gets the frame on screen at ``t``, with its real presentation time. Decoding
seeks to the keyframe before, skips over gaps by seeking again, and stops at the last frame needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from timesight.errors import VideoError
from timesight.types import FrameRequest, Video
from timesight.video.probe import (
    VideoInfo,
    is_folder,
    open_container,
    open_image,
    probe,
    probe_container,
    require_file,
    video_stream,
)
from timesight.video.sample import FrameBudget, choose_times, fit_size, window

SEEK_GAP_S = 3.0  # if the next wanted frame is nearer, decoding up to it is cheaper than seeking
DECODED_AHEAD = 4  # frames that wait for resizing, at full size in memory


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of one video.

    Args:
        pixels: (T, H, W, 3), uint8 RGB.
        times_s: (T,), real presentation times in seconds from the start of the file.
        window_s: The part ``[start, end)`` of the file that they were sampled from.
        duration_s: Of the whole file.

    Raises:
        ValueError: If shapes or the type of ``pixels`` are not as above.
    """

    pixels: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    window_s: tuple[float, float]
    duration_s: float

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.shape[-1] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 (T, H, W, 3), got {self.pixels.dtype} {self.pixels.shape}")
        if self.times_s.shape != self.pixels.shape[:1]:
            raise ValueError(f"{self.pixels.shape[0]} frames but {self.times_s.shape} times")

    @property
    def sampled_fps(self) -> float:
        """Frames per second of the window."""
        return len(self.times_s) / (self.window_s[1] - self.window_s[0])


def read(
    video: Video, budget: FrameBudget | None = None, request: FrameRequest | None = None, factor: int = 28
) -> Frames:
    """Read frames of a video.

    Args:
        video: A file or folder of images; the window is applied.
        budget: Number and size of frames; None is ``FrameBudget()``.
        request: Frames that the task requires (``choose_times``); None leaves their number to ``budget``.
        factor: Sides are multiples of this many pixels (``fit_size``).

    Raises:
        VideoError: If the video cannot be read or decoded, has no frame at a requested time or in the window, or
            has frames that are too narrow.
    """
    budget = budget or FrameBudget()
    if is_folder(video.path):
        info = probe(video)
        wanted, size = _plan(info, video, budget, request, factor)
        pixels = _read_images(info.frame_paths, wanted, size)
        return Frames(pixels, info.times_s[wanted], window(info, video), info.duration_s)
    require_file(video.path)
    with open_container(video.path) as container:
        info = probe_container(container, video.path)
        wanted, size = _plan(info, video, budget, request, factor)
        pixels = _decode(container, info, wanted, size)
        return Frames(pixels, info.times_s[wanted], window(info, video), info.duration_s)


def _plan(
    info: VideoInfo, video: Video, budget: FrameBudget, request: FrameRequest | None, factor: int
) -> tuple[NDArray[np.intp], tuple[int, int]]:
    """Indices (T,) of the frames on screen at the chosen times, and the size to read them at."""
    times_s = choose_times(info, video, budget, request)
    # Half a microsecond allows for rounding: a request for 0.3 s, a frame at 0.30000000000000004 s.
    wanted = np.searchsorted(info.times_s, times_s + 5e-7, side="right") - 1
    try:
        return wanted.clip(0), fit_size(info.width_px, info.height_px, len(wanted), budget, factor)
    except ValueError as error:
        raise VideoError(video.path, str(error)) from None


def _decode(
    container: av.container.InputContainer, info: VideoInfo, wanted: NDArray[np.intp], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Frames ``wanted`` (T,) of the file, (T, H, W, 3)."""
    indices = sorted(set(wanted.tolist()))
    decoding = _Decoding(container, info, indices)
    pictures: dict[int, NDArray[np.uint8]] = {}
    under_way: deque[tuple[int, Future[NDArray[np.uint8]]]] = deque()
    # Resizing a frame takes almost as long as decoding one, so a second thread does it at the same time.
    with ThreadPoolExecutor(max_workers=1) as sizer:
        for index in indices:
            if (frame := decoding.frame(index)) is None:
                at_s = float(info.times_s[index])
                raise VideoError(info.path, f"does not decode at {at_s:.2f} s: the file is damaged or cut short")
            under_way.append((index, sizer.submit(_picture, frame, size)))
            if len(under_way) > DECODED_AHEAD:
                oldest, picture = under_way.popleft()
                pictures[oldest] = picture.result()
    pictures |= {index: picture.result() for index, picture in under_way}
    return np.stack([pictures[index] for index in wanted.tolist()])


class _Decoding:
    """Decodes frames of a file in ascending order, each found by its stamp; gaps are skipped by seeking."""

    def __init__(self, container: av.container.InputContainer, info: VideoInfo, wanted: Sequence[int]) -> None:
        assert info.stamps is not None  # a file has them
        self._container = container
        self._stream = video_stream(container, info.path)
        self._stamps = {index: int(info.stamps[index]) for index in wanted}
        self._gap = SEEK_GAP_S / float(self._stream.time_base or 1)
        self._reached = int(info.stamps[0])
        self._may_seek = True
        self._go_to(0)

    def frame(self, index: int) -> av.VideoFrame | None:
        """Decode one frame.

        Args:
            index: One of ``wanted``, larger than in the call before.

        Returns:
            The frame; None if it does not decode.
        """
        stamp = self._stamps[index]
        if self._may_seek and stamp - self._reached > self._gap:
            self._go_to(stamp)
            if (frame := self._forward(stamp)) is not None:
                return frame
            # In some containers (MPEG-TS, MPEG-PS) a seek lands too late: this one is decoded from its start.
            self._may_seek = False
            self._go_to(0)
        return self._forward(stamp)

    def _go_to(self, stamp: int) -> None:
        self._container.seek(stamp, stream=self._stream)
        self._frames = _frames_with(self._container, self._stream, set(self._stamps.values()))

    def _forward(self, wanted: int) -> av.VideoFrame | None:
        for frame in self._frames:
            stamp = frame.pts if frame.pts is not None else frame.dts
            if stamp is None:
                continue
            self._reached = stamp
            if stamp >= wanted:
                return frame if stamp == wanted else None
        return None


def _frames_with(
    container: av.container.InputContainer, stream: VideoStream, stamps: set[int]
) -> Iterator[av.VideoFrame]:
    """Decode from here on: all frames with one of ``stamps``, and those that others refer to.

    The decoder skips a frame that is neither; the others are not affected.
    """
    for packet in container.demux(stream):
        stamp = packet.pts if packet.pts is not None else packet.dts
        stream.codec_context.skip_frame = "DEFAULT" if stamp is None or stamp in stamps else "NONREF"
        yield from packet.decode()


def _picture(frame: av.VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """``frame`` as RGB, rotated upright and resized to (width, height)."""
    # Not resized by FFmpeg's scaler: it darkens by 1%, and the models were trained with this resampling.
    upright = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90) % 4)
    return _sized(Image.fromarray(upright), size)


def _sized(image: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _read_images(paths: Sequence[Path], wanted: NDArray[np.intp], size: tuple[int, int]) -> NDArray[np.uint8]:
    def picture(path: Path) -> NDArray[np.uint8]:
        with open_image(path) as image:
            return _sized(image.convert("RGB"), size)

    return np.stack([picture(paths[index]) for index in wanted.tolist()])
