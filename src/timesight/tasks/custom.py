"""Custom tasks and prompt templates."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from timesight.errors import InputError
from timesight.tasks import TASKS, TaskRegistry
from timesight.tasks.base import OFFICIAL, STRICT, Task
from timesight.tasks.captioning import Captioning, CaptionReward
from timesight.tasks.evidence import IOU, SpanReward
from timesight.tasks.grounded_qa import GroundedQa
from timesight.tasks.temporal_grounding import TemporalGrounding

T = TypeVar("T", bound=Task[Any, Any])


class PromptTemplates(BaseModel):
    """Templates for answer mode and think mode; without ``think``, an ``answer`` with ``{form}`` serves both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer: str
    think: str | None = None


class TaskSettings(BaseModel):
    """What a recipe changes about the tasks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: tuple[Path, ...] = ()  # Python files with a list TASKS; known names are replaced
    prompts: Mapping[str, str | PromptTemplates] = Field(default_factory=dict)  # by task, in place of the default
    reward_protocol: Literal["official", "paper"] = "official"  # for paper, the given box of a track earns too
    reward_parsing: Literal["strict", "lenient"] = "strict"  # how rewards read replies; evaluation is lenient
    caption_reward: CaptionReward = "event_recall"  # or event_f1, which rewards precision too
    span_reward: SpanReward = IOU  # of temporal grounding, and of the evidence of grounded answers


def custom_tasks(settings: TaskSettings, tasks: TaskRegistry = TASKS) -> TaskRegistry:
    """A registry with the changes of ``settings``: files first, then prompts, then the rewards.

    Raises:
        InputError: If a file has no valid tasks, a prompt is of an unknown task or not a valid template, or a
            custom task is to earn one of our rewards.
    """
    for file in settings.files:
        tasks = tasks.with_tasks(read_tasks(file))
    for name, texts in settings.prompts.items():
        if name not in tasks:
            raise InputError(f"tasks.prompts: no task {name}; known: {', '.join(tasks)}")
        texts = PromptTemplates(answer=texts) if isinstance(texts, str) else texts
        tasks = tasks.with_tasks([tasks[name].with_template(texts.answer, texts.think)])
    if settings.caption_reward != "event_recall":
        captioning = _shipped(tasks, Captioning, "caption_reward")
        tasks = tasks.with_tasks([captioning.with_reward(settings.caption_reward)])
    if settings.span_reward != IOU:
        when = _shipped(tasks, TemporalGrounding, "span_reward").with_reward(settings.span_reward)
        shown = _shipped(tasks, GroundedQa, "span_reward").with_reward(settings.span_reward)
        tasks = tasks.with_tasks([when, shown])
    if settings.reward_protocol != OFFICIAL:
        tasks = tasks.with_tasks([task.with_reward_protocol(settings.reward_protocol) for task in tasks.values()])
    if settings.reward_parsing != STRICT:
        tasks = tasks.with_tasks([task.with_reward_parsing(settings.reward_parsing) for task in tasks.values()])
    return tasks


def _shipped(tasks: TaskRegistry, kind: type[T], key: str) -> T:
    task = tasks[kind.name]
    if not isinstance(task, kind):
        raise InputError(f"tasks.{key}: {kind.name} is a custom task, which defines its rewards")
    return task


def read_tasks(file: Path) -> Sequence[Task[Any, Any]]:
    """Run a Python file and return its list ``TASKS``.

    Raises:
        InputError: If there is no such file, it cannot be run, it has no list ``TASKS`` of tasks, or one of them
            lacks a required attribute.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file of tasks")
    spec = importlib.util.spec_from_file_location(f"timesight_own_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{file}: cannot be run: {type(error).__name__}: {error}") from error
    tasks = getattr(module, "TASKS", None)
    if not isinstance(tasks, (list, tuple)) or not tasks or not all(isinstance(task, Task) for task in tasks):
        raise InputError(f"{file}: needs a list TASKS of tasks, such as TASKS = [MyTask()]")
    for task in tasks:
        if missing := [
            name for name in ("name", "Sample", "form", "template", "components") if not hasattr(task, name)
        ]:
            raise InputError(f"{file}: {type(task).__name__} has no {missing[0]}")
    return tasks
