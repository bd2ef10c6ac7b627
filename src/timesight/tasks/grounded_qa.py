"""Grounded question answering: pick an option and show the evidence (paper, section 3.3; NExT-GQA).

Reply: ``<answer>B</answer><glue>[(1.5, 4.0), (7.0, 9.0)]</glue>``, seconds from the start of the video.
Reward components: ``format`` (equation 3), ``iou`` of the two sets of spans (equation 4) and ``accuracy``
(equation 5). ``with_reward`` puts another measure in the place of ``iou``.
Metrics, official: as NExT-GQA's own script computes them, for one predicted span (the first): IoU and IoP, each the
largest over the evidence spans; mIoU, IoU@{0.3, 0.5}, mIoP, IoP@{0.3, 0.5}, Acc@QA, and Acc@GQA, the share of
answers that are right and have IoP >= 0.5.
Metrics, paper: mIoU of the merged sets of spans, and accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from timesight.errors import InputError
from timesight.geometry import span_set_iou, temporal_iop, temporal_iou
from timesight.tasks.base import OFFICIAL, PAPER, Graded, QuestionForm, Task
from timesight.tasks.choices import (
    ChoiceSample,
    choice_baselines,
    choice_fields,
    choice_problems,
    right_option,
    with_phrases,
)
from timesight.tasks.evidence import (
    IOU,
    SpanReward,
    raw_spans,
    rounded_spans,
    span_reward,
    whole_videos,
    with_span_problems,
    write_spans,
)
from timesight.tasks.form import ReplyForm, Tag
from timesight.tasks.parsing import letter, parse_option, parse_spans
from timesight.types import Evidence, Judge, Question, Rewards, Span, Video

THRESHOLDS = (0.3, 0.5)
GROUNDED_IOP = 0.5  # a right answer counts as grounded from this IoP on


class GroundedAnswer(NamedTuple):
    """An option's index and its evidence; after lenient parsing one of them may be missing."""

    option: int | None
    spans: tuple[Span, ...]


class GroundedQaSample(ChoiceSample):
    """A question with options, and its evidence: ``spans`` ``[start_s, end_s]``, possibly invalid."""

    spans: tuple[tuple[float, float], ...]


class GroundedQa(Task[GroundedQaSample, GroundedAnswer]):
    """Which option is right, and when can it be seen?"""

    name = "grounded_qa"
    Sample = GroundedQaSample
    form = ReplyForm((Tag("answer", "LETTER"), Tag("glue", "[(START, END), ...]")))
    template = "{subtitles}{question}\n{options}\nGive the seconds that show it too. {form}"
    components = ("iou", "accuracy")
    metric_protocols = (OFFICIAL, PAPER)
    question_form = QuestionForm("Which", "Question | one | another | …", command="/which", needs="options")
    names_spans = True
    span_reward: SpanReward = IOU

    def with_reward(self, reward: SpanReward) -> Self:
        """A copy of this task whose evidence earns ``reward`` (``evidence.span_reward``)."""
        return self._changed(span_reward=reward, components=(reward, "accuracy"))

    def fields(self, sample: GroundedQaSample) -> dict[str, str]:
        """The template fields ``question``, ``options`` and ``subtitles`` (may be empty)."""
        return choice_fields(sample)

    def problems(self, sample: GroundedQaSample) -> list[str]:
        """An answer that is not among the options; missing, reversed or non-finite evidence."""
        return choice_problems(sample) + with_span_problems(sample, sample.spans, self.span_reward)

    def parse(
        self, reply: str, think: bool = False, strict: bool = True, sample: GroundedQaSample | None = None
    ) -> GroundedAnswer | None:
        """Option and evidence; lenient parsing accepts one without the other."""
        answer, glue = (self.form.read(reply, tag.name, think, strict) for tag in self.form.tags)
        option = parse_option(answer or "", () if sample is None else sample.options, strict)
        spans = parse_spans(glue or "") or ()
        complete = option is not None and bool(spans)
        if complete or (not strict and (option is not None or spans)):
            return GroundedAnswer(option, spans)
        return None

    def write(self, answer: GroundedAnswer) -> dict[str, str]:
        """The option's letter, and a list of pairs of seconds."""
        return {"answer": "" if answer.option is None else letter(answer.option), "glue": write_spans(answer.spans)}

    def truth(self, sample: GroundedQaSample) -> GroundedAnswer:
        """The right option and all its evidence, rounded to milliseconds."""
        return GroundedAnswer(sample.answer, tuple(rounded_spans(sample.spans)))

    def reward_components(self, answer: GroundedAnswer, sample: GroundedQaSample) -> Rewards:
        """``iou`` (equation 4) of the merged sets of spans, or its stand-in, and ``accuracy`` (equation 5)."""
        return {
            self.span_reward: span_reward(answer.spans, rounded_spans(sample.spans), self.span_reward, sample),
            "accuracy": float(answer.option == sample.answer),
        }

    def item_metrics(
        self,
        graded: Sequence[Graded[GroundedQaSample, GroundedAnswer]],
        protocol: str,
        judge: Judge | None = None,
    ) -> list[dict[str, float] | None]:
        """Overlap with the evidence, and whether the option is right; None if the sample has no evidence spans."""
        score = _paper_metrics if protocol == PAPER else _official_metrics
        rows: list[dict[str, float] | None] = []
        for sample, _, answer in graded:
            row = score(answer or GroundedAnswer(None, ()), raw_spans(sample.spans), sample.answer)
            rows.append(row if sample.spans else None)
        return with_phrases(rows, graded, [item.answer and item.answer.option for item in graded], self.form)

    def baselines(
        self, samples: Sequence[GroundedQaSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[GroundedAnswer]]:
        """The video-blind options of multiple choice, each with the whole video as evidence."""
        whole = whole_videos(durations_s)
        if whole is None:
            return {}
        return {
            f"{name} + whole video": [GroundedAnswer(o, (span,)) for o, span in zip(options, whole, strict=True)]
            for name, options in choice_baselines(samples).items()
        }

    def random_baselines(
        self, samples: Sequence[GroundedQaSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[list[GroundedAnswer]]]:
        """Each of the options, with the whole video as evidence."""
        whole = whole_videos(durations_s)
        if whole is None:
            return {}
        return {
            "random + whole video": [
                [GroundedAnswer(option, (span,)) for option in range(len(sample.options))]
                for sample, span in zip(samples, whole, strict=True)
            ]
        }

    def from_question(self, question: Question, video: Video) -> GroundedQaSample:
        """Which of the question's options is right?"""
        if len(question.options) < 2:
            raise InputError("a choice needs two options at least")
        return self._without_truth(video, question=question.text, options=question.options, answer=0, spans=())

    def question(self, sample: GroundedQaSample) -> str:
        """The ``question``."""
        return sample.question

    def evidence(self, answer: GroundedAnswer) -> Evidence:
        """The spans that the answer names."""
        return Evidence(spans=answer.spans)

    def display_answer(self, answer: GroundedAnswer, sample: GroundedQaSample) -> str | None:
        """The option's text."""
        return None if answer.option is None else sample.options[answer.option]

    def display_truth(self, sample: GroundedQaSample) -> str:
        """The right option's text."""
        return right_option(sample)


def _official_metrics(answer: GroundedAnswer, truth: Sequence[Span], right: int) -> dict[str, float]:
    spans = answer.spans[:1]
    iou = max((temporal_iou(span, true) for span in spans for true in truth), default=0.0)
    iop = max((temporal_iop(span, true) for span in spans for true in truth), default=0.0)
    correct = answer.option == right
    return {
        "mIoU": iou,
        **{f"IoU@{t}": float(iou >= t) for t in THRESHOLDS},
        "mIoP": iop,
        **{f"IoP@{t}": float(iop >= t) for t in THRESHOLDS},
        "Acc@QA": float(correct),
        "Acc@GQA": float(correct and iop >= GROUNDED_IOP),
    }


def _paper_metrics(answer: GroundedAnswer, truth: Sequence[Span], right: int) -> dict[str, float]:
    return {"mIoU": span_set_iou(answer.spans, truth), "accuracy": float(answer.option == right)}
