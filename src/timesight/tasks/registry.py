"""The tasks that a run knows, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from timesight.errors import InputError
from timesight.tasks.base import OFFICIAL, QuestionForm, Task
from timesight.types import Question, Sample, Video


class TaskRegistry(Mapping[str, Task[Any, Any]]):
    """Tasks by name. It does not change: ``with_tasks`` and the like give another one."""

    def __init__(self, tasks: Iterable[Task[Any, Any]]) -> None:
        self._tasks = {task.name: task for task in tasks}

    __hash__ = object.__hash__  # a registry is itself only; Mapping would compare what is in it

    def __eq__(self, other: object) -> bool:
        return self is other

    def __getitem__(self, name: str) -> Task[Any, Any]:
        return self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def of(self, sample: Sample) -> Task[Any, Any]:
        """The task of ``sample``."""
        return self._tasks[sample.task]

    def with_tasks(self, tasks: Iterable[Task[Any, Any]]) -> TaskRegistry:
        """These tasks and ``tasks``; one of a known name replaces it."""
        return TaskRegistry((self._tasks | {task.name: task for task in tasks}).values())

    def with_reward_protocol(self, protocol: str) -> TaskRegistry:
        """These tasks with rewards of ``protocol``, ``official`` or ``paper``."""
        if protocol == OFFICIAL:
            return self
        return TaskRegistry(task.with_reward_protocol(protocol) for task in self._tasks.values())

    # Questions of users

    @property
    def question_forms(self) -> dict[str, QuestionForm]:
        """How users ask, by the task that a question becomes; the first one is for plain text."""
        forms = {name: task.question_form for name, task in self._tasks.items() if task.question_form is not None}
        return dict(sorted(forms.items(), key=lambda item: item[1].command is not None))

    @property
    def plain_question(self) -> str:
        """The task that a plain text becomes a question of."""
        return next(iter(self.question_forms))

    def sample_of(self, question: Question, video: Video) -> Sample:
        """``question`` about ``video`` as a sample without truth.

        Raises:
            InputError: If it cannot be asked.
        """
        name = question.task or self.plain_question
        if name not in self.question_forms:
            raise InputError(
                f"a question of task {name} cannot be asked; choose one of {', '.join(self.question_forms)}"
            )
        if not question.text.strip():
            raise InputError("the question is empty: say what you want to know")
        sample: Sample = self._tasks[name].from_question(question, video)
        return sample

    def asked_again_as(self, name: str, options: bool) -> str:
        """The task as which a user asks an item of task ``name`` again, with or without its ``options``."""
        forms = self.question_forms
        if name in forms and (forms[name].needs != "options" or options):
            return name
        if options:
            return next((other for other, form in forms.items() if form.needs == "options"), self.plain_question)
        return self.plain_question
