"""Captioning: describe the video (paper, section 3.3; FIBER-1k for training, DREAM-1K for evaluation).

Reply: ``<answer>…</answer>``, free text.
Reward parts: ``format`` (equation 3) and ``event_recall`` (equation 6): the share of the reference's events that
a judge finds in the caption. Captions are judged all together, so that a judge can work on many at once. Metrics,
as DREAM-1K's: event_recall; event_precision, the share of the caption's own events that the reference entails;
and their F1 of the means. All three are means over the subsets (``meta.subset``) of the means within them. An
empty list of events scores 1. A caption that could not be judged is left out and counted, never 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from timesight.tasks.base import Graded, Task
from timesight.tasks.form import ReplyForm, Tag
from timesight.types import Judge, Sample

QUESTION = "Describe what happens in this video."
MAX_CHARS = 8000
RECALL, PRECISION, F1 = "event_recall", "event_precision", "event_f1"


class CaptioningSample(Sample):
    """What happens? ``events`` of the ``caption`` are extracted by the judge where they are not given."""

    caption: str
    events: tuple[str, ...] | None = None
    question: str | None = None


class Captioning(Task[CaptioningSample, str]):
    """What happens in the video?"""

    name = "captioning"
    Sample = CaptioningSample
    form = ReplyForm((Tag("answer", "DESCRIPTION"),))
    wording = "{question} {form}"
    parts = (RECALL,)
    needs_judge = True

    def fields(self, sample: CaptioningSample) -> dict[str, str]:
        """``question``."""
        return {"question": (sample.question or QUESTION).strip()}

    def problems(self, sample: CaptioningSample) -> list[str]:
        """A reference that says nothing."""
        return [] if sample.caption.strip() else ["no caption"]

    def parse(
        self, reply: str, think: bool = False, strict: bool = True, sample: CaptioningSample | None = None
    ) -> str | None:
        """The caption."""
        content = self.form.read(reply, "answer", think, strict)
        caption = (content or "").strip()
        return caption if any(map(str.isalnum, caption)) and len(caption) <= MAX_CHARS else None

    def write(self, answer: str) -> dict[str, str]:
        """The caption."""
        return {"answer": answer}

    def truth(self, sample: CaptioningSample) -> str:
        """The reference."""
        return sample.caption.strip()

    def rewards(
        self,
        replies: Sequence[str],
        samples: Sequence[CaptioningSample],
        think: bool = False,
        judge: Judge | None = None,
    ) -> list[dict[str, float | None]]:
        """``format`` and ``event_recall`` (None without a judge); both 0 for a reply that does not parse."""
        usable = [self.usable(sample) for sample in samples]
        captions = [self.parse(reply, think) for reply in replies]
        asked = [n for n, caption in enumerate(captions) if caption is not None and usable[n]]
        recalls = _recalls([captions[n] or "" for n in asked], [samples[n] for n in asked], judge)
        recall_of = dict(zip(asked, recalls, strict=True))
        return [
            {"format": None, RECALL: None}
            if not usable[n]
            else {"format": float(captions[n] is not None), RECALL: recall_of.get(n, 0.0)}
            for n in range(len(replies))
        ]

    def reward(
        self, reply: str, sample: CaptioningSample, think: bool = False, judge: Judge | None = None
    ) -> dict[str, float | None]:
        """``rewards`` of one reply."""
        return self.rewards([reply], [sample], think, judge)[0]

    def item_metrics(
        self,
        graded: Sequence[Graded[CaptioningSample, str]],
        protocol: str = "official",
        judge: Judge | None = None,
    ) -> list[dict[str, float] | None]:
        """Recall and precision of each caption, in lower case; None where the judge did not say."""
        asked = [n for n, item in enumerate(graded) if item.answer is not None and self.usable(item.sample)]
        captions = [str(graded[n].answer).lower() for n in asked]
        samples = [graded[n].sample for n in asked]
        recalls = _recalls(captions, samples, judge)
        precisions = _precisions(captions, samples, judge)
        judged: dict[int, dict[str, float] | None] = {
            n: None if recall is None or precision is None else {RECALL: recall, PRECISION: precision}
            for n, recall, precision in zip(asked, recalls, precisions, strict=True)
        }
        wrong = {RECALL: 0.0, PRECISION: 0.0}
        return [judged.get(n, wrong if self.usable(item.sample) else None) for n, item in enumerate(graded)]

    def summary(
        self,
        samples: Sequence[CaptioningSample],
        rows: Sequence[Mapping[str, float] | None],
        protocol: str = "official",
    ) -> dict[str, float]:
        """Means over subsets of the means within them, and the F1 of the two."""
        subsets: dict[str, list[Mapping[str, float]]] = defaultdict(list)
        for sample, row in zip(samples, rows, strict=True):
            if row is not None:
                subsets[str(sample.meta.get("subset", ""))].append(row)
        if not subsets:
            return {}
        recall, precision = (
            sum(sum(row[name] for row in mine) / len(mine) for mine in subsets.values()) / len(subsets)
            for name in (RECALL, PRECISION)
        )
        total = recall + precision
        return {RECALL: recall, PRECISION: precision, F1: 2 * recall * precision / total if total else 0.0}


def _recalls(
    captions: Sequence[str], samples: Sequence[CaptioningSample], judge: Judge | None
) -> list[float | None]:
    """The share of each reference's events that its caption says."""
    if judge is None:
        return [None] * len(captions)
    return _shares(captions, _reference_events(samples, judge), judge)


def _precisions(
    captions: Sequence[str], samples: Sequence[CaptioningSample], judge: Judge | None
) -> list[float | None]:
    """The share of each caption's own events that its reference says."""
    if judge is None:
        return [None] * len(captions)
    return _shares([sample.caption.lower() for sample in samples], judge.events(captions), judge)


def _reference_events(samples: Sequence[CaptioningSample], judge: Judge) -> list[tuple[str, ...] | None]:
    """The events of each sample, the judge's where the sample has none."""
    unknown = list(dict.fromkeys(sample.caption for sample in samples if sample.events is None))
    extracted = dict(zip(unknown, judge.events(unknown), strict=True)) if unknown else {}
    return [sample.events if sample.events is not None else extracted[sample.caption] for sample in samples]


def _shares(texts: Sequence[str], events: Sequence[tuple[str, ...] | None], judge: Judge) -> list[float | None]:
    """The share of ``events`` that each text says; 1 for none at all, None where the judge did not say."""
    asked = [n for n, mine in enumerate(events) if mine]
    verdicts = judge.entailed([texts[n] for n in asked], [events[n] or () for n in asked]) if asked else []
    shares: list[float | None] = [None if mine is None else 1.0 for mine in events]
    for n, verdict in zip(asked, verdicts, strict=True):
        complete = verdict is not None and len(verdict) == len(events[n] or ())
        shares[n] = sum(verdict) / len(verdict) if verdict and complete else None
    return shares
