"""Captioning: describe the video (paper, section 3.3; FIBER-1k for training, DREAM-1K for evaluation).

Reply: ``<answer>…</answer>``, free text.
Reward components: ``format`` (equation 3) and ``event_recall`` (equation 6): the share of the reference's events
that a judge finds in the caption. Recall pays for saying more; ``with_reward`` puts ``event_f1`` in its place, the
harmonic mean of recall and precision. All captions are judged in one call, so that a judge can batch them.
Metrics, as DREAM-1K's: event_recall; event_precision, the share of the caption's own events that the reference
entails; both as means over the subsets (``meta.subset``) of the means within them; and the F1 of these two means.
An empty list of events scores 1. A caption that could not be judged is left out and counted as such; it never
scores 0.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from timesight.tasks.base import Graded, Task
from timesight.tasks.form import ReplyForm, Tag
from timesight.types import Judge, Rewards, Sample

LOGGER = logging.getLogger("timesight")
QUESTION = "Describe what happens in this video."
MAX_CHARS = 8000
RECALL, PRECISION, F1 = "event_recall", "event_precision", "event_f1"
CaptionReward = Literal["event_recall", "event_f1"]


class CaptioningSample(Sample):
    """A reference ``caption``. The judge extracts its ``events`` if they are None.

    ``question`` replaces the default one.
    """

    caption: str
    events: tuple[str, ...] | None = None
    question: str | None = None


class Captioning(Task[CaptioningSample, str]):
    """What happens in the video?"""

    name = "captioning"
    Sample = CaptioningSample
    form = ReplyForm((Tag("answer", "DESCRIPTION"),))
    template = "{question} {form}"
    components: tuple[str, ...] = (RECALL,)
    needs_judge = True
    averages_over = "subset"

    def with_reward(self, reward: CaptionReward) -> Self:
        """A copy of this task whose captions earn ``reward``.

        Args:
            reward: ``event_recall``, as in the paper, or ``event_f1``, for which the judge lists each caption's own
                events too: twice the questions.
        """
        return self._changed(components=(reward,))

    def fields(self, sample: CaptioningSample) -> dict[str, str]:
        """The template field ``question``."""
        return {"question": (sample.question or QUESTION).strip()}

    def problems(self, sample: CaptioningSample) -> list[str]:
        """A reference caption that is empty, or that no reply could repeat."""
        return [] if self.parse(self.form.render({"answer": sample.caption})) else ["no usable caption"]

    def parse(
        self, reply: str, think: bool = False, strict: bool = True, sample: CaptioningSample | None = None
    ) -> str | None:
        """The caption."""
        content = self.form.read(reply, "answer", think, strict) or ""
        caption = content.strip().encode("utf-8", "replace").decode()  # a lone surrogate cannot be encoded
        return caption if any(map(str.isalnum, caption)) and len(caption) <= MAX_CHARS else None

    def write(self, answer: str) -> dict[str, str]:
        """The caption."""
        return {"answer": answer}

    def truth(self, sample: CaptioningSample) -> str:
        """The reference caption."""
        return sample.caption.strip()

    def batch_reward_components(
        self, answers: Sequence[str], samples: Sequence[CaptioningSample], judge: Judge | None
    ) -> list[Rewards]:
        """``event_recall`` (equation 6), or ``event_f1``.

        None if the judge gives no verdict, or finds no event in the reference.
        """
        listed = _reference_events(samples, judge)
        events = [mine or sample.events for mine, sample in zip(listed, samples, strict=True)]
        recalls = _shares(answers, events, judge)
        if self.components == (RECALL,):
            return [{RECALL: recall} for recall in recalls]
        precisions = _precisions(samples, _events(answers, judge), judge)
        return [{F1: _f1(*both)} for both in zip(recalls, precisions, strict=True)]

    def item_metrics(
        self,
        graded: Sequence[Graded[CaptioningSample, str]],
        protocol: str,
        judge: Judge | None = None,
    ) -> list[dict[str, float] | None]:
        """Recall and precision of each caption, in lower case; None where the judge gives no verdict.

        As in DREAM-1K's script, a caption without events has recall 0 and precision 1, and a reference without
        events gives recall 1.
        """
        asked = [n for n, item in enumerate(graded) if item.answer is not None and self.usable(item.sample)]
        captions = [str(graded[n].answer).lower() for n in asked]
        samples = [graded[n].sample for n in asked]
        events = _events(captions, judge)
        told = [None if mine == () else text for text, mine in zip(captions, events, strict=True)]
        recalls = _shares(told, _reference_events(samples, judge), judge)
        precisions = _precisions(samples, events, judge)
        judged: dict[int, dict[str, float] | None] = {
            n: None if recall is None or precision is None else {RECALL: recall, PRECISION: precision}
            for n, recall, precision in zip(asked, recalls, precisions, strict=True)
        }
        wrong = {RECALL: 0.0, PRECISION: 0.0}
        return [judged.get(n, wrong if self.usable(item.sample) else None) for n, item in enumerate(graded)]

    def derived_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
        """The F1 of mean recall and mean precision."""
        return {F1: _f1(means[RECALL], means[PRECISION]) or 0.0}

    def question(self, sample: CaptioningSample) -> str:
        """The ``question``; empty for the default one."""
        return sample.question or ""

    def display_truth(self, sample: CaptioningSample) -> str:
        """The reference caption."""
        return sample.caption


def _reference_events(samples: Sequence[CaptioningSample], judge: Judge | None) -> list[tuple[str, ...] | None]:
    """The events of each reference: the sample's own, or those that the judge lists."""
    references = list(dict.fromkeys(sample.caption.lower() for sample in samples if sample.events is None))
    known = dict(zip(references, _events(references, judge), strict=True))
    return [s.events if s.events is not None else known[s.caption.lower()] for s in samples]


def _precisions(
    samples: Sequence[CaptioningSample], events: Sequence[tuple[str, ...] | None], judge: Judge | None
) -> list[float | None]:
    """The share of each caption's ``events`` that the reference entails; None where the judge gives no verdict."""
    return _shares([sample.caption.lower() for sample in samples], events, judge)


def _f1(recall: float | None, precision: float | None) -> float | None:
    """The harmonic mean; 0 where both are 0, None where one is unknown."""
    if recall is None or precision is None:
        return None
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def _shares(
    texts: Sequence[str | None], events: Sequence[tuple[str, ...] | None], judge: Judge | None
) -> list[float | None]:
    """The share of ``events`` that each text entails.

    1 without events; else 0 for a text that is None, which has no events; None where the judge gives no verdict.
    """
    shares: list[float | None] = [None if mine is None else float(not mine) for mine in events]
    asked = [n for n, mine in enumerate(events) if mine and texts[n] is not None]
    verdicts = _answers(judge, "entailed", [texts[n] for n in asked], [events[n] for n in asked])
    for n, verdict in zip(asked, verdicts, strict=True):
        complete = verdict is not None and len(verdict) == len(events[n] or ())
        shares[n] = sum(verdict) / len(verdict) if complete else None
    return shares


def _events(captions: Sequence[str], judge: Judge | None) -> list[tuple[str, ...] | None]:
    return _answers(judge, "events", captions)


def _answers(judge: Judge | None, question: str, *lists: Sequence[Any]) -> list[Any]:
    """The judge's answers, one for each entry of ``lists``; None for each if there is no judge or it fails."""
    nothing = [None] * len(lists[0])
    if judge is None or not nothing:
        return nothing
    try:
        answers = list(getattr(judge, question)(*lists))
    except Exception as error:
        LOGGER.warning("judge %s: %r; %d captions stay unscored", type(judge).__name__, error, len(nothing))
        return nothing
    return answers if len(answers) == len(nothing) else nothing
