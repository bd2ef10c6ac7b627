"""What the readers share: files under their official names, records with a place, and videos by id."""

from __future__ import annotations

import csv
import difflib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from timesight.errors import InputError, SampleError
from timesight.tasks import TASKS
from timesight.types import Sample

J = TypeVar("J")


class Videos:
    """Finds files by id under a root, whatever their extension and folder; without a root, looks for none."""

    def __init__(self, root: Path | None) -> None:
        if root is not None and not root.is_dir():
            raise InputError(f"{root}: no such folder of videos")
        self.root = root
        self._by_id: dict[str, Path] = {}
        for folder, folders, files in os.walk(root) if root is not None else ():
            folders.sort()
            for name in sorted(files):
                self._by_id.setdefault(name, Path(folder, name))
                self._by_id.setdefault(Path(name).stem, Path(folder, name))

    def path(self, name: str) -> Path:
        """The file of the video ``name``, with or without its extension; if there is none, a path to nothing."""
        found = self._by_id.get(name) or self._by_id.get(Path(name).stem)
        return found or (self.root or Path()) / (name if Path(name).suffix else f"{name}.mp4")


def official_file(folder: Path, *names: str) -> Path:
    """The first of ``names`` that is in ``folder``. Raises SampleError where none is."""
    if not folder.is_dir():
        raise SampleError(f"{folder}: no such folder of annotations")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise SampleError(f"{folder}: has no {' or '.join(names)}; give the folder with the official files")


def split_name(source: str, split: str, known: Mapping[str, str]) -> str:
    """What ``source`` calls ``split``. Raises InputError for one it does not have."""
    if split not in known:
        raise InputError(f"{source} has no split {split}: choose one of {', '.join(known)}")
    return known[split]


def read_json(file: Path, kind: type[J]) -> J:
    """The content of a JSON file, which must be of ``kind``. Raises SampleError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SampleError(f"{file}: is not JSON ({error})") from None
    if not isinstance(content, kind):
        raise SampleError(f"{file}: holds a {type(content).__name__} where a {kind.__name__} belongs")
    return content


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Where and what: each line of ``file`` that is not blank. Raises SampleError."""
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                yield f"{file} line {number}", line
    except UnicodeDecodeError:
        raise SampleError(f"{file}: is not UTF-8 text") from None


def read_csv(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Where and what: each row of ``file``. Raises SampleError where one of ``columns`` is missing."""
    try:
        with file.open(newline="", encoding="utf-8") as text:
            rows = csv.DictReader(text)
            if missing := [name for name in columns if name not in (rows.fieldnames or ())]:
                raise SampleError(f"{file}: has no column {missing[0]}")
            for row in rows:
                yield f"{file} line {rows.line_num}", row
    except (UnicodeDecodeError, csv.Error) as error:
        raise SampleError(f"{file}: is not a CSV file ({error})") from None


def make_sample(where: str, task: str, **fields: Any) -> Sample:
    """A sample, with what is wrong with its truth noted. Raises SampleError for a record that is none."""
    where = f"{where}, id {fields['id']}" if "id" in fields else where
    try:
        sample: Sample = TASKS[task].Sample.model_validate({"task": task, **fields})
    except ValidationError as error:
        raise SampleError(f"{where}: {_first_problem(error, TASKS[task].Sample)}") from None
    known = dict.fromkeys((*sample.problems, *TASKS[task].problems(sample)))
    return sample.model_copy(update={"problems": tuple(known)}) if known else sample


def _first_problem(error: ValidationError, schema: type[Sample]) -> str:
    # A misspelt key is two problems, one unknown key and one missing; the unknown one says more.
    problems: list[Any] = sorted(error.errors(), key=lambda p: p["type"] != "extra_forbidden")
    problem = problems[0]
    name = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, schema.model_fields, n=1)
        return f"unknown key {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    if problem["type"] == "missing":
        return f"key {name!r} is missing"
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}"


def field(where: str, record: Any, name: str, kind: type[J] | None = None) -> Any:
    """``record[name]``, of ``kind`` if given. Raises SampleError where it is not there, or something else."""
    try:
        value = record[name]
    except (KeyError, TypeError):
        raise SampleError(f"{where}: key {name!r} is missing") from None
    if kind is not None and not isinstance(value, kind):
        raise SampleError(f"{where}: {name} is a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def number(where: str, text: str) -> float:
    """``text`` as a number. Raises SampleError."""
    try:
        return float(text)
    except ValueError:
        raise SampleError(f"{where}: {text!r} is not a number") from None
