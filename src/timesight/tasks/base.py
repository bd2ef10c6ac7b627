"""The base class of tasks. A task is one file: sample schema, prompt, parser, rewards, gold reply, metrics."""

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
STRICT, LENIENT = "strict", "lenient"
FORMAT = "format"  # the reward component that every task has
THOUGHT = "I go through the video and note what can be seen when."


class Graded(NamedTuple, Generic[S, A]):
    """A sample, a reply to it, and the answer parsed from the reply: None if the reply is unparsable."""

    sample: S
    reply: str
    answer: A | None


@dataclass(frozen=True)
class QuestionForm:
    """How users ask questions of a task, in the terminal and on the web page.

    Args:
        label: Text of the button on the web page.
        hint: Placeholder of the input field on the web page.
        command: Command in the terminal, such as ``/when``; None for questions that are typed without a command.
        needs: What a question needs: its text only, answer options as well, or the object's first box as well.
    """

    label: str
    hint: str
    command: str | None = None
    needs: Literal["text", "options", "box"] = "text"


class Task(ABC, Generic[S, A]):
    """Base class of tasks: prompt, parser, rewards, gold reply and metrics of one kind of sample.

    Tasks are immutable, so one instance can be shared; the ``with_`` methods return changed copies.

    Attributes:
        name: The value of ``task`` in a sample.
        Sample: Schema of the task's samples.
        form: Tags of a reply.
        template: Text of the prompt, with fields in braces: ``{form}`` and those that ``fields`` returns.
        components: Names of the reward components besides ``format``.
        metric_protocols: Ways to compute the metrics, the default first. Where the paper and the benchmark agree
            there is one, and both ``official`` and ``paper`` give its metrics.
        averages_over: Key of ``meta`` whose values have equal weight in the mean metrics, however many items each
            has. None: items are weighted by ``item_weight``.
        question_form: How users ask questions of this task; None if they cannot.
        names_spans: Whether replies name spans, to these samples or to those that ``with_evidence`` returns.
        needs_judge: Whether rewards and metrics need a judge.
        reward_protocol: How rewards are computed, ``official`` or ``paper``.
        reward_parsing: How replies are parsed for rewards, ``strict`` or, as for evaluation, ``lenient``.
    """

    name: ClassVar[str]
    Sample: type[S]
    form: ClassVar[ReplyForm]
    template: ClassVar[str]
    components: tuple[str, ...]
    metric_protocols: ClassVar[tuple[str, ...]] = (OFFICIAL,)
    averages_over: ClassVar[str | None] = None
    question_form: ClassVar[QuestionForm | None] = None
    names_spans: ClassVar[bool] = False
    needs_judge: ClassVar[bool] = False
    reward_protocol: str = OFFICIAL
    reward_parsing: str = STRICT
    _templates: Mapping[bool, str] | None = None  # by think mode, where the template was replaced

    @property
    def component_names(self) -> tuple[str, ...]:
        """All reward components, ``format`` first."""
        return (FORMAT, *self.components)

    # Prompt

    def with_template(self, template: str, think: str | None = None) -> Self:
        """A copy of this task with another prompt.

        Args:
            template: Text with fields in braces.
            think: Text for think mode. None takes ``template`` if it has ``{form}``; otherwise the copy has no
                prompt for think mode.

        Raises:
            InputError: If a text has an unknown field or unmatched braces, or never shows a tag of the reply.
        """
        texts = {False: check_template(self, template, think=False)}
        if think is not None or FORM in field_names(template):
            texts[True] = check_template(self, think or template, think=True)
        return self._changed(_templates=texts)

    def with_reward_protocol(self, protocol: str) -> Self:
        """A copy of this task that computes rewards by another protocol.

        Args:
            protocol: ``official`` or ``paper``. Of the package's tasks, only object tracking has different rewards.

        Raises:
            InputError: If there is no such protocol.
        """
        if protocol not in (OFFICIAL, PAPER):
            raise InputError(f"no protocol {protocol} of rewards: {OFFICIAL} or {PAPER}")
        return self._changed(reward_protocol=protocol)

    def with_reward_parsing(self, parsing: str) -> Self:
        """A copy of this task that parses replies for rewards in another way; ``format`` stays strict.

        Args:
            parsing: ``strict`` or ``lenient``, which pays for an answer whatever stands around it.

        Raises:
            InputError: If there is no such way.
        """
        if parsing not in (STRICT, LENIENT):
            raise InputError(f"no {parsing} parsing of rewarded replies: {STRICT} or {LENIENT}")
        return self._changed(reward_parsing=parsing)

    def _changed(self, **attributes: Any) -> Self:
        other = copy.copy(self)
        vars(other).update(attributes)
        return other

    def prompt(self, sample: S, think: bool = False) -> list[PromptPart]:
        """The prompt of ``sample``: the video, then the text.

        Args:
            sample: If it has ``segments``, they are shown instead of the whole video, each after its times.
            think: Ask for ``<think>…</think>`` before the answer.

        Raises:
            InputError: If the template was replaced and has no text for think mode.
        """
        template = self.template if self._templates is None else self._templates.get(think)
        if template is None:
            raise InputError(f"prompt of {self.name}: the replaced text has no version for think mode")
        text = template.format_map({FORM: self.form.instruction(think), **self.fields(sample)})
        segments = [Span(*segment) for segment in sample.segments]
        return [*(segment_parts(sample.video, segments) or [VideoPart(sample.video)]), TextPart(text)]

    @abstractmethod
    def fields(self, sample: S) -> dict[str, str]:
        """Values of the template's fields for ``sample``, by name; ``form`` is added to them."""

    def frames(self, sample: S) -> FrameRequest | None:
        """The frames that the task requires of the video; None leaves them to the frame budget."""
        return None

    # Truth

    def problems(self, sample: S) -> list[str]:
        """What is wrong with the ground truth of ``sample``, one text per problem; empty if it can be used."""
        return []

    def usable(self, sample: S) -> bool:
        """Whether replies to ``sample`` can be scored: neither its source nor the task finds a problem."""
        return not (sample.problems or self.problems(sample))

    @abstractmethod
    def truth(self, sample: S) -> A:
        """The right answer of a usable sample, rounded to the precision of a reply."""

    # Replies

    @abstractmethod
    def parse(self, reply: str, think: bool = False, strict: bool = True, sample: S | None = None) -> A | None:
        """Parse the answer in ``reply``.

        Args:
            reply: The whole reply, thoughts included.
            think: Whether a strict reply must begin with ``<think>…</think>``; without it, there must be none.
            strict: True, for rewards: the reply must have exactly the form that the prompt asks for. False, for
                evaluation of models that were not trained on these tags: a reply without tags is parsed as a whole.
            sample: For checks against the sample: how many options or boxes there are, and the options' texts. None
                leaves these checks out.

        Returns:
            The answer; None if the reply is unparsable.
        """

    @abstractmethod
    def write(self, answer: A) -> dict[str, str]:
        """``answer`` as contents of the form's tags, by tag name; ``parse`` reads them back."""

    def render(self, answer: A, thought: str | None = None) -> str:
        """``answer`` as a reply; with a ``thought``, in think mode."""
        return self.form.render(self.write(answer), thought)

    def gold(self, sample: S, think: bool = False) -> str:
        """A reply that earns 1 on every reward component.

        Args:
            think: Begin with a thought: ``meta["thought"]`` of the sample if it can stand in a reply, else a fixed
                sentence.

        Raises:
            InputError: If the sample has no usable ground truth.
        """
        if problems := [*sample.problems, *self.problems(sample)]:
            raise InputError(f"{sample.id}: has no gold reply: {problems[0]}")
        own = self.render(self.truth(sample), str(sample.meta.get("thought", THOUGHT)) if think else None)
        return own if not think or self.form.split_strict(own, think) else self.render(self.truth(sample), THOUGHT)

    # Rewards

    def rewards(
        self, replies: Sequence[str], samples: Sequence[S], think: bool = False, judge: Judge | None = None
    ) -> list[dict[str, float | None]]:
        """Reward components of each reply, by name.

        ``format`` (paper, equation 3) is 1 for a reply that parses strictly. A reply that does not parse, by
        ``reward_parsing``, earns 0 on every component.

        Args:
            replies: N replies.
            samples: The sample of each reply.
            think: Whether the prompts asked for ``<think>…</think>``.
            judge: Scores captions; None leaves the components that need one unscored.

        Returns:
            One row per reply, with values in [0, 1]. None where a component does not apply or could not be judged,
            and throughout for a sample without usable ground truth.

        Raises:
            InputError: If a custom task returns other reward components than ``components`` names, or a value
                outside [0, 1].
        """
        usable = [self.usable(sample) for sample in samples]

        def parsed_by(strict: bool) -> list[A | None]:
            asked = zip(replies, samples, usable, strict=True)
            return [
                self.parse(reply, think, strict=strict, sample=sample) if ok else None
                for reply, sample, ok in asked
            ]

        strictly = parsed_by(strict=True)
        answers = strictly if self.reward_parsing == STRICT else parsed_by(strict=False)
        parsed = [n for n, answer in enumerate(answers) if answer is not None]
        known = [answer for answer in answers if answer is not None]
        earned = self.batch_reward_components(known, [samples[n] for n in parsed], judge)
        rows: list[dict[str, float | None]] = [
            dict.fromkeys(self.component_names, 0.0 if ok else None) for ok in usable
        ]
        for n, components in zip(parsed, earned, strict=True):
            rows[n] = {FORMAT: float(strictly[n] is not None), **self._checked(components)}
        return rows

    def reward(
        self, reply: str, sample: S, think: bool = False, judge: Judge | None = None
    ) -> dict[str, float | None]:
        """``rewards`` of a single reply."""
        return self.rewards([reply], [sample], think, judge)[0]

    def batch_reward_components(
        self, answers: Sequence[A], samples: Sequence[S], judge: Judge | None
    ) -> list[Rewards]:
        """``reward_components`` of each answer; a task with a judge overrides this to judge all in one call.

        Args:
            answers: Parsed answers; replies that do not parse are left out.
            samples: The sample of each answer, all of them usable.
            judge: None if there is none.

        Returns:
            One mapping per answer, as ``reward_components`` returns it.
        """
        return [self.reward_components(answer, sample) for answer, sample in zip(answers, samples, strict=True)]

    def reward_components(self, answer: A, sample: S) -> Rewards:
        """Reward components of a parsed answer, without ``format``.

        Returns:
            A value in [0, 1] for each name in ``components``; None where the component does not apply.
        """
        raise NotImplementedError

    def _checked(self, components: Rewards) -> Rewards:
        if set(components) != set(self.components):
            raise InputError(
                f"task {self.name}: reward_components gives {', '.join(components)}; its components are "
                f"{', '.join(self.components)}"
            )
        if not all(value is None or 0.0 <= value <= 1.0 for value in components.values()):
            raise InputError(
                f"task {self.name}: reward_components gives {dict(components)}; rewards lie between 0 and 1"
            )
        return components

    # Metrics

    def grade(self, sample: S, reply: str, think: bool = False, strict: bool = False) -> Graded[S, A]:
        """``reply`` with its answer, parsed leniently unless ``strict``, as for rewards."""
        return Graded(sample, reply, self.parse(reply, think, strict=strict, sample=sample))

    @abstractmethod
    def item_metrics(
        self, graded: Sequence[Graded[S, A]], protocol: str, judge: Judge | None = None
    ) -> list[dict[str, float] | None]:
        """Metrics of each item, by name.

        Args:
            graded: N items. An unparsable reply (answer None) counts as wrong.
            protocol: One of ``metric_protocols``, or ``official`` or ``paper``.
            judge: Scores captions; None leaves unscored what needs one.

        Returns:
            One row per item; None for an item that could not be judged or that the protocol leaves out, which then
            does not count in the means.
        """

    def item_weight(self, sample: S, protocol: str) -> float:
        """Weight of an item in the mean metrics, unless they are averaged over a key of ``meta``."""
        return 1.0

    def derived_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
        """Metrics computed from the means of others, such as an F1, by name."""
        return {}

    def baselines(self, samples: Sequence[S], durations_s: Sequence[float | None]) -> Mapping[str, list[A]]:
        """Answers of video-blind baselines, which need no model; their metrics are printed next to every result.

        Args:
            samples: N samples.
            durations_s: Length of each sample's video in seconds; None if unknown.

        Returns:
            For each baseline, by name, one answer per sample. A baseline that needs durations is left out if one is
            unknown.
        """
        return {}

    def random_baselines(
        self, samples: Sequence[S], durations_s: Sequence[float | None]
    ) -> Mapping[str, list[list[A]]]:
        """Random answers, whose metrics are reported as their exact expectation.

        Args:
            samples: N samples.
            durations_s: Length of each sample's video in seconds; None if unknown.

        Returns:
            For each baseline, by name, the equally likely answers to each sample.
        """
        return {}

    # Presentation

    def from_question(self, question: Question, video: Video) -> S:
        """A user's question as a sample without ground truth, for tasks with a ``question_form``.

        Raises:
            InputError: If the question lacks what the task needs, such as options or a box.
        """
        raise NotImplementedError

    def _without_truth(self, video: Video, **fields: Any) -> S:
        try:
            return self.Sample.model_validate({"id": "question", "task": self.name, "video": video, **fields})
        except ValidationError as error:
            raise InputError(f"this cannot be asked: {error.errors()[0]['msg']}") from None

    def question(self, sample: S) -> str:
        """The question in words; empty if every sample asks the same."""
        return ""

    def evidence(self, answer: A) -> Evidence:
        """The spans or boxes that ``answer`` names."""
        return Evidence()

    def display_answer(self, answer: A, sample: S) -> Any:
        """``answer`` as shown to users: as text if it has one."""
        return answer

    def display_truth(self, sample: S) -> str:
        """The right answer as text; empty if it consists of spans or boxes only."""
        return ""

    def with_evidence(self, sample: S) -> AnySample:
        """The sample that asks the same question and for its evidence; ``sample`` itself if there is none."""
        return sample
