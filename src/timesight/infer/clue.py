"""Clue-Perception: answer, look again at what the answer rests on, answer again (paper, section 3.3, algorithm 1).

The first pass shows the whole video at low cost. The spans that its reply names are read again *from the file*, at
a higher resolution and frame rate, and replace the video in the prompt, each with its true times; the question is
asked again. This repeats until the spans settle or a limit is reached; the paper makes two passes. If the first
reply names no usable span, it is the answer; a later reply without one does not replace the answer before it.
"""

from __future__ import annotations

import collections.abc
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pydantic import Field

from timesight.errors import ModelError, VideoError
from timesight.generate.base import Completion, CompletionStream, Generator, Sampling, WrappedGenerator, as_group
from timesight.geometry import merge_spans, span_set_iou
from timesight.model.prompt import Prompt
from timesight.tasks.evidence import spans_of_reply
from timesight.types import Pass, Span, VideoPart, segment_parts
from timesight.video import FrameBudget, FrameReader, Frames, SecondLook, Wanted
from timesight.video.pool import VideoPool

GRID_DIGITS = 6  # of a time over the grid, which forgive what floats add to a multiple
NO_SPAN = "the reply names no usable span: there is nothing to look at again"
LOST_SPAN = "the last look's reply names no usable span: the answer before it stands"
NOT_ONE_VIDEO = "the prompt does not hold one video: there is nothing to look at again"


class ClueSettings(SecondLook):
    """How the second look is taken. ``SecondLook`` has the resolution, the frame rate and the limit of pixels.

    Args:
        padding_share: By how much a segment is extended on each side, as a fraction of its length.
        padding_s: The least extension on each side, in seconds.
        grid_s: Segments are extended to multiples of it, in seconds, so that replies which mean the same see the
            same; 0 leaves them.
        max_segments: Most segments; the first ones that a reply names are taken.
        max_passes: Most passes over the video, the first one included; 1 takes no second look.
        settled_iou: IoU of the spans of two passes, in [0, 1], from which on no further pass follows.
    """

    padding_share: float = Field(default=0.25, ge=0)
    padding_s: float = Field(default=0.5, ge=0)
    grid_s: float = Field(default=0.5, ge=0)
    max_segments: int = Field(default=3, ge=1)
    max_passes: int = Field(default=2, ge=1)
    settled_iou: float = Field(default=0.9, ge=0, le=1)


class PassEvent(NamedTuple):
    """A finished pass over the video, with the frames that it showed."""

    look: Pass
    frames: Sequence[Frames]


class ClueGenerator(WrappedGenerator):
    """A generator that looks again at the spans which a reply names.

    Completions carry all their ``passes``, and a ``note`` if there is no further one. Prompts that do not hold
    exactly one video are answered once.

    Args:
        generator: The model, asked in every pass.
        budget: The frame budget of the first pass, whose prompts come with their frames; the budget of later passes
            is derived from it.
        settings: None: the defaults.
        pool: Processes that read the segments of all prompts at once; None: this process reads them one by one.
    """

    def __init__(
        self,
        generator: Generator,
        budget: FrameBudget,
        settings: ClueSettings | None = None,
        pool: VideoPool | None = None,
    ) -> None:
        super().__init__(generator)
        self.name = f"{generator.name} + clue"
        self.settings = settings or ClueSettings()
        self._reader = FrameReader(budget, generator.factor, second_look=self.settings, pool=pool)

    def generate(
        self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
    ) -> list[list[Completion] | ModelError]:
        """As in the base; each of several replies to a prompt has its own later passes."""
        looks = [_Passes(prompt, prompt) for prompt in prompts for _ in range(num_generations)]
        while going := [look for look in looks if look.next is not None]:
            began = time.perf_counter()
            asked = [look.next for look in going if look.next is not None]
            outcomes = self._generator.answer(asked, sampling)
            seconds = (time.perf_counter() - began) / len(going)
            for look, outcome in zip(going, outcomes, strict=True):
                look.record_pass(outcome, seconds)
            chosen = [(look, self._segments(look)) for look in going]
            for look, segments in chosen:
                if segments:
                    self._reader.prefetch(wanted_segments(look.first, segments))
            for look, segments in chosen:
                look.next = self._prompt(look, segments)
        results = [look.result() for look in looks]
        return [as_group(results[n : n + num_generations]) for n in range(0, len(results), num_generations)]

    def stream(self, prompt: Prompt, sampling: Sampling | None = None) -> CompletionStream:
        """As in the base; the replies of all passes are streamed, the last one is returned."""
        events = self.stream_passes(prompt, sampling)
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                completion: Completion = end.value
                return completion
            if isinstance(event, str):
                yield event

    def stream_passes(
        self, prompt: Prompt, sampling: Sampling | None = None
    ) -> collections.abc.Generator[str | PassEvent, None, Completion]:
        """Stream the replies of all passes, with an event at the end of each pass.

        Args:
            prompt: With the frames of the first pass.
            sampling: None: greedy.

        Yields:
            Pieces of a reply, and after the last piece of each pass a ``PassEvent``.

        Returns:
            The final completion.

        Raises:
            ModelError: If the first pass gives no reply.
        """
        look = _Passes(prompt, prompt)
        while look.next is not None:
            began = time.perf_counter()
            prompt_frames = look.next.frames
            outcome: Completion | ModelError
            try:
                outcome = yield from self._generator.stream(look.next, sampling)
            except ModelError as error:
                outcome = error
            look.record_pass(outcome, time.perf_counter() - began)
            if isinstance(outcome, Completion):
                yield PassEvent(look.passes[-1], prompt_frames)
            look.next = self._prompt(look, self._segments(look))
        result = look.result()
        if isinstance(result, ModelError):
            raise result
        return result

    def _segments(self, look: _Passes) -> list[Span]:
        """The segments that the next pass shows; empty if the passes are over, with a note if they end early."""
        if self.settings.max_passes == 1 or look.has_ended:
            return []
        if sum(isinstance(part, VideoPart) for part in look.first.parts) != 1:
            look.note = NOT_ONE_VIDEO
            return []
        segments = choose_segments(look.passes[-1].spans, look.first.frames[0].window_s, self.settings)
        if not segments:
            look.lost_its_span()
            return []
        if len(look.passes) >= self.settings.max_passes or look.is_settled(self.settings):
            return []
        return segments

    def _prompt(self, look: _Passes, segments: Sequence[Span]) -> Prompt | None:
        """The prompt that shows ``segments``; None if there are none, or they cannot be read, which is noted."""
        if not segments:
            return None
        try:
            return second_look(look.first, segments, self._reader)
        except VideoError as error:
            look.note = f"{error}: its last answer stands"
            return None


@dataclass(eq=False)
class _Passes:
    """One prompt on its way through the passes."""

    first: Prompt
    next: Prompt | None
    passes: list[Pass] = field(default_factory=list)
    outcome: Completion | ModelError | None = None
    before: Completion | None = None  # the reply of the last pass but one
    note: str = ""

    def record_pass(self, outcome: Completion | ModelError, seconds: float) -> None:
        """Record the outcome of a pass; if a later pass fails, the answer of the one before it stays."""
        prompt = self.next
        assert prompt is not None
        self.next = None
        if isinstance(outcome, ModelError):
            self.note = f"{outcome}: its last answer stands" if self.passes else ""
            self.outcome = self.outcome or outcome
            return
        self.before = self.outcome if isinstance(self.outcome, Completion) else None
        self.outcome = outcome
        self.passes.append(
            Pass(
                text=outcome.text,
                num_frames=sum(len(frames.times_s) for frames in prompt.frames),
                prompt_tokens=outcome.prompt_tokens or 0,
                new_tokens=outcome.completion_tokens or 0,
                seconds=seconds,
                segments=tuple(Span(*frames.window_s) for frames in prompt.frames),
                size_px=_size(prompt.frames),
                spans=spans_of_reply(outcome.text),
            )
        )

    def lost_its_span(self) -> None:
        """Record that the last reply names no usable span: the answer before it stands, if there is one."""
        self.note = LOST_SPAN if self.before else NO_SPAN
        self.outcome = self.before or self.outcome

    @property
    def has_ended(self) -> bool:
        """Whether the last pass failed or a note says why there is no further one."""
        return isinstance(self.outcome, ModelError) or bool(self.note)

    def is_settled(self, settings: ClueSettings) -> bool:
        """Whether the last two passes name the same spans, up to ``settled_iou``."""
        if len(self.passes) < 2:
            return False
        before, now = self.passes[-2].spans, self.passes[-1].spans
        return span_set_iou(before, now) >= settings.settled_iou

    def result(self) -> Completion | ModelError:
        assert self.outcome is not None
        if isinstance(self.outcome, ModelError):
            return self.outcome
        return replace(self.outcome, passes=tuple(self.passes), note=self.note)


def choose_segments(spans: Sequence[Span], window_s: tuple[float, float], settings: ClueSettings) -> list[Span]:
    """Choose the segments for the next pass: the named spans, padded to the grid, clipped, and merged.

    Args:
        spans: In the order in which the reply names them, in seconds from the start of the file.
        window_s: Start and end of the video that the first pass showed; spans outside it are dropped.
        settings: Padding, and how many spans are taken.

    Returns:
        Disjoint segments in order of time; empty if no span lies in the window.
    """
    start_s, end_s = window_s
    inside = [span for span in spans if span.end_s >= start_s and span.start_s < end_s][: settings.max_segments]
    padded = []
    for span in inside:
        padding_s = max(settings.padding_s, settings.padding_share * span.length_s)
        first_s, last_s = span.start_s - padding_s, span.end_s + padding_s
        if settings.grid_s:
            first_s = min(first_s, math.floor(round(first_s / settings.grid_s, GRID_DIGITS)) * settings.grid_s)
            last_s = max(last_s, math.ceil(round(last_s / settings.grid_s, GRID_DIGITS)) * settings.grid_s)
        padded.append(Span(max(start_s, first_s), min(end_s, last_s)))
    return [span for span in merge_spans(padded) if span.length_s > 0]


def wanted_segments(prompt: Prompt, segments: Sequence[Span]) -> list[Wanted]:
    """What ``second_look`` reads: segments share frames and pixels in proportion to their length."""
    total_s = sum(segment.length_s for segment in segments)
    parts = segment_parts(_video(prompt).video, segments)
    cuts = [part.video for part in parts if isinstance(part, VideoPart)]
    return [Wanted(cut, share=segment.length_s / total_s) for cut, segment in zip(cuts, segments, strict=True)]


def second_look(prompt: Prompt, segments: Sequence[Span], reader: FrameReader) -> Prompt:
    """Return a prompt that shows segments of the video instead of all of it, each after a text with its times.

    Args:
        prompt: With one video.
        segments: In seconds from the start of the file.
        reader: Reads them with its ``SecondLook``.

    Raises:
        VideoError: If the video cannot be read.
    """
    frames = [reader.read(wanted) for wanted in wanted_segments(prompt, segments)]
    part = _video(prompt)
    place = prompt.parts.index(part)
    parts = [*prompt.parts[:place], *segment_parts(part.video, segments), *prompt.parts[place + 1 :]]
    return Prompt(parts, frames, prompt.earlier)


def _video(prompt: Prompt) -> VideoPart:
    """The one video of a prompt."""
    (part,) = (part for part in prompt.parts if isinstance(part, VideoPart))
    return part


def _size(frames: Sequence[Frames]) -> tuple[int, int]:
    """Width and height of the largest frames."""
    shapes = [mine.pixels.shape for mine in frames]
    largest = max(shapes, key=lambda shape: shape[1] * shape[2], default=(0, 0, 0, 0))
    return largest[2], largest[1]
