"""Clue-Perception: answer, look again at what the answer rests on, answer again (paper, section 3.3, algorithm 1).

The first pass sees the whole video cheaply. The spans that its reply names are read again *from the file*, at a
higher resolution and frame rate, and shown with their true times instead of the video; the question is asked again.
That goes on until the spans settle or a limit is reached. A reply that names no usable span stays the answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ConfigDict, Field

from timesight.errors import ModelError, VideoError
from timesight.geometry import merge_spans, span_set_iou
from timesight.policy.answering import Answered, Answerer, Prompt
from timesight.tasks.evidence import spans_of_reply
from timesight.types import Part, Pass, Span, TextPart, Video, VideoPart
from timesight.video import FrameBudget, Frames, read

NO_SPAN = "the reply names no usable span: its first answer stands"
NOT_ONE_VIDEO = "the prompt does not hold one video: there is nothing to look at again"


class ClueSettings(BaseModel):
    """How the second look is taken.

    ``resolution_boost`` multiplies the sides of a frame, ``fps_boost`` the frame rate, of the first pass's budget;
    all segments together keep to ``total_pixels`` (two frames counted as one, as in a budget; the first pass's own
    limit if None). Segments are ``padding_share`` of their length longer on each side, ``padding_s`` at least, and
    the first ``max_segments`` that a reply names are taken. From ``settled_iou`` between two passes' spans on,
    looking ends.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resolution_boost: float = Field(default=2.0, ge=1)
    fps_boost: float = Field(default=4.0, ge=1)
    total_pixels: int | None = Field(default=None, ge=1)
    padding_share: float = Field(default=0.25, ge=0)
    padding_s: float = Field(default=0.5, ge=0)
    max_segments: int = Field(default=3, ge=1)
    max_passes: int = Field(default=2, ge=1)
    settled_iou: float = Field(default=0.9, ge=0, le=1)


class ClueAnswerer:
    """An ``Answerer`` that looks again. ``budget`` is that of the first pass, whose prompts come with their frames.

    Replies carry all their ``passes``. Prompts that do not hold exactly one video are answered once.
    """

    def __init__(self, answerer: Answerer, budget: FrameBudget, settings: ClueSettings | None = None) -> None:
        self.name = f"{answerer.name} + clue"
        self.settings = settings or ClueSettings()
        self._answerer = answerer
        self._budget = budget

    @property
    def factor(self) -> int:
        """The answerer's own."""
        return self._answerer.factor

    @property
    def default_budget(self) -> FrameBudget:
        """The answerer's own."""
        return self._answerer.default_budget

    def answer(
        self, prompts: Sequence[Prompt], *, temperature: float, max_new_tokens: int
    ) -> list[Answered | ModelError]:
        """The last reply to each prompt, with all passes that led to it."""
        looks = [_Look(prompt, prompt) for prompt in prompts]
        for number in range(self.settings.max_passes):
            going = [look for look in looks if look.next is not None]
            if not going:
                break
            began = time.perf_counter()
            asked = [look.next for look in going if look.next is not None]
            outcomes = self._answerer.answer(asked, temperature=temperature, max_new_tokens=max_new_tokens)
            seconds = (time.perf_counter() - began) / len(going)
            is_last = number == self.settings.max_passes - 1
            for look, outcome in zip(going, outcomes, strict=True):
                look.took(outcome, seconds)
                look.next = None if is_last or look.is_settled(self.settings) else self._again(look)
        return [look.result() for look in looks]

    def _again(self, look: _Look) -> Prompt | None:
        """The prompt of the next pass, or None with a note of why there is none."""
        videos = [part for part in look.first.parts if isinstance(part, VideoPart)]
        if len(videos) != 1:
            look.note = NOT_ONE_VIDEO
            return None
        whole, frames = videos[0].video, look.first.frames[0]
        segments = choose_segments(look.passes[-1].spans, frames.window_s, self.settings)
        if not segments:
            look.note = NO_SPAN
            return None
        try:
            return closer(look.first, whole, segments, self._budget, self.settings, self.factor)
        except VideoError as error:
            look.note = f"{error}: its last answer stands"
            return None


@dataclass(eq=False)
class _Look:
    """One prompt on its way through the passes."""

    first: Prompt
    next: Prompt | None
    passes: list[Pass] = field(default_factory=list)
    outcome: Answered | ModelError | None = None
    note: str = ""

    def took(self, outcome: Answered | ModelError, seconds: float) -> None:
        """Note what came of a pass; a failure after the first one leaves the answer that there is."""
        prompt = self.next
        assert prompt is not None
        self.next = None
        if isinstance(outcome, ModelError):
            self.note = f"{outcome}: its last answer stands" if self.passes else ""
            self.outcome = self.outcome or outcome
            return
        self.outcome = outcome
        self.passes.append(
            Pass(
                text=outcome.text,
                num_frames=sum(len(frames.times_s) for frames in prompt.frames),
                prompt_tokens=outcome.prompt_tokens or 0,
                seconds=seconds,
                segments=tuple(Span(*frames.window_s) for frames in prompt.frames),
                size_px=_size(prompt.frames),
                spans=spans_of_reply(outcome.text),
            )
        )

    def is_settled(self, settings: ClueSettings) -> bool:
        """Whether there is nothing to go on with, or the last two passes name the same spans."""
        if isinstance(self.outcome, ModelError) or self.note:
            return True
        if len(self.passes) < 2:
            return False
        before, now = self.passes[-2].spans, self.passes[-1].spans
        return span_set_iou(before, now) >= settings.settled_iou

    def result(self) -> Answered | ModelError:
        assert self.outcome is not None
        if isinstance(self.outcome, ModelError):
            return self.outcome
        return replace(self.outcome, passes=tuple(self.passes), note=self.note)


def choose_segments(spans: Sequence[Span], window_s: tuple[float, float], settings: ClueSettings) -> list[Span]:
    """What to look at again: the first ``spans`` in the window, padded, joined where they meet, by time."""
    start_s, end_s = window_s
    inside = [span for span in spans if span.end_s >= start_s and span.start_s < end_s][: settings.max_segments]
    padded = []
    for span in inside:
        padding_s = max(settings.padding_s, settings.padding_share * span.length_s)
        padded.append(Span(max(start_s, span.start_s - padding_s), min(end_s, span.end_s + padding_s)))
    return [span for span in merge_spans(padded) if span.length_s > 0]


def closer(
    prompt: Prompt,
    video: Video,
    segments: Sequence[Span],
    budget: FrameBudget,
    settings: ClueSettings,
    factor: int,
) -> Prompt:
    """``prompt`` with ``segments`` of ``video`` in the video's place, each after its times. Raises VideoError."""
    total_s = sum(segment.length_s for segment in segments)
    parts: list[Part] = []
    frames: list[Frames] = []
    for segment in segments:
        cut = video.model_copy(update={"start_s": segment.start_s, "end_s": segment.end_s})
        parts += [TextPart(f"Seconds {segment.start_s:.1f} to {segment.end_s:.1f} of the video: "), VideoPart(cut)]
        frames.append(read(cut, boosted(budget, segment.length_s / total_s, settings), factor=factor))
    place = next(n for n, part in enumerate(prompt.parts) if isinstance(part, VideoPart))
    return Prompt([*prompt.parts[:place], *parts, *prompt.parts[place + 1 :]], frames)


def boosted(budget: FrameBudget, share: float, settings: ClueSettings) -> FrameBudget:
    """The budget of a segment that is ``share`` of all that is looked at again."""
    total_pixels = settings.total_pixels or budget.total_pixels
    most = max(budget.min_frames, math.floor(budget.max_frames * share))
    return budget.model_copy(
        update={
            "fps": budget.fps * settings.fps_boost,
            "max_frames": most,
            "max_pixels": round(budget.max_pixels * settings.resolution_boost**2),
            "total_pixels": max(1, round(total_pixels * share)),
        }
    )


def _size(frames: Sequence[Frames]) -> tuple[int, int]:
    """Width and height of the largest frames."""
    shapes = [mine.pixels.shape for mine in frames]
    largest = max(shapes, key=lambda shape: shape[1] * shape[2], default=(0, 0, 0, 0))
    return largest[2], largest[1]
