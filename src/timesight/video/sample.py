"""Which frames of a video a model gets to see, and how large: the Qwen-VL rules.

The counts and sizes are those of ``qwen-vl-utils``, which tests compare with; the times are the left
ends of equal steps, ``start + k · (end − start) / n``, so that neighboring frames are exactly one step
apart and the time positions a model computes from the sampled rate are true.
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
FORGIVEN_FPS = 8  # a requested time may pass the end by one frame of this rate: annotations are rounded


class FrameBudget(BaseModel):
    """How many frames of a video are read, and of what size.

    Pixel counts are areas (width × height) of one frame; ``total_pixels`` bounds a whole video, two
    frames counted as one because the model merges them in pairs. The defaults are the paper's: 2 fps,
    4 to 768 frames, at most 3584 · 28 · 28 pixels over the video and at least 16 · 28 · 28.
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
    """How segments are read that are looked at again: at a higher resolution and frame rate than a whole video.

    ``resolution_boost`` multiplies the sides of a frame, ``fps_boost`` the frame rate of the whole video's budget;
    all segments of a prompt together keep to ``total_pixels`` (two frames counted as one; the whole video's own
    limit if None) and to its number of frames.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resolution_boost: float = Field(default=2.0, ge=1)
    fps_boost: float = Field(default=4.0, ge=1)
    total_pixels: int | None = Field(default=None, ge=1)

    def budget(self, whole: FrameBudget, share: float) -> FrameBudget:
        """The budget of a segment that is ``share`` of all that is looked at again."""
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
    """The window ``[start_s, end_s)`` of ``video`` inside its file. Raises VideoError where it is empty."""
    start_s = video.start_s or 0.0
    end_s = min(video.end_s if video.end_s is not None else math.inf, info.duration_s)
    if start_s >= end_s:
        raise VideoError(video.path, f"lasts {info.duration_s:.2f} s, so nothing is left from {start_s:.2f} s on")
    return start_s, end_s


def choose_times(
    info: VideoInfo, video: Video, budget: FrameBudget, request: FrameRequest | None = None
) -> NDArray[np.float64]:
    """Times (T,) in seconds at which ``video`` is looked at.

    Those of ``request``, or even steps from the window's start, as many as ``budget`` says. Raises VideoError
    where a requested time lies past the end.
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
    """Number of frames for ``duration_s`` seconds of video: an even number within the budget.

    A window of a single frame gives 2: the same picture twice, since the model merges frames in pairs.
    """
    least = math.ceil(budget.min_frames / 2) * 2
    most = math.floor(min(budget.max_frames, max(num_available, 2)) / 2) * 2
    wanted = min(max(duration_s * budget.fps, least), most)
    return max(2, math.floor(wanted / 2) * 2)


def fit_size(
    width_px: int, height_px: int, num_frames: int, budget: FrameBudget, factor: int = 28
) -> tuple[int, int]:
    """Width and height near ``width_px`` × ``height_px``, multiples of ``factor``, within the budget.

    ``factor`` is the model's patch size times its merge size (28 for Qwen2.5-VL, 32 for Qwen3-VL).
    Raises ValueError for frames more than 200 times longer than wide.
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
