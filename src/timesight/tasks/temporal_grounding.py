"""Temporal grounding: when does an event happen? (paper, section 3.3; Charades-STA, ActivityNet Captions)

Reply: ``<answer>12.54 to 17.83</answer>``, seconds from the start of the video.
Reward parts: ``format`` (equation 3) and ``iou`` (equation 4).
Metrics: mIoU and R1@{0.3, 0.5, 0.7} with IoU >= threshold; unparsable replies score 0 and count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from timesight.geometry import span_set_iou
from timesight.tasks.base import Graded, Task
from timesight.tasks.form import ReplyForm, Tag
from timesight.types import Judge, Part, Sample, Span, TextPart, VideoPart

THRESHOLDS = (0.3, 0.5, 0.7)
MAX_ANSWER_CHARS = 200

_NUMBER = r"(?:\d{1,2}:)?\d{1,3}:\d{2}(?:\.\d{1,6})?|\d{1,6}(?:\.\d{1,6})?"
_SPAN = re.compile(
    rf"(?:(?:from|between)\s+)?(?P<start>{_NUMBER})\s*(?:s|sec|secs|seconds?)?\s*(?:-|–|—|to|and|until)\s*"
    rf"(?P<end>{_NUMBER})\s*(?:s|sec|secs|seconds?)?(?![\w:]|\.\d)",
    re.IGNORECASE,
)


class TemporalGroundingSample(Sample):
    """When does ``query`` happen? ``spans`` are the source's own ``[start_s, end_s]``, possibly odd."""

    query: str
    spans: tuple[tuple[float, float], ...]

    def truth(self) -> list[Span]:
        """The usable truth: negative starts clipped to 0; empty where the record has a problem."""
        if self.problems or span_problems(self.spans):
            return []
        return [Span(max(0.0, start_s), max(0.0, end_s)) for start_s, end_s in self.spans]


class TemporalGrounding(Task[TemporalGroundingSample, Span]):
    """When does an event happen?"""

    name = "temporal_grounding"
    form = ReplyForm((Tag("answer", "START to END"),))
    Sample = TemporalGroundingSample

    def prompt(self, sample: TemporalGroundingSample, think: bool = False) -> list[Part]:
        """The video, then the question."""
        question = f"When does this happen, in seconds: {sample.query.strip()}?"
        return [VideoPart(sample.video), TextPart(f"{question} {self.form.instruction(think)}")]

    def problems(self, sample: TemporalGroundingSample) -> list[str]:
        """Missing, reversed or non-finite spans."""
        return span_problems(sample.spans)

    def parse(self, reply: str, think: bool = False, strict: bool = True) -> Span | None:
        """The one span in ``reply``."""
        if strict:
            contents = self.form.split_strict(reply, think)
            return parse_span(contents["answer"]) if contents else None
        content = self.form.find(reply, "answer")
        return find_span(content) if content is not None else None

    def reward(
        self, reply: str, sample: TemporalGroundingSample, think: bool = False, judge: Judge | None = None
    ) -> dict[str, float | None]:
        """``format`` and ``iou``; both None where the sample has no usable truth."""
        truth = sample.truth()
        if not truth:
            return {"format": None, "iou": None}
        span = self.parse(reply, think)
        if span is None:
            return {"format": 0.0, "iou": 0.0}
        return {"format": 1.0, "iou": span_set_iou([span], truth)}

    def gold(self, sample: TemporalGroundingSample, think: bool = False) -> str:
        """The first true span; in think mode with the sample's own thought where it has one."""
        span = sample.truth()[0]
        thought = str(sample.meta.get("thought", f"I look for the moment when {sample.query.strip()}."))
        answer = f"{_shortest(span.start_s)} to {_shortest(span.end_s)}"
        return self.form.render({"answer": answer}, thought if think else None)

    def item_metrics(
        self, graded: Graded[TemporalGroundingSample, Span], protocol: str = "official"
    ) -> dict[str, float]:
        """IoU with the truth and whether it reaches each threshold; a reversed truth gives 0."""
        truth = graded.sample.truth()
        iou = span_set_iou([graded.answer], truth) if graded.answer and truth else 0.0
        return {"mIoU": iou} | {f"R1@{t}": float(iou >= t) for t in THRESHOLDS}

    def baselines(
        self, samples: Sequence[TemporalGroundingSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[Span]]:
        """The whole video, and the one share of the video that scores best on these very items."""
        if any(duration is None for duration in durations_s) or not samples:
            return {}
        lengths_s = [float(d) for d in durations_s if d is not None]
        return {
            "whole video": [Span(0.0, length_s) for length_s in lengths_s],
            "best constant span": _best_constant_span(samples, lengths_s),
        }


def span_problems(spans: Sequence[tuple[float, float]]) -> list[str]:
    """What keeps ``spans`` from being used as truth."""
    if not spans:
        return ["no span"]
    problems = []
    for start_s, end_s in spans:
        if not (np.isfinite(start_s) and np.isfinite(end_s)):
            problems.append(f"span {start_s} to {end_s} is not finite")
        elif start_s > end_s:
            problems.append(f"span {start_s} to {end_s} is reversed")
        elif end_s < 0:
            problems.append(f"span {start_s} to {end_s} ends before the video starts")
    return problems


def parse_span(text: str) -> Span | None:
    """The span that ``text`` is and nothing else: ``12.5 to 17.8``, ``00:12 - 00:17``, ``from 5 to 9 seconds``."""
    text = text.strip().rstrip(".")
    match = _SPAN.fullmatch(text) if len(text) <= MAX_ANSWER_CHARS else None
    return _to_span(match) if match else None


def find_span(text: str) -> Span | None:
    """The only span in ``text``; None where there is none or more than one."""
    matches = list(_SPAN.finditer(text))
    return _to_span(matches[0]) if len(matches) == 1 else None


def _to_span(match: re.Match[str]) -> Span | None:
    start_s, end_s = _to_seconds(match["start"]), _to_seconds(match["end"])
    return Span(start_s, end_s) if start_s <= end_s else None


def _to_seconds(clock: str) -> float:
    """``75.5``, ``01:15.5`` or ``0:01:15.5`` as seconds."""
    seconds = 0.0
    for field in clock.split(":"):
        seconds = 60 * seconds + float(field)
    return seconds


def _shortest(seconds: float) -> str:
    """The shortest plain decimal that reads back as ``seconds``."""
    return np.format_float_positional(seconds, trim="0")


def _best_constant_span(samples: Sequence[TemporalGroundingSample], lengths_s: Sequence[float]) -> list[Span]:
    """The same share ``[a, b]`` of every video, chosen with the truth in hand: what knowing nothing can earn."""
    shares = np.linspace(0.0, 1.0, 21)
    candidates = [(a, b) for a in shares for b in shares if a < b]

    def answers(share: tuple[float, float]) -> list[Span]:
        return [Span(float(share[0] * d), float(share[1] * d)) for d in lengths_s]

    def score(share: tuple[float, float]) -> float:
        pairs = zip(answers(share), samples, strict=True)
        return sum(span_set_iou([span], sample.truth()) for span, sample in pairs)

    return answers(max(candidates, key=score))
