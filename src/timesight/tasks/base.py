"""What every task is made of. A task is one file: sample schema, prompt, parser, rewards, metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar

from timesight.tasks.form import ReplyForm
from timesight.types import FrameRequest, Judge, Part, Sample

S = TypeVar("S", bound=Sample)
A = TypeVar("A")


class Graded(NamedTuple, Generic[S, A]):
    """A sample, a reply to it, and what the parser made of the reply (None: unparsable)."""

    sample: S
    reply: str
    answer: A | None


class Task(ABC, Generic[S, A]):
    """One task; stateless, so one instance serves everybody."""

    name: ClassVar[str]
    form: ClassVar[ReplyForm]
    protocols: ClassVar[tuple[str, ...]] = ("official",)
    Sample: type[S]

    @abstractmethod
    def prompt(self, sample: S, think: bool = False) -> list[Part]:
        """What the model is shown and asked; videos come first."""

    def frames(self, sample: S) -> FrameRequest | None:
        """What the task itself demands of the video; None leaves it to the recipe's budget."""
        return None

    def problems(self, sample: S) -> list[str]:
        """What is wrong with the sample's truth; empty where it can be used."""
        return []

    @abstractmethod
    def parse(self, reply: str, think: bool = False, strict: bool = True) -> A | None:
        """The answer in ``reply``, or None.

        Strict, for rewards: exactly the form the prompt asks for. Not strict, for evaluating models that
        were not trained on our tags: a reply without tags is parsed as a whole.
        """

    def rewards(
        self, replies: Sequence[str], samples: Sequence[S], think: bool = False, judge: Judge | None = None
    ) -> list[dict[str, float | None]]:
        """Named reward parts of each reply, in [0, 1]; None where a part does not apply or was not judged."""
        return [self.reward(reply, sample, think, judge) for reply, sample in zip(replies, samples, strict=True)]

    @abstractmethod
    def reward(
        self, reply: str, sample: S, think: bool = False, judge: Judge | None = None
    ) -> dict[str, float | None]:
        """Named reward parts of one reply, ``format`` among them; never raises, never NaN."""

    @abstractmethod
    def gold(self, sample: S, think: bool = False) -> str:
        """A reply that earns 1 on every part."""

    @abstractmethod
    def item_metrics(self, graded: Graded[S, A], protocol: str) -> dict[str, float]:
        """The metrics of one item; a mean over items is the benchmark's figure."""

    def metrics(self, graded: Sequence[Graded[S, A]], protocol: str = "official") -> dict[str, float]:
        """The benchmark's figures over all items; an unparsable reply is wrong and stays in the denominator."""
        rows = [self.item_metrics(Graded(*item), protocol) for item in graded]
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} if rows else {}

    def baselines(self, samples: Sequence[S], durations_s: Sequence[float | None]) -> Mapping[str, list[A]]:
        """Answers that need no model, by name, one a sample; printed beside every result."""
        return {}
