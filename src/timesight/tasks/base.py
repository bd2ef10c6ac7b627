"""What every task is made of. A task is one file: sample schema, prompt, parser, rewards, gold, metrics."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from string import Formatter
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

from timesight.errors import InputError
from timesight.tasks.form import ReplyForm
from timesight.types import FrameRequest, Judge, Part, Rewards, Sample, TextPart, VideoPart

S = TypeVar("S", bound=Sample)
A = TypeVar("A")
FORM = "form"  # the field of a wording that stands for the form of the reply


class Graded(NamedTuple, Generic[S, A]):
    """A sample, a reply to it, and what the parser made of the reply (None: unparsable)."""

    sample: S
    reply: str
    answer: A | None


class Task(ABC, Generic[S, A]):
    """One task. Nothing about a task changes after it is made, so one instance serves everybody.

    ``wording`` is the text of the prompt, with fields in braces: ``{form}`` and those of ``fields``. ``parts``
    names the reward parts beside ``format``, ``protocols`` the ways metrics are computed (one, where the paper
    and the benchmark agree), and ``protocol`` the way rewards are: ``official`` or ``paper``. ``needs_judge``
    says whether rewards and metrics take a judge.
    """

    name: ClassVar[str]
    Sample: type[S]
    form: ClassVar[ReplyForm]
    wording: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    protocols: ClassVar[tuple[str, ...]] = ("official",)
    needs_judge: ClassVar[bool] = False
    protocol: str = "official"
    _wordings: Mapping[bool, str] | None = None  # by think mode, where the wording was replaced

    def worded(self, answer: str, think: str | None = None) -> Self:
        """This task with another prompt text, or one for each mode. Raises InputError if it cannot do."""
        other = copy.copy(self)
        texts = {False: check_wording(self, answer, think=False)}
        if think is not None or FORM in field_names(answer):
            texts[True] = check_wording(self, think or answer, think=True)
        other._wordings = texts
        return other

    def under(self, protocol: str) -> Self:
        """This task with rewards of ``protocol``, ``official`` or ``paper``. Raises InputError for any other."""
        if protocol not in ("official", "paper"):
            raise InputError(f"no protocol {protocol} of rewards: official or paper")
        other = copy.copy(self)
        other.protocol = protocol
        return other

    def prompt(self, sample: S, think: bool = False) -> list[Part]:
        """What the model is shown and asked; videos come first."""
        wording = self.wording if self._wordings is None else self._wordings.get(think)
        if wording is None:
            raise InputError(f"prompt of {self.name}: the replaced text has no version for think mode")
        text = wording.format_map({FORM: self.form.instruction(think), **self.fields(sample)})
        return [VideoPart(sample.video), TextPart(text)]

    @abstractmethod
    def fields(self, sample: S) -> dict[str, str]:
        """What stands in the braces of ``wording`` for this sample."""

    def frames(self, sample: S) -> FrameRequest | None:
        """What the task itself demands of the video; None leaves it to the recipe's budget."""
        return None

    def problems(self, sample: S) -> list[str]:
        """What is wrong with the sample's truth; empty where it can be used."""
        return []

    def usable(self, sample: S) -> bool:
        """Whether replies to ``sample`` can be scored."""
        return not (sample.problems or self.problems(sample))

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

    @abstractmethod
    def truth(self, sample: S) -> A:
        """The right answer, as precisely as a reply states it."""

    def gold(self, sample: S, think: bool = False) -> str:
        """A reply that earns 1 on every part; its thought is the sample's own (``meta.thought``) if it has one."""
        return self.render(self.truth(sample), str(sample.meta.get("thought", THOUGHT)) if think else None)

    def render(self, answer: A, thought: str | None = None) -> str:
        """``answer`` as a reply, in think mode with ``thought``."""
        return self.form.render(self.write(answer), thought)

    def rewards(
        self, replies: Sequence[str], samples: Sequence[S], think: bool = False, judge: Judge | None = None
    ) -> list[dict[str, float | None]]:
        """Named reward parts of each reply, in [0, 1]; None where a part does not apply or could not be judged.

        ``format`` is always among them. A reply that does not parse earns 0 on every part. Never raises, never NaN.
        """
        return [self.reward(reply, sample, think, judge) for reply, sample in zip(replies, samples, strict=True)]

    def reward(
        self, reply: str, sample: S, think: bool = False, judge: Judge | None = None
    ) -> dict[str, float | None]:
        """``rewards`` of one reply."""
        if not self.usable(sample):
            return dict.fromkeys(("format", *self.parts))
        answer = self.parse(reply, think, sample=sample)
        if answer is None:
            return dict.fromkeys(("format", *self.parts), 0.0)
        return {"format": 1.0, **self.reward_parts(answer, sample)}

    def reward_parts(self, answer: A, sample: S) -> Rewards:
        """What a reply that parses earns beside ``format``: the parts named in ``parts``."""
        raise NotImplementedError

    @abstractmethod
    def item_metrics(
        self, graded: Sequence[Graded[S, A]], protocol: str, judge: Judge | None = None
    ) -> list[dict[str, float] | None]:
        """The metrics of each item; None for one that could not be judged, or that the protocol leaves out."""

    def weight(self, sample: S, protocol: str) -> float:
        """How much an item counts in the means over items."""
        return 1.0

    def metrics(
        self, graded: Sequence[Graded[S, A]], protocol: str = "official", judge: Judge | None = None
    ) -> dict[str, float]:
        """The benchmark's figures over all items; an unparsable reply is wrong and stays in the denominator."""
        items = [Graded(*item) for item in graded]
        return self.summary([item.sample for item in items], self.item_metrics(items, protocol, judge), protocol)

    def summary(
        self, samples: Sequence[S], rows: Sequence[Mapping[str, float] | None], protocol: str = "official"
    ) -> dict[str, float]:
        """The benchmark's figures from each item's own: their weighted mean."""
        pairs = [(row, self.weight(s, protocol)) for s, row in zip(samples, rows, strict=True) if row is not None]
        total = sum(weight for _, weight in pairs)
        names = pairs[0][0] if pairs and total else {}
        return {name: sum(row[name] * weight for row, weight in pairs) / total for name in names}

    def baselines(self, samples: Sequence[S], durations_s: Sequence[float | None]) -> Mapping[str, list[A]]:
        """Answers that need no model, by name, one a sample; printed beside every result."""
        return {}


THOUGHT = "I go through the video and note what can be seen when."


def check_wording(task: Task[S, A], wording: str, think: bool) -> str:
    """``wording``, if it can be the prompt of ``task``.

    Raises InputError where it has an unknown field, or never shows a tag that the reward asks for.
    """
    known = {FORM, *field_names(task.wording)}
    try:
        used = field_names(wording)
    except ValueError as error:
        raise InputError(f"prompt of {task.name}: {error}; write {{{{ and }}}} for braces that are text") from None
    if unknown := sorted(used - known):
        raise InputError(f"prompt of {task.name}: no field {{{unknown[0]}}}; known: {', '.join(sorted(known))}")
    unseen = [tag.name for tag in task.form.asked(think) if FORM not in used and f"<{tag.name}>" not in wording]
    if unseen:
        raise InputError(
            f"prompt of {task.name}: never asks for <{unseen[0]}>, which replies are rewarded for; use {{form}} or "
            "show the tags"
        )
    return wording


def field_names(wording: str) -> set[str]:
    """The fields in braces of ``wording``. Raises ValueError where braces do not match or hold no plain name."""
    names = set()
    for _, name, spec, conversion in Formatter().parse(wording):
        if name is not None:
            if not name.isidentifier() or spec or conversion:
                raise ValueError(f"{{{name}}} is not the plain name of a field")
            names.add(name)
    return names
