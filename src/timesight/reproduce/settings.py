"""The typed settings of the paper's tables: what a row trains and measures, and what is claimed about the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from timesight.evaluation import find_suite
from timesight.infer.answer import MAX_NEW_TOKENS
from timesight.infer.clue import ClueSettings
from timesight.judge import JudgeSettings
from timesight.tasks import TASKS
from timesight.tasks.multiple_choice import task_without_evidence
from timesight.training.recipe import Recipe, load_recipe
from timesight.training.settings import Settings, SftRecipe, SourceSettings, WorldSource
from timesight.video import FrameBudget

MADE_BY = "recipe:"  # before the name of a shipped recipe: the model that it makes


class Measurement(Settings):
    """How the model of a row is measured: on a benchmark, or on videos of the synthetic world.

    Args:
        name: What the table calls it.
        suite: Name of a benchmark.
        split: Of the benchmark; None: its default.
        where: Only the items whose ``meta`` has these values.
        protocol: Of the metrics that the table shows; None: the task's first.
        world: Held-out videos of the synthetic world and one task.
        evidence: True: also ask for the evidence of multiple choice; False: do not ask for the evidence of grounded
            answers; None: as the samples say.
        think: Ask in think mode.
        clue: Answer with Clue-Perception.
        video: The frame budget; None: the model's own.
        max_new_tokens: Limit of a reply.
        strict: A reply that does not have exactly the form asked for is wrong, as for rewards.
        judge: For tasks that need one.
        metrics: What the table shows, with the paper's figure for the row as a fraction, None where it has none.
    """

    name: str
    suite: str | None = None
    split: str | None = None
    where: Mapping[str, str] = Field(default_factory=dict)
    protocol: str | None = None
    world: WorldSource | None = None
    evidence: bool | None = None
    think: bool = False
    clue: ClueSettings | None = None
    video: FrameBudget | None = None
    max_new_tokens: int = Field(default=MAX_NEW_TOKENS, gt=0)
    strict: bool = False
    judge: JudgeSettings | None = None
    metrics: Mapping[str, float | None] = Field(min_length=1)

    @field_validator("suite")
    @classmethod
    def _is_a_suite(cls, suite: str | None) -> str | None:
        if suite is not None:
            find_suite(suite)
        return suite

    @model_validator(mode="after")
    def _one_origin(self) -> Measurement:
        if (self.suite is None) == (self.world is None):
            raise ValueError("set exactly one of suite and world")
        if self.world is not None and len(self.world.tasks) != 1:
            raise ValueError("world.tasks: a measurement is of one task")
        return self

    @model_validator(mode="after")
    def _has_the_protocol(self) -> Measurement:
        known = TASKS[self.task].metric_protocols
        if self.protocol not in (None, *known):
            raise ValueError(f"protocol: {self.task} has {', '.join(known)}")
        return self

    @property
    def task(self) -> str:
        """Name of the task that is measured."""
        return task_without_evidence(self._asked) if self.evidence is False else self._asked

    @property
    def _asked(self) -> str:
        """Name of the samples' task."""
        if self.suite is not None:
            return find_suite(self.suite).task
        assert self.world is not None  # _one_origin
        return self.world.tasks[0]

    @property
    def drops_evidence(self) -> bool:
        """Whether the samples ask for evidence and the measurement does not."""
        return self.evidence is False and self.task != self._asked

    def same_items(self, other: Measurement) -> bool:
        """Whether both are of the same items, so that they can be compared one by one."""
        return all(getattr(self, name) == getattr(other, name) for name in ("suite", "split", "where", "world"))


class TableRow(Settings):
    """A row of a table.

    Args:
        row: What the paper calls it.
        model: Measured as it is; None where the row trains one. ``recipe:NAME`` is the model of the shipped recipe
            NAME, which is trained once for all rows.
        train: Makes the model that is measured; may start from a ``recipe:NAME`` too. Where its ``data.difficulty``
            names a preview, all of its samples are previewed first.
        evaluate: One measurement for each group of columns.
    """

    row: str
    model: str | None = None
    train: Recipe | None = None
    evaluate: tuple[Measurement, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_model(self) -> TableRow:
        if (self.model is None) == (self.train is None):
            raise ValueError("set exactly one of model and train")
        return self

    @model_validator(mode="after")
    def _previews_are_of_grpo(self) -> TableRow:
        if isinstance(self.train, SftRecipe) and self.train.data.difficulty is not None:
            raise ValueError("train.data.difficulty: only rows of kind grpo preview their samples")
        return self

    def measurement(self, name: str) -> Measurement | None:
        """The measurement with that name, if there is one."""
        return next((one for one in self.evaluate if one.name == name), None)

    @property
    def base(self) -> str:
        """The model that is measured, or trained."""
        return self.model or self.train.model  # type: ignore[union-attr] # it has one of them

    @property
    def start(self) -> TableRow | None:
        """A row that trains ``base``, if a recipe makes it."""
        if not self.base.startswith(MADE_BY):
            return None
        return TableRow(row=self.base, train=load_recipe(self.base.removeprefix(MADE_BY)), evaluate=self.evaluate)


class Claim(Settings):
    """A sentence about two rows or more, and what has to come out for it to hold.

    Args:
        says: The sentence.
        better: File name of a row.
        than: File names of the rows that it is compared with; the claim is about all of them.
        above: Video-blind baselines that it is compared with, too, such as ``repeat the given box``.
        figures: Measurements and metrics, such as ``Charades-STA/mIoU``; the claim is about all of them.
        margin: 0: ``better`` has to be better. More: it may be worse by less than this ("does not harm").
        alike: ``better`` may not be better by more than ``margin`` either ("hardly matters").
        ours: The paper does not say so.
    """

    says: str
    better: str
    than: tuple[str, ...] = ()
    above: tuple[str, ...] = ()
    figures: tuple[str, ...] = Field(min_length=1)
    margin: float = Field(default=0.0, ge=0)
    alike: bool = False
    ours: bool = False

    @model_validator(mode="after")
    def _compares(self) -> Claim:
        if not self.than and not self.above:
            raise ValueError("say with than or above what better is compared with")
        if self.alike and not self.margin:
            raise ValueError("alike needs a margin: how much is hardly any difference?")
        return self


class TableSettings(Settings):
    """A table: its rows in their order, each a file next to this one, and what is claimed about them."""

    title: str
    rows: tuple[str, ...] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()


def with_sources(recipe: Recipe, change: Callable[[SourceSettings], Mapping[str, Any]]) -> Recipe:
    """``recipe`` with other settings of its sources of samples; the phases of its curriculum still name them."""
    data = recipe.data
    if not data.sources:
        return recipe.model_copy(update={"data": data.model_copy(update=change(data))})
    sources = tuple(source.model_copy(update=change(source)) for source in data.sources)
    changes: dict[str, Any] = {"sources": sources}
    if data.curriculum is not None and data.curriculum.phases:
        renamed = {before.key: after.key for before, after in zip(data.sources, sources, strict=True)}
        phases = tuple(
            phase.model_copy(update={"weights": {renamed[name]: weight for name, weight in phase.weights.items()}})
            for phase in data.curriculum.phases
        )
        changes["curriculum"] = data.curriculum.model_copy(update={"phases": phases})
    return recipe.model_copy(update={"data": data.model_copy(update=changes)})
