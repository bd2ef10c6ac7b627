"""What every task is made of. A task is one file: sample schema, prompt, parser, rewards, gold, metrics."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar

from pydantic import ValidationError

from timesight.errors import InputError
from timesight.tasks.form import ReplyForm
from timesight.tasks.template import FORM, check_template, field_names
from timesight.types import (
    Evidence,
    FrameRequest,
    Judge,
    PromptPart,
    Question,
    Rewards,
    Sample,
    Span,
    TextPart,
    Video,
    VideoPart,
    segment_parts,
)

S = TypeVar("S", bound=Sample)
A = TypeVar("A")
AnySample = Sample  # inside a task, Sample is its own schema
OFFICIAL, PAPER = "official", "paper"
FORMAT = "format"  # the reward component that every task has
THOUGHT = "I go through the video and note what can be seen when."


class Graded(NamedTuple, Generic[S, A]):
    """A sample, a reply to it, and what the parser made of the reply (None: unparsable)."""

    sample: S
    reply: str
    answer: A | None


@dataclass(frozen=True)
class QuestionForm:
    """How users ask questions of a task, in the terminal and on the web page.

    Args:
        label: The button's text.
        hint: What to type.
        command: Of the terminal; None for plain text.
        needs: What a question has besides its text.
    """

    label: str
    hint: str
    command: str | None = None
    needs: Literal["text", "options", "box"] = "text"


class Task(ABC, Generic[S, A]):
    """One task. Nothing about a task changes after it is made, so one instance serves everybody.

    ``template`` is the text of the prompt, with fields in braces: ``{form}`` and those of ``fields``.
    ``components`` names the reward components besides ``format``. ``metric_protocols`` names the ways metrics
    are computed; where the paper and the benchmark agree there is one, under which both names give the same.
    ``reward_protocol`` is the way rewards are, ``official`` or ``paper``. ``needs_judge`` says whether rewards
    and metrics take a judge.
    """

    name: ClassVar[str]
    Sample: type[S]
    form: ClassVar[ReplyForm]
    template: ClassVar[str]
    components: ClassVar[tuple[str, ...]]
    metric_protocols: ClassVar[tuple[str, ...]] = (OFFICIAL,)
    averages_over: ClassVar[str | None] = None  # a key of meta whose values count alike in the means
    question_form: ClassVar[QuestionForm | None] = None  # how users ask; None: they cannot
    names_spans: ClassVar[bool] = False  # whether replies, or those with_evidence asks for, name spans
    needs_judge: ClassVar[bool] = False
    reward_protocol: str = OFFICIAL
    _templates: Mapping[bool, str] | None = None  # by think mode, where the template was replaced

    @property
    def component_names(self) -> tuple[str, ...]:
        """All reward components, ``format`` first."""
        return (FORMAT, *self.components)

    # Prompt

    def with_template(self, template: str, think: str | None = None) -> Self:
        """This task with another prompt, ``think`` being the one for think mode if that is not the same.

        Raises InputError for a text that cannot be one.
        """
        texts = {False: check_template(self, template, think=False)}
        if think is not None or FORM in field_names(template):
            texts[True] = check_template(self, think or template, think=True)
        other = copy.copy(self)
        other._templates = texts
        return other

    def with_reward_protocol(self, protocol: str) -> Self:
        """This task with rewards of ``protocol``, ``official`` or ``paper``. Raises InputError for any other."""
        if protocol not in (OFFICIAL, PAPER):
            raise InputError(f"no protocol {protocol} of rewards: {OFFICIAL} or {PAPER}")
        other = copy.copy(self)
        other.reward_protocol = protocol
        return other

    def prompt(self, sample: S, think: bool = False) -> list[PromptPart]:
        """What the model is shown and asked; the video comes first, or its ``segments``, each after its times."""
        template = self.template if self._templates is None else self._templates.get(think)
        if template is None:
            raise InputError(f"prompt of {self.name}: the replaced text has no version for think mode")
        text = template.format_map({FORM: self.form.instruction(think), **self.fields(sample)})
        segments = [Span(*segment) for segment in sample.segments]
        return [*(segment_parts(sample.video, segments) or [VideoPart(sample.video)]), TextPart(text)]

    @abstractmethod
    def fields(self, sample: S) -> dict[str, str]:
        """What stands in the braces of ``template`` for this sample."""

    def frames(self, sample: S) -> FrameRequest | None:
        """What the task itself demands of the video; None leaves it to the recipe's budget."""
        return None

    # Truth

    def problems(self, sample: S) -> list[str]:
        """What is wrong with the sample's truth; empty where it can be used."""
        return []

    def usable(self, sample: S) -> bool:
        """Whether replies to ``sample`` can be scored."""
        return not (sample.problems or self.problems(sample))

    @abstractmethod
    def truth(self, sample: S) -> A:
        """The right answer, as precisely as a reply states it."""

    # Replies

    @abstractmethod
    def parse(self, reply: str, think: bool = False, strict: bool = True, sample: S | None = None) -> A | None:
        """The answer in ``reply``, or None.

        Strict, for rewards: exactly the form the prompt asks for. Not strict, for evaluating models that
        were not trained on our tags: a reply without tags is parsed as a whole. ``sample`` allows for what only it
        can tell: how many options or boxes there are, and what an option says.
        """

    @abstractmethod
    def write(self, answer: A) -> dict[str, str]:
        """``answer`` as the contents of the form's tags; what ``parse`` reads back."""

    def render(self, answer: A, thought: str | None = None) -> str:
        """``answer`` as a reply, in think mode with ``thought``."""
        return self.form.render(self.write(answer), thought)

    def gold(self, sample: S, think: bool = False) -> str:
        """A reply that earns 1 on every part; its thought is the sample's own (``meta.thought``) if that will do.

        Raises InputError for a sample without usable truth.
        """
        if problems := [*sample.problems, *self.problems(sample)]:
            raise InputError(f"{sample.id}: has no gold reply: {problems[0]}")
        own = self.render(self.truth(sample), str(sample.meta.get("thought", THOUGHT)) if think else None)
        return own if not think or self.form.split_strict(own, think) else self.render(self.truth(sample), THOUGHT)

    # Rewards

    def rewards(
        self, replies: Sequence[str], samples: Sequence[S], think: bool = False, judge: Judge | None = None
    ) -> list[dict[str, float | None]]:
        """Named reward components of each reply, in [0, 1]; None where a part does not apply or could not be
        judged.

        A reply that does not parse earns 0 on every part, one to a sample without usable truth None. Raises
        InputError for a task of the user whose ``reward_components`` does not keep to this.
        """
        usable = [self.usable(sample) for sample in samples]
        answers = [
            self.parse(reply, think, sample=sample) if ok else None
            for reply, sample, ok in zip(replies, samples, usable, strict=True)
        ]
        parsed = [n for n, answer in enumerate(answers) if answer is not None]
        known = [answer for answer in answers if answer is not None]
        earned = self.batch_reward_components(known, [samples[n] for n in parsed], judge)
        rows: list[dict[str, float | None]] = [
            dict.fromkeys(self.component_names, 0.0 if ok else None) for ok in usable
        ]
        for n, parts in zip(parsed, earned, strict=True):
            rows[n] = {FORMAT: 1.0, **self._checked(parts)}
        return rows

    def reward(
        self, reply: str, sample: S, think: bool = False, judge: Judge | None = None
    ) -> dict[str, float | None]:
        """``rewards`` of one reply."""
        return self.rewards([reply], [sample], think, judge)[0]

    def batch_reward_components(
        self, answers: Sequence[A], samples: Sequence[S], judge: Judge | None
    ) -> list[Rewards]:
        """``reward_components`` of each answer; a task with a judge overrides it, to ask about all at once."""
        return [self.reward_components(answer, sample) for answer, sample in zip(answers, samples, strict=True)]

    def reward_components(self, answer: A, sample: S) -> Rewards:
        """What a reply that parses earns next to ``format``: those named in ``components``."""
        raise NotImplementedError

    def _checked(self, parts: Rewards) -> Rewards:
        if set(parts) != set(self.components):
            raise InputError(
                f"task {self.name}: reward_components gives {', '.join(parts)}; components says {self.components}"
            )
        if not all(value is None or 0.0 <= value <= 1.0 for value in parts.values()):
            raise InputError(
                f"task {self.name}: reward_components gives {dict(parts)}; rewards lie between 0 and 1"
            )
        return parts

    # Metrics

    def grade(self, sample: S, reply: str, think: bool = False) -> Graded[S, A]:
        """``reply`` read as evaluation reads it: not strictly."""
        return Graded(sample, reply, self.parse(reply, think, strict=False, sample=sample))

    @abstractmethod
    def item_metrics(
        self, graded: Sequence[Graded[S, A]], protocol: str, judge: Judge | None = None
    ) -> list[dict[str, float] | None]:
        """The metrics of each item; None for one that could not be judged, or that the protocol leaves out."""

    def item_weight(self, sample: S, protocol: str) -> float:
        """How much an item counts in the means, unless a benchmark says otherwise."""
        return 1.0

    def derived_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
        """Metrics that are made of the means of others."""
        return {}

    def baselines(self, samples: Sequence[S], durations_s: Sequence[float | None]) -> Mapping[str, list[A]]:
        """Answers that need no model, by name, one a sample; printed next to every result.

        A baseline that needs a duration is left out where one is not known.
        """
        return {}

    def random_baselines(
        self, samples: Sequence[S], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[list[A]]]:
        """Random answers, by name: for each sample those that are drawn alike often."""
        return {}

    # Presentation

    def from_question(self, question: Question, video: Video) -> S:
        """A user's question as a sample without truth, for tasks with a ``question_form``.

        Raises:
            InputError: If something is missing.
        """
        raise NotImplementedError

    def _without_truth(self, video: Video, **fields: Any) -> S:
        try:
            return self.Sample.model_validate({"id": "question", "task": self.name, "video": video, **fields})
        except ValidationError as error:
            raise InputError(f"this cannot be asked: {error.errors()[0]['msg']}") from None

    def question(self, sample: S) -> str:
        """What is asked, in words; empty where every sample asks the same."""
        return ""

    def evidence(self, answer: A) -> Evidence:
        """What ``answer`` rests on."""
        return Evidence()

    def display_answer(self, answer: A, sample: S) -> Any:
        """``answer`` as users get it: a text where it is one."""
        return answer

    def display_truth(self, sample: S) -> str:
        """The truth in words; empty where it is in the evidence."""
        return ""

    def with_evidence(self, sample: S) -> AnySample:
        """The sample that asks the same and for what shows it; ``sample`` itself where there is none."""
        return sample
