"""Spans as evidence: checks and conversions of a source's spans, video-blind spans, and the spans of a reply."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from timesight.geometry import boundary_iou, span_set_iou, wasserstein_s
from timesight.tasks.form import ReplyForm, Tag
from timesight.tasks.parsing import MAX_SPANS, find_span, parse_spans, shortest
from timesight.types import Sample, Span

Floats = NDArray[np.float64]
SpanReward = Literal["iou", "boundary_iou", "wasserstein"]
IOU: SpanReward = "iou"  # the paper's
Pairs = Sequence[tuple[float, float]]  # [start_s, end_s] as in the source, possibly invalid
MOST_S = 1e9  # times in replies are below this
SECONDS_DIGITS = 3  # replies state seconds to the millisecond, so rewards ask for no more
_ANY = ReplyForm((Tag("answer", ""), Tag("glue", "")))


def span_problems(spans: Pairs) -> list[str]:
    """Why ``spans`` cannot be used as ground truth, one text per problem.

    There must be 1 to ``MAX_SPANS`` spans, and each must be finite, not reversed, and end within [0, ``MOST_S``)
    seconds.
    """
    if not spans:
        return ["no span"]
    problems = [f"{len(spans)} spans, more than a reply may hold"] if len(spans) > MAX_SPANS else []
    for start_s, end_s in spans:
        if not (math.isfinite(start_s) and math.isfinite(end_s)):
            problems.append(f"span {start_s} to {end_s} is not finite")
        elif start_s > end_s:
            problems.append(f"span {start_s} to {end_s} is reversed")
        elif end_s < 0:
            problems.append(f"span {start_s} to {end_s} ends before the video starts")
        elif end_s >= MOST_S:
            problems.append(f"span {start_s} to {end_s} is not a time in a video")
    return problems


def stated_duration_s(sample: Sample) -> float | None:
    """The length of the whole video in seconds from ``meta.duration_s``; None if that is no usable number."""
    stated: Any = sample.meta.get("duration_s")
    is_number = isinstance(stated, (int, float)) and not isinstance(stated, bool)
    return stated if is_number and 0 < stated < MOST_S else None


def with_span_problems(sample: Sample, spans: Pairs, reward: SpanReward) -> list[str]:
    """``span_problems``, and a video of unknown duration where ``reward`` needs it."""
    problems = span_problems(spans)
    if reward != IOU and not stated_duration_s(sample):
        problems.append(f"no meta.duration_s, which {reward} needs (the length of the whole video in seconds)")
    return problems


def span_reward(answer: Sequence[Span], truth: Sequence[Span], reward: SpanReward, sample: Sample) -> float:
    """How well spans fit: ``span_set_iou``, ``boundary_iou``, or 1 − ``wasserstein_s`` as a share of the video.

    Args:
        answer: Its spans.
        truth: The true ones.
        reward: Which of the three.
        sample: Says how long the video is.

    Returns:
        A value in [0, 1].
    """
    if reward == IOU:
        return span_set_iou(answer, truth)
    duration_s = stated_duration_s(sample) or math.inf  # without one the sample has a problem and earns nothing
    if reward == "boundary_iou":
        return boundary_iou(answer, truth, duration_s)
    return max(0.0, 1.0 - wasserstein_s(answer, truth) / duration_s)


def raw_spans(spans: Pairs) -> list[Span]:
    """The source's spans for metrics, not rounded; reversed and non-finite ones are left out."""
    return [Span(start_s, end_s) for start_s, end_s in spans if -math.inf < start_s <= end_s < math.inf]


def rounded_spans(spans: Pairs) -> list[Span]:
    """Usable ``spans`` for rewards, at the precision of a reply: cut at 0 s and rounded to milliseconds."""
    digits = SECONDS_DIGITS
    return [Span(round(max(0.0, start_s), digits), round(max(0.0, end_s), digits)) for start_s, end_s in spans]


def write_spans(spans: Sequence[Span]) -> str:
    """``spans`` as text that ``parse_spans`` reads back: ``[(1.5, 4.0), (7.0, 9.25)]``."""
    return "[" + ", ".join(f"({shortest(span.start_s)}, {shortest(span.end_s)})" for span in spans) + "]"


def whole_videos(durations_s: Sequence[float | None]) -> list[Span] | None:
    """Each video from start to end in seconds; None if any duration is unknown."""
    known = [duration_s for duration_s in durations_s if duration_s is not None and 0 <= duration_s < math.inf]
    return [Span(0.0, duration_s) for duration_s in known] if len(known) == len(durations_s) else None


def best_constant_span(truths: Sequence[Sequence[Span]], videos: Sequence[Span]) -> list[Span]:
    """The same fraction ``[a, b]`` of every video, chosen for the highest mean IoU with the ground truth.

    It is about the best that a constant prediction can score. ``a`` and ``b`` are multiples of 0.05.

    Args:
        truths: True spans of each of the N videos; the one that fits best counts.
        videos: Each video from start to end.

    Returns:
        N spans.
    """
    shares = np.linspace(0.0, 1.0, 21)
    known = [n for n, spans in enumerate(truths) if spans]  # N of them; the others score 0 in any case
    most = max((len(truths[n]) for n in known), default=0)  # T
    padded = [[*truths[n], *[truths[n][0]] * (most - len(truths[n]))] for n in known]
    pairs = np.array([[(span.start_s, span.end_s) for span in spans] for spans in padded])  # (N, T, 2)
    starts, ends = pairs.reshape(len(known), most, 2).T
    durations_s = np.array([videos[n].end_s for n in known])

    def score(share: tuple[float, float]) -> float:
        first, last = (part * durations_s for part in share)
        return float(sum(_ious(first, last, starts, ends).max(0, initial=0.0).tolist()))

    first, last = max(((a, b) for a in shares for b in shares if a < b), key=score)
    return [Span(float(first * video.end_s), float(last * video.end_s)) for video in videos]


def _ious(first: Floats, last: Floats, starts: Floats, ends: Floats) -> Floats:
    """``temporal_iou`` of the spans ``first`` to ``last`` (N,) with ``starts`` to ``ends`` (T, N)."""
    shared_s = np.minimum(last, ends) - np.maximum(first, starts)
    with np.errstate(invalid="ignore"):  # two spans that are the same point
        overlap = shared_s / (np.maximum(last, ends) - np.minimum(first, starts))
    same: Floats = ((first == starts) & (last == ends)).astype(np.float64)
    return np.where(shared_s > 0.0, overlap, same)


def spans_of_reply(reply: str) -> tuple[Span, ...]:
    """The spans that a reply to any task names: those in ``<glue>``, else the one in its answer; may be empty."""
    if (glue := _ANY.find(reply, "glue")) is not None and (spans := parse_spans(glue)):
        return spans
    answer = find_span(_ANY.find(reply, "answer") or "")
    return () if answer is None else (answer,)
