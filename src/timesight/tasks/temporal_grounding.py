"""Temporal grounding: when does an event happen? (paper, section 3.3; Charades-STA, ActivityNet Captions)

Reply: ``<answer>12.54 to 17.83</answer>``, seconds from the start of the video.
Reward components: ``format`` (equation 3) and ``iou`` (equation 4), or what ``with_reward`` puts in its place.
Metrics: mIoU and R1@{0.3, 0.5, 0.7} with IoU >= threshold; unparsable replies score 0 and count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from timesight.geometry import temporal_iou
from timesight.tasks.base import Graded, QuestionForm, Task
from timesight.tasks.evidence import (
    IOU,
    SpanReward,
    best_constant_span,
    raw_spans,
    rounded_spans,
    span_reward,
    whole_videos,
    with_span_problems,
)
from timesight.tasks.form import ReplyForm, Tag
from timesight.tasks.parsing import find_span, parse_span, shortest
from timesight.types import Evidence, Judge, Question, Rewards, Sample, Span, Video

THRESHOLDS = (0.3, 0.5, 0.7)


class TemporalGroundingSample(Sample):
    """When does ``query`` happen? ``spans`` are ``[start_s, end_s]`` as in the source, possibly invalid.

    If there are several, each of them alone is a right answer.
    """

    query: str
    spans: tuple[tuple[float, float], ...]


class TemporalGrounding(Task[TemporalGroundingSample, Span]):
    """When does an event happen?"""

    name = "temporal_grounding"
    Sample = TemporalGroundingSample
    form = ReplyForm((Tag("answer", "START to END"),))
    template = "When does this happen, in seconds: {query}? {form}"
    components = ("iou",)
    question_form = QuestionForm("When", "Something that happens", command="/when")
    names_spans = True
    span_reward: SpanReward = IOU

    def with_reward(self, reward: SpanReward) -> Self:
        """A copy of this task whose spans earn ``reward`` (``evidence.span_reward``)."""
        return self._changed(span_reward=reward, components=(reward,))

    def fields(self, sample: TemporalGroundingSample) -> dict[str, str]:
        """The template field ``query``."""
        return {"query": sample.query.strip()}

    def problems(self, sample: TemporalGroundingSample) -> list[str]:
        """Missing, reversed or non-finite spans."""
        return with_span_problems(sample, sample.spans, self.span_reward)

    def parse(
        self,
        reply: str,
        think: bool = False,
        strict: bool = True,
        sample: TemporalGroundingSample | None = None,
    ) -> Span | None:
        """The one span in ``reply``."""
        content = self.form.read(reply, "answer", think, strict)
        if content is None:
            return None
        return parse_span(content) if strict else find_span(content)

    def write(self, answer: Span) -> dict[str, str]:
        """The span as ``START to END`` in seconds."""
        return {"answer": f"{shortest(answer.start_s)} to {shortest(answer.end_s)}"}

    def truth(self, sample: TemporalGroundingSample) -> Span:
        """The first true span, rounded to milliseconds."""
        return rounded_spans(sample.spans)[0]

    def reward_components(self, answer: Span, sample: TemporalGroundingSample) -> Rewards:
        """``iou`` (equation 4), or its stand-in, with the true span that fits best."""
        kind = self.span_reward
        return {kind: max(span_reward([answer], [span], kind, sample) for span in rounded_spans(sample.spans))}

    def item_metrics(
        self,
        graded: Sequence[Graded[TemporalGroundingSample, Span]],
        protocol: str,
        judge: Judge | None = None,
    ) -> list[dict[str, float] | None]:
        """IoU with the best-fitting true span, and whether it reaches each threshold; 0 for a reversed truth."""
        rows: list[dict[str, float] | None] = []
        for sample, _, answer in graded:
            iou = 0.0
            if answer is not None:
                iou = max((temporal_iou(answer, span) for span in raw_spans(sample.spans)), default=0.0)
            rows.append({"mIoU": iou} | {f"R1@{t}": float(iou >= t) for t in THRESHOLDS})
        return rows

    def baselines(
        self, samples: Sequence[TemporalGroundingSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[Span]]:
        """The whole video, and the constant fraction of the video that scores best on these samples."""
        whole = whole_videos(durations_s)
        if whole is None or not samples:
            return {}
        truths = [raw_spans(sample.spans) for sample in samples]
        return {"whole video": whole, "best constant span": best_constant_span(truths, whole)}

    def from_question(self, question: Question, video: Video) -> TemporalGroundingSample:
        """When does the event in the question's text happen?"""
        return self._without_truth(video, query=question.text, spans=())

    def question(self, sample: TemporalGroundingSample) -> str:
        """The ``query``."""
        return sample.query

    def evidence(self, answer: Span) -> Evidence:
        """The span itself."""
        return Evidence(spans=(answer,))
