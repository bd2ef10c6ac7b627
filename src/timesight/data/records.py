"""Parsing text to records and records to samples, with a one-line error for invalid ones."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from timesight.errors import SampleError
from timesight.tasks import TASKS, TaskRegistry
from timesight.types import Sample


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: If ``text`` is not JSON, or JSON that no file can hold; the message is one line with the reason.
    """
    try:
        content = json.loads(text)
        if "\\ud" in text or "\\uD" in text:  # perhaps half of a surrogate pair, which no file can hold
            json.dumps(content, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        reason = str(error) if error.lineno > 1 else f"{error.msg}, column {error.colno}"
    except UnicodeEncodeError:
        reason = "half of a surrogate pair"
    except RecursionError:
        reason = "nested too deeply"
    except ValueError:  # Python's limit for integers
        reason = "a number of more than 4,300 digits"
    else:
        return content
    raise ValueError(f"is not JSON ({reason})")


def parse_record(text: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: If ``text`` is none; the message is one line with the reason.
    """
    record = parse_json(text)
    if not isinstance(record, dict):
        raise ValueError("is not a JSON object")
    return record


def make_sample(where: str, task: str, tasks: TaskRegistry = TASKS, /, **fields: Any) -> Sample:
    """Make a sample of a task from the fields of a record.

    Args:
        where: Names the record in error messages, such as a file and a line.
        task: Name of the task.
        tasks: Where it is registered.
        **fields: Of the sample, without ``task``.

    Returns:
        The sample; what is wrong with its truth is added to ``problems``.

    Raises:
        SampleError: If a field is missing, unknown, or of the wrong type.
    """
    where = f"{where}, id {fields['id']}" if "id" in fields else where
    try:
        sample: Sample = tasks[task].Sample.model_validate({"task": task, **fields})
    except ValidationError as error:
        raise SampleError(f"{where}: {schema_problems(error, tasks[task].Sample)[0]}") from None
    known = dict.fromkeys((*sample.problems, *tasks[task].problems(sample)))
    return sample.model_copy(update={"problems": tuple(known)}) if known else sample


def pop_task(where: str, record: dict[str, Any], tasks: TaskRegistry = TASKS) -> str:
    """Remove the name of the task from ``record`` and return it.

    Args:
        where: Names the record in error messages.
        record: Changed in place.
        tasks: The tasks that it may name.

    Raises:
        SampleError: If it names none of ``tasks``.
    """
    task = str(record.pop("task", None))
    if task not in tasks:
        raise SampleError(f"{where}: task {task!r} is not one of {', '.join(tasks)}")
    return task


class UniqueIds:
    """Makes ids unique: of several with one name, all but the first are numbered.

    Args:
        taken: Ids that are in use already.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._numbers: Counter[str] = Counter()

    def of(self, name: str) -> str:
        """Take ``name`` as an id, or if it is taken ``name#1``, ``name#2`` and so on."""
        unused = name
        while unused in self._taken:
            self._numbers[name] += 1
            unused = f"{name}#{self._numbers[name]}"
        self._taken.add(unused)
        return unused


def schema_problems(error: ValidationError, schema: type[Sample]) -> list[str]:
    """Format the errors of an invalid record.

    Args:
        error: Of the validation.
        schema: The schema that the record violates; a misspelled key is named with the nearest field.

    Returns:
        One line per error, each with its field; unknown keys come first.
    """
    # A misspelled key is two problems, one unknown key and one missing; the unknown one says more.
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
