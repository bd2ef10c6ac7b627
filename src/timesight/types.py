"""The values that packages hand to each other.

Value types check themselves when made, so code that receives one need not. Units are in the names:
``_s`` seconds, ``_px`` pixels, ``_fps`` frames per second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator


@dataclass(frozen=True, order=True)
class Span:
    """A stretch of time ``[start_s, end_s]`` in seconds; may have zero length, is never reversed."""

    start_s: float
    end_s: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_s) and math.isfinite(self.end_s)):
            raise ValueError(f"a span needs finite seconds, got {self.start_s} to {self.end_s}")
        if self.start_s > self.end_s:
            raise ValueError(f"a span cannot end before it starts: {self.start_s} to {self.end_s}")

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Box:
    """A box ``x0, y0, x1, y1`` as fractions of the frame (0–1, origin top left), never reversed."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in (self.x0, self.y0, self.x1, self.y1)):
            raise ValueError("a box needs finite coordinates")
        if self.x0 > self.x1 or self.y0 > self.y1:
            raise ValueError("a box needs x0 <= x1 and y0 <= y1")


class Video(BaseModel):
    """Where a sample's frames come from: a file, or a folder of frames with a stated ``fps``.

    ``start_s`` and ``end_s`` cut the window ``[start_s, end_s)`` out of the file; all times given to
    and by the model count from the start of the *file*. A plain string is a path.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    start_s: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    end_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    fps: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, (str, Path)) else value

    @model_validator(mode="after")
    def _window_is_forward(self) -> Video:
        if self.start_s is not None and self.end_s is not None and self.start_s >= self.end_s:
            raise ValueError(f"the window ends ({self.end_s} s) before it starts ({self.start_s} s)")
        return self

    @model_serializer
    def _to_shortest(self) -> str | dict[str, Any]:
        rest = {name: value for name in ("start_s", "end_s", "fps") if (value := getattr(self, name)) is not None}
        return {"path": str(self.path), **rest} if rest else str(self.path)


class Sample(BaseModel):
    """What every sample has; each task adds its own fields. One sample is one line of JSONL.

    ``segments`` (``[start_s, end_s)``, from the start of the file) are shown instead of the whole video, each after
    its times and closer, as in the second look of Clue-Perception. ``problems`` names what is wrong with the
    record's truth: such a sample is kept and counted, never trained on, and its reward components are None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    task: str
    video: Video
    segments: tuple[tuple[float, float], ...] = ()
    meta: dict[str, Any] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @field_validator("segments")
    @classmethod
    def _segments_are_forward(cls, segments: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        for start_s, end_s in segments:
            if not 0 <= start_s < end_s < math.inf:
                raise ValueError(f"segment {start_s} to {end_s} s is no stretch of a video")
        return segments


@dataclass(frozen=True)
class TextPart:
    """A piece of text in a prompt."""

    text: str


@dataclass(frozen=True)
class VideoPart:
    """A video in a prompt."""

    video: Video


PromptPart = TextPart | VideoPart


def segment_parts(video: Video, segments: Sequence[Span]) -> list[PromptPart]:
    """``segments`` of ``video``, each after the seconds that it shows."""
    parts: list[PromptPart] = []
    for segment in segments:
        cut = video.model_copy(update={"start_s": segment.start_s, "end_s": segment.end_s})
        parts += [TextPart(f"Seconds {segment.start_s:.1f} to {segment.end_s:.1f} of the video: "), VideoPart(cut)]
    return parts


@dataclass(frozen=True)
class FrameRequest:
    """What a task itself demands of the video: exactly ``num_frames`` frames, evenly spaced.

    Or those on screen at ``times_s``, counted from the file's start, where the truth is known at these times only.
    """

    num_frames: int
    times_s: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Pass:
    """One look at a video: what was shown and what came back.

    ``segments`` are the stretches of the file that were shown, ``size_px`` (width, height) the frames' size;
    ``spans`` the evidence that the reply names.
    """

    text: str
    num_frames: int
    prompt_tokens: int
    seconds: float
    new_tokens: int = 0
    segments: tuple[Span, ...] = ()
    size_px: tuple[int, int] = (0, 0)
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Reply:
    """A model's reply with its evidence. ``answer`` is None when ``text`` does not parse.

    ``times_s`` are those of the ``boxes``; ``passes`` are the looks that were taken, and ``note`` says why no more
    were.
    """

    text: str
    answer: Any = None
    spans: tuple[Span, ...] = ()
    boxes: tuple[Box, ...] = ()
    times_s: tuple[float, ...] = ()
    passes: tuple[Pass, ...] = field(default=())
    note: str = ""
    truncated: bool = False  # ran into the limit of new tokens


@dataclass(frozen=True)
class Question:
    """What a user wants to know about a video.

    Args:
        text: The question, or what is to be found.
        task: The form of question; None asks in words. ``timesight.tasks.TASKS.question_forms`` lists them.
        options: To choose from, for forms that need them.
        box: Where the object ``text`` is at ``start_s``, for forms that follow one.
        start_s: From when to follow it, in seconds.
        end_s: Until when.
        num_boxes: At so many times.
    """

    text: str
    task: str | None = None
    options: tuple[str, ...] = ()
    box: Box | None = None
    start_s: float = 0.0
    end_s: float | None = None
    num_boxes: int = 8


@dataclass(frozen=True)
class Evidence:
    """What an answer rests on: spans of the video, or boxes."""

    spans: tuple[Span, ...] = ()
    boxes: tuple[Box, ...] = ()


class Judge(Protocol):
    """Reads captions. None stands for what could not be judged: a judge that is down, fooled or makes no sense."""

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        """What happens in each caption, one short sentence an event."""

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[tuple[bool, ...] | None]:
        """For each caption and its list of events: which of them the caption says, in their order."""


Rewards = Mapping[str, float | None]
