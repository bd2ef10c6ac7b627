"""Records to samples, with one line about what is wrong with those that are none."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError

from timesight.errors import SampleError
from timesight.tasks import TASKS
from timesight.types import Sample


def make_sample(where: str, task: str, **fields: Any) -> Sample:
    """A sample, with what is wrong with its truth noted. Raises SampleError for a record that is none."""
    where = f"{where}, id {fields['id']}" if "id" in fields else where
    try:
        sample: Sample = TASKS[task].Sample.model_validate({"task": task, **fields})
    except ValidationError as error:
        raise SampleError(f"{where}: {schema_problems(error, TASKS[task].Sample)[0]}") from None
    known = dict.fromkeys((*sample.problems, *TASKS[task].problems(sample)))
    return sample.model_copy(update={"problems": tuple(known)}) if known else sample


def pop_task(where: str, record: dict[str, Any]) -> str:
    """Take the name of the task out of ``record``. Raises SampleError where it names none."""
    task = str(record.pop("task", None))
    if task not in TASKS:
        raise SampleError(f"{where}: task {task!r} is not one of {', '.join(TASKS)}")
    return task


def schema_problems(error: ValidationError, schema: type[Sample]) -> list[str]:
    """What keeps a record from being a sample, each with its field; what says most comes first."""
    # A misspelt key is two problems, one unknown key and one missing; the unknown one says more.
    found: list[Any] = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    return [_problem(problem, schema) for problem in found]


def _problem(problem: Any, schema: type[Sample]) -> str:
    name = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, schema.model_fields, n=1)
        return f"unknown key {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    if problem["type"] == "missing":
        return f"key {name!r} is missing"
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"
