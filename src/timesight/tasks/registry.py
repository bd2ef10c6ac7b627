"""The registry of tasks by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from timesight.errors import InputError
from timesight.tasks.base import QuestionForm, Task
from timesight.types import Question, Sample, Video


class TaskRegistry(Mapping[str, Task[Any, Any]]):
    """An immutable mapping from name to task; the ``with_`` methods return new registries."""

    def __init__(self, tasks: Iterable[Task[Any, Any]]) -> None:
        self._tasks = {task.name: task for task in tasks}

    __hash__ = object.__hash__  # compared by identity; Mapping would compare contents

    def __eq__(self, other: object) -> bool:
        return self is other

    def __getitem__(self, name: str) -> Task[Any, Any]:
        return self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def of(self, sample: Sample) -> Task[Any, Any]:
        """The task of ``sample``; KeyError if there is none of that name."""
        return self._tasks[sample.task]

    def with_tasks(self, tasks: Iterable[Task[Any, Any]]) -> TaskRegistry:
        """A registry with ``tasks`` added; a task with a known name replaces the known one."""
        return TaskRegistry((self._tasks | {task.name: task for task in tasks}).values())

    # Questions of users

    @property
    def question_forms(self) -> dict[str, QuestionForm]:
        """Question forms by name of their task; the first is the one for plain text."""
        forms = {name: task.question_form for name, task in self._tasks.items() if task.question_form is not None}
        return dict(sorted(forms.items(), key=lambda item: item[1].command is not None))

    @property
    def plain_question(self) -> str:
        """Name of the task of a question in plain text."""
        return next(iter(self.question_forms))

    def sample_of(self, question: Question, video: Video) -> Sample:
        """``question`` about ``video`` as a sample without ground truth.

        Raises:
            InputError: If the question is empty, lacks what its task needs, or its task has no question form.
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
        """Name of the task for asking an item's question again as a user.

        Args:
            name: The item's task.
            options: Whether the item has options.

        Returns:
            ``name`` if users can ask this question of that task; else the task for questions with options if the
            item has them; else the one for plain text.
        """
        forms = self.question_forms
        if name in forms and (forms[name].needs != "options" or options):
            return name
        if options:
            return next((other for other, form in forms.items() if form.needs == "options"), self.plain_question)
        return self.plain_question
