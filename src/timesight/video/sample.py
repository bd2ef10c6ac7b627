"""Which frames of a video a model gets, and how large: the Qwen-VL rules.

Counts and sizes are those of ``qwen-vl-utils``, which tests compare with. Times are the left ends of
equal steps, ``start + k · (end − start) / n``, so that neighboring frames are exactly one step apart
and the time positions that a model computes from the sampled frame rate are correct.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from timesight.errors import VideoError
from timesight.types import FrameRequest, Video
from timesight.video.probe import VideoInfo

MAX_ASPECT_RATIO = 200
FORGIVEN_FPS = 8  # a requested time may be past the end by one frame of this rate: annotations are rounded


class FrameBudget(BaseModel):
    """How many frames of a video are read, and of what size.

    Pixel counts are areas (width × height). The defaults of ``fps``, ``min_frames``, ``max_frames``, ``min_pixels``
    and ``total_pixels`` are those of the runs of VideoChat-R1's authors.

    Args:
        fps: Sampled frames per second.
        min_frames: Of short videos, which are sampled at a higher rate; fewer if the video has fewer.
        max_frames: Of long videos, which are sampled at a lower rate.
        min_pixels: Of one frame.
        max_pixels: Of one frame.
        total_pixels: Of all frames of the video, two frames counted as one, since the model merges them in pairs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fps: float = Field(default=2.0, gt=0)
    min_frames: int = Field(default=4, ge=2)
    max_frames: int = Field(default=768, ge=2)
    min_pixels: int = Field(default=16 * 28 * 28, ge=1)
    max_pixels: int = Field(default=768 * 28 * 28, ge=1)
    total_pixels: int = Field(default=3584 * 28 * 28, ge=1)

    @model_validator(mode="after")
    def _least_below_most(self) -> FrameBudget:
        if self.min_frames > self.max_frames:
            raise ValueError(f"min_frames {self.min_frames} is above max_frames {self.max_frames}")
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        return self


class SecondLook(BaseModel):
    """How the segments of a second look are read: at a higher resolution and frame rate (paper, algorithm 1).

    Args:
        resolution_boost: Factor on the sides of the largest frame that ``max_pixels`` allows.
        fps_boost: Factor on the frame rate of the whole video's budget.
        total_pixels: Of all segments of a prompt together, two frames counted as one; None is the limit of the
            whole video. Their number of frames has the limit of the whole video too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resolution_boost: float = Field(default=2.0, ge=1)
    fps_boost: float = Field(default=4.0, ge=1)
    total_pixels: int | None = Field(default=None, ge=1)

    def budget(self, whole: FrameBudget, share: float) -> FrameBudget:
        """Compute the budget of one segment.

        Args:
            whole: Budget of the whole video.
            share: Of the segment in the total length of the prompt's segments, in (0, 1].
        """
        total_pixels = self.total_pixels or whole.total_pixels
        return whole.model_copy(
            update={
                "fps": whole.fps * self.fps_boost,
                "max_frames": max(whole.min_frames, math.floor(whole.max_frames * share)),
                "max_pixels": round(whole.max_pixels * self.resolution_boost**2),
                "total_pixels": max(1, round(total_pixels * share)),
            }
        )


def window(info: VideoInfo, video: Video) -> tuple[float, float]:
    """Compute the window ``[start_s, end_s)`` of ``video`` in seconds, cut to the end of its file.

    Raises:
        VideoError: If it begins after the end.
    """
    start_s = video.start_s or 0.0
    end_s = min(video.end_s if video.end_s is not None else math.inf, info.duration_s)
    if start_s >= end_s:
        raise VideoError(video.path, f"lasts {info.duration_s:.2f} s, so nothing is left from {start_s:.2f} s on")
    return start_s, end_s


def choose_times(
    info: VideoInfo, video: Video, budget: FrameBudget, request: FrameRequest | None = None
) -> NDArray[np.float64]:
    """Choose the times at which a video is sampled.

    Args:
        info: Of the file.
        video: With the window.
        budget: Decides the number of frames without ``request`` (``count_frames``).
        request: Times, or a number of frames, that the task requires.

    Returns:
        (T,), seconds from the start of the file: the requested times, or equal steps from the start of the window.

    Raises:
        VideoError: If the window begins after the end, or a requested time is more than 1/8 s past it.
    """
    start_s, end_s = window(info, video)
    if request is not None and request.times_s is not None:
        if max(request.times_s) > info.duration_s + 1 / FORGIVEN_FPS:
            raise VideoError(
                video.path, f"lasts {info.duration_s:.2f} s, so no frame is at {max(request.times_s):.2f} s"
            )
        return np.array(request.times_s, dtype=np.float64)
    available = max(1, int(np.count_nonzero((info.times_s >= start_s) & (info.times_s < end_s))))
    count = request.num_frames if request is not None else count_frames(end_s - start_s, available, budget)
    return start_s + np.arange(count) * (end_s - start_s) / count


def count_frames(duration_s: float, num_available: int, budget: FrameBudget) -> int:
    """Compute how many frames to sample, as ``qwen-vl-utils`` does.

    Args:
        duration_s: Of the window.
        num_available: Number of frames in the window.
        budget: Frame rate, and least and largest number.

    Returns:
        An even number, since the model merges frames in pairs. A single frame gives 2: the same image twice.
    """
    least = math.ceil(budget.min_frames / 2) * 2
    most = math.floor(min(budget.max_frames, max(num_available, 2)) / 2) * 2
    wanted = min(max(duration_s * budget.fps, least), most)
    return max(2, math.floor(wanted / 2) * 2)


def fit_size(
    width_px: int, height_px: int, num_frames: int, budget: FrameBudget, factor: int = 28
) -> tuple[int, int]:
    """Compute the size at which frames are read: within the budget, with about the same aspect ratio.

    Args:
        width_px: Of the video as shown.
        height_px: Of the video as shown.
        num_frames: Number of frames that are read, which share ``total_pixels``.
        budget: Limits of the area.
        factor: The model's patch size times its merge size: 28 for Qwen2.5-VL, 32 for Qwen3-VL.

    Returns:
        Width and height in pixels, multiples of ``factor``.

    Raises:
        ValueError: If one side is more than 200 times as long as the other.
    """
    if max(width_px, height_px) > MAX_ASPECT_RATIO * min(width_px, height_px):
        raise ValueError(f"a frame of {width_px} × {height_px} px is too narrow for the model")
    share = budget.total_pixels / num_frames * 2
    most = max(min(budget.max_pixels, share), int(budget.min_pixels * 1.05))
    width = max(factor, round(width_px / factor) * factor)
    height = max(factor, round(height_px / factor) * factor)
    if width * height > most:
        shrink = math.sqrt(width_px * height_px / most)
        width = max(factor, math.floor(width_px / shrink / factor) * factor)
        height = max(factor, math.floor(height_px / shrink / factor) * factor)
    elif width * height < budget.min_pixels:
        grow = math.sqrt(budget.min_pixels / (width_px * height_px))
        width = math.ceil(width_px * grow / factor) * factor
        height = math.ceil(height_px * grow / factor) * factor
    return width, height
