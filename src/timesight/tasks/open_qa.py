"""Open questions: answer in words and show the evidence, as in the chat (paper, section 3.3, "Chat with enhanced
Spatio-Temporal Perception").

Reply: ``<answer>the red circle</answer><glue>[(1.5, 4.0)]</glue>``, seconds from the start of the video.
Reward components: ``format`` (equation 3), ``iou`` of the two sets of spans (equation 4), and ``accuracy``: 1 for
the reference's words, apart from case, white space and a full stop at the end. Other words with the same meaning
would need a judge and earn nothing here.
Metrics: mIoU of the merged sets of spans, accuracy, and the share of answers that are right and have IoU >= 0.5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import Field

from timesight.geometry import span_set_iou
from timesight.tasks.base import Graded, QuestionForm, Task
from timesight.tasks.evidence import Pairs, raw_spans, rounded_spans, span_problems, whole_videos, write_spans
from timesight.tasks.form import ReplyForm, Tag
from timesight.tasks.parsing import MAX_CHARS, parse_spans, plain
from timesight.types import Evidence, Judge, Question, Rewards, Sample, Span, Video

GROUNDED_IOU = 0.5  # a right answer counts as grounded from this IoU on


class OpenAnswer(NamedTuple):
    """An answer in words and its evidence; after lenient parsing the spans may be missing."""

    text: str
    spans: tuple[Span, ...]


class OpenQaSample(Sample):
    """A question, its ``answer`` in words, and its evidence: ``spans`` ``[start_s, end_s]``, possibly invalid."""

    question: str
    answer: str = Field(min_length=1, max_length=MAX_CHARS)
    spans: tuple[tuple[float, float], ...]


class OpenQa(Task[OpenQaSample, OpenAnswer]):
    """What is the answer, in words, and when can it be seen?"""

    name = "open_qa"
    Sample = OpenQaSample
    form = ReplyForm((Tag("answer", "WORDS"), Tag("glue", "[(START, END), ...]")))
    template = "{question}\nGive the seconds that show it too. {form}"
    components = ("iou", "accuracy")
    question_form = QuestionForm("Ask", "A question in words")
    names_spans = True

    def fields(self, sample: OpenQaSample) -> dict[str, str]:
        """The template field ``question``."""
        return {"question": sample.question.strip()}

    def problems(self, sample: OpenQaSample) -> list[str]:
        """An answer that cannot stand in a reply; missing, reversed or non-finite evidence."""
        said = self.form.split_strict(self.form.render({"answer": sample.answer, "glue": "[(0, 1)]"}), think=False)
        return ([] if said else ["the answer cannot stand in a reply"]) + span_problems(sample.spans)

    def parse(
        self, reply: str, think: bool = False, strict: bool = True, sample: OpenQaSample | None = None
    ) -> OpenAnswer | None:
        """Words and evidence; lenient parsing accepts words without evidence."""
        answer, glue = ((self.form.read(reply, tag.name, think, strict) or "").strip() for tag in self.form.tags)
        spans = parse_spans(glue) or ()
        if not plain(answer) or len(answer) > MAX_CHARS or (strict and not spans):
            return None
        return OpenAnswer(answer, spans)

    def write(self, answer: OpenAnswer) -> dict[str, str]:
        """The words, and a list of pairs of seconds."""
        return {"answer": answer.text, "glue": write_spans(answer.spans)}

    def truth(self, sample: OpenQaSample) -> OpenAnswer:
        """The reference's words and all its evidence, rounded to milliseconds."""
        return OpenAnswer(sample.answer.strip(), tuple(rounded_spans(sample.spans)))

    def reward_components(self, answer: OpenAnswer, sample: OpenQaSample) -> Rewards:
        """``iou`` (equation 4) of the merged sets of spans; ``accuracy``: 1 for the reference's words, else 0."""
        return {
            "iou": span_set_iou(answer.spans, rounded_spans(sample.spans)),
            "accuracy": float(plain(answer.text) == plain(sample.answer)),
        }

    def item_metrics(
        self, graded: Sequence[Graded[OpenQaSample, OpenAnswer]], protocol: str, judge: Judge | None = None
    ) -> list[dict[str, float] | None]:
        """Overlap with the evidence, and whether the words are the reference's."""
        return [_metrics(answer or OpenAnswer("", ()), sample.answer, sample.spans) for sample, _, answer in graded]

    def baselines(
        self, samples: Sequence[OpenQaSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[OpenAnswer]]:
        """The answer that is right most often on these samples, with the whole video as evidence."""
        whole = whole_videos(durations_s)
        if whole is None or not samples:
            return {}
        most_common = Counter(sample.answer for sample in samples).most_common(1)[0][0]
        return {"most common answer + whole video": [OpenAnswer(most_common, (span,)) for span in whole]}

    def from_question(self, question: Question, video: Video) -> OpenQaSample:
        """What is the answer, in words?"""
        return self._without_truth(video, question=question.text, answer="?", spans=())

    def question(self, sample: OpenQaSample) -> str:
        """The ``question``."""
        return sample.question

    def evidence(self, answer: OpenAnswer) -> Evidence:
        """The spans that the answer names."""
        return Evidence(spans=answer.spans)

    def display_answer(self, answer: OpenAnswer, sample: OpenQaSample) -> str:
        """The words."""
        return answer.text

    def display_truth(self, sample: OpenQaSample) -> str:
        """The reference's words."""
        return sample.answer


def _metrics(answer: OpenAnswer, right: str, truth: Pairs) -> dict[str, float]:
    iou = span_set_iou(answer.spans, raw_spans(truth))
    correct = plain(answer.text) == plain(right)
    return {
        "mIoU": iou,
        "accuracy": float(correct),
        f"accuracy, IoU>={GROUNDED_IOU}": float(correct and iou >= GROUNDED_IOU),
    }
