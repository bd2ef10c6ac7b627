"""Types that several packages share.

Values are checked when they are made, so code that receives one need not. Units are in the names:
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
    """A stretch of time ``[start_s, end_s]`` in seconds; may have zero length.

    Raises:
        ValueError: If an end is not finite, or the span ends before it starts.
    """

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

    def overlaps(self, other: Span) -> bool:
        """Whether the two have more than an end in common."""
        return self.start_s < other.end_s and other.start_s < self.end_s


@dataclass(frozen=True)
class Box:
    """A box ``x0, y0, x1, y1`` as fractions of the frame (0–1, origin top left).

    Raises:
        ValueError: If an edge is not finite, or the box is reversed (``x0 > x1`` or ``y0 > y1``).
    """

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
    """Where a sample's frames come from: a file or a folder of frames. In JSON a plain string is a path.

    All times given to and by the model count from the start of the *file*, also with a window.

    Args:
        path: File, or folder of images in order.
        start_s: Start of the window ``[start_s, end_s)`` that is shown; None is the start of the file.
        end_s: End of the window; None is the end of the file.
        fps: Frames per second of a folder of images, which needs one; None for a file.
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
    """The fields of every sample; each task adds its own. One sample is one line of JSONL.

    Args:
        id: Unique in a data set.
        task: Name of the task, as in ``timesight.tasks.TASKS``.
        video: A path, or a ``Video`` with a window.
        segments: ``[start_s, end_s)`` in seconds from the start of the file, shown instead of the whole video: each
            after its times, at the resolution and frame rate of a second look (Clue-Perception; algorithm 1).
        meta: Anything else, such as ``duration_s`` of the whole file or the keys of a benchmark's breakdowns.
        problems: What is wrong with the ground truth. Such a sample is kept and counted, but never trained on, and
            its reward components are None.
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
                raise ValueError(f"segment {start_s} to {end_s} s is not a valid interval")
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
    """Make prompt parts of ``segments`` of ``video``, each video part after a text with its times in seconds."""
    parts: list[PromptPart] = []
    for segment in segments:
        cut = video.model_copy(update={"start_s": segment.start_s, "end_s": segment.end_s})
        parts += [TextPart(f"Seconds {segment.start_s:.1f} to {segment.end_s:.1f} of the video: "), VideoPart(cut)]
    return parts


@dataclass(frozen=True)
class FrameRequest:
    """The frames that a task requires, instead of those that a frame budget gives.

    Args:
        num_frames: Exact number of frames, evenly spaced over the window without ``times_s``.
        times_s: Times of the frames, in seconds from the start of the file, for tasks whose truth is known at these
            times only.
    """

    num_frames: int
    times_s: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Pass:
    """One pass over a video: what was shown and what the model replied.

    Args:
        text: The reply.
        num_frames: Shown in total.
        prompt_tokens: 0 if the generator does not report them.
        seconds: Time that the pass took.
        new_tokens: 0 if the generator does not report them.
        segments: The parts of the file that were shown.
        size_px: Width and height of the largest frames.
        spans: The evidence that the reply names.
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
    """A model's reply with its evidence.

    Args:
        text: The whole reply.
        answer: As the task parses it; None if ``text`` does not parse.
        spans: Evidence, in seconds from the start of the file.
        boxes: Evidence, one at each of ``times_s``.
        times_s: Of the ``boxes``, in seconds from the start of the file.
        passes: The passes over the video, with Clue-Perception.
        note: Why there were no further passes.
        truncated: Whether the reply reached the limit of new tokens.
    """

    text: str
    answer: Any = None
    spans: tuple[Span, ...] = ()
    boxes: tuple[Box, ...] = ()
    times_s: tuple[float, ...] = ()
    passes: tuple[Pass, ...] = field(default=())
    note: str = ""
    truncated: bool = False


@dataclass(frozen=True)
class Question:
    """A user's question about a video.

    Args:
        text: The question, or a description of what to find.
        task: Name of the task; None for a question that is answered in words.
            ``timesight.tasks.TASKS.question_forms`` lists the tasks for which users can ask questions.
        options: To choose from, for tasks that need them.
        box: Of the object ``text`` at ``start_s``, for tasks that track one.
        start_s: Start of the track, in seconds.
        end_s: End of the track, which tasks that track need.
        num_boxes: Of the track, evenly spaced in time.
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
    """Judges captions, for event recall (paper, equation 6).

    None stands for what could not be judged: the judge is down, accepts a decoy event, or gives a malformed reply.
    """

    def events(self, captions: Sequence[str]) -> list[tuple[str, ...] | None]:
        """Extract the events of each caption, one short sentence per event.

        Returns:
            One tuple of events per caption, or None.
        """

    def entailed(self, captions: Sequence[str], events: Sequence[Sequence[str]]) -> list[tuple[bool, ...] | None]:
        """Judge which events each caption entails.

        Args:
            captions: One per sample.
            events: Per caption, the events that it may entail.

        Returns:
            Per caption one verdict for each of its events, in their order, or None.
        """


Rewards = Mapping[str, float | None]
