"""Quality assessment: is the video of low or of high quality? (paper, section 3.3; VidTAB)

Reply: ``<answer>low quality</answer>`` or ``<answer>high quality</answer>``, in any case, with or without a full
stop at the end.
Reward components: ``format`` (equation 3) and ``accuracy`` (equation 5).
Metric: accuracy; unparsable replies are wrong and count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from timesight.tasks.base import Graded, Task
from timesight.tasks.form import ReplyForm, Tag
from timesight.types import Judge, Rewards, Sample

Label = Literal["low quality", "high quality"]
LABELS: tuple[Label, ...] = get_args(Label)
QUESTION = "How good is the quality of this video, of its picture and its making?"


class QualityAssessmentSample(Sample):
    """How good is the video? ``question`` replaces the default one."""

    label: Label
    question: str | None = None


class QualityAssessment(Task[QualityAssessmentSample, Label]):
    """Low or high quality?"""

    name = "quality_assessment"
    Sample = QualityAssessmentSample
    form = ReplyForm((Tag("answer", " or ".join(LABELS)),))
    template = "{question} {form}"
    components = ("accuracy",)

    def fields(self, sample: QualityAssessmentSample) -> dict[str, str]:
        """The template field ``question``."""
        return {"question": (sample.question or QUESTION).strip()}

    def parse(
        self,
        reply: str,
        think: bool = False,
        strict: bool = True,
        sample: QualityAssessmentSample | None = None,
    ) -> Label | None:
        """The label, and nothing else."""
        content = self.form.read(reply, "answer", think, strict)
        said = (content or "").strip().removesuffix(".").casefold()
        return next((label for label in LABELS if label == said), None)

    def write(self, answer: Label) -> dict[str, str]:
        """The label."""
        return {"answer": answer}

    def truth(self, sample: QualityAssessmentSample) -> Label:
        """The right label."""
        return sample.label

    def reward_components(self, answer: Label, sample: QualityAssessmentSample) -> Rewards:
        """``accuracy`` (equation 5): 1 for the right label, else 0."""
        return {"accuracy": float(answer == sample.label)}

    def item_metrics(
        self,
        graded: Sequence[Graded[QualityAssessmentSample, Label]],
        protocol: str,
        judge: Judge | None = None,
    ) -> list[dict[str, float] | None]:
        """Whether the label is right."""
        return [{"accuracy": float(answer == sample.label)} for sample, _, answer in graded]

    def baselines(
        self, samples: Sequence[QualityAssessmentSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[Label]]:
        """The label that is right most often on these samples."""
        if not samples:
            return {}
        return {"majority label": [Counter(s.label for s in samples).most_common(1)[0][0]] * len(samples)}

    def random_baselines(
        self, samples: Sequence[QualityAssessmentSample], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[list[Label]]]:
        """Each of the labels."""
        return {"random": [list(LABELS) for _ in samples]}

    def question(self, sample: QualityAssessmentSample) -> str:
        """The ``question``; empty for the default one."""
        return sample.question or ""

    def display_truth(self, sample: QualityAssessmentSample) -> str:
        """The right label."""
        return sample.label
