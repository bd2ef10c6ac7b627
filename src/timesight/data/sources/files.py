"""Shared by the readers of sources: finding official files, and reading their records with their place."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from timesight.data.records import parse_json
from timesight.errors import InputError, SampleError
from timesight.files import open_text, read_text, text_lines
from timesight.types import Sample

J = TypeVar("J")

LOGGER = logging.getLogger("timesight")
NAMED_FILES = 20  # in a warning: all of MVBench's, and the first of thousands of subtitle files


@dataclass(frozen=True)
class Source:
    """A published source.

    Args:
        task: Name of the task of its samples, or several names.
        splits: The authors' name of each split, by ours.
        files: The official files, for the docs.
        read: ``read(annotations, videos, split, **options)`` reads the samples from the folder of ``annotations``,
            with an index of ``videos`` and the authors' name of a split. It raises SampleError if a file is missing
            or not in the official format, and InputError for an option that is wrong.
    """

    task: str
    splits: Mapping[str, str]
    files: str
    read: Callable[..., list[Sample]]

    def split(self, name: str, split: str) -> str:
        """The authors' name of ``split``.

        Args:
            name: Of the source, for the error message.
            split: Our name.

        Raises:
            InputError: If the source has no such split.
        """
        if split not in self.splits:
            raise InputError(f"{name} has no split {split}: choose one of {', '.join(self.splits)}")
        return self.splits[split]


def official_file(folder: Path, *names: str) -> Path:
    """Find the first of ``names`` that is in ``folder``.

    Raises:
        SampleError: If none is.
    """
    found, missing = _look_up(folder, {"": names})
    _require(folder, missing)
    return found[""]


def official_files(folder: Path, *names: str) -> list[Path]:
    """Find the files ``names`` in ``folder``, all of which are needed.

    Raises:
        SampleError: If some are missing; the message names them all.
    """
    found, missing = _look_up(folder, {name: (name,) for name in names})
    _require(folder, missing)
    return list(found.values())


def files_present(folder: Path, wanted: Mapping[str, Sequence[str]], what: str = "files") -> dict[str, Path]:
    """Find those of several files that are in ``folder``, and name the others in a warning.

    Args:
        folder: Of annotations.
        wanted: By key, the names that a file may have, the preferred one first.
        what: What the files are, for the warning.

    Returns:
        The files by key, in the order of ``wanted``.

    Raises:
        SampleError: If none of them is in the folder.
    """
    found, missing = _look_up(folder, wanted)
    if missing:
        shown = missing[:NAMED_FILES]
        more = f" and {len(missing) - NAMED_FILES} more" if len(missing) > NAMED_FILES else ""
        if not found:
            _require(folder, [f"{' or '.join(shown)}{more}"])
        named = f"{', '.join(shown)}{more}"
        LOGGER.warning("%s: %d of %d %s are missing: %s", folder, len(missing), len(wanted), what, named)
    return found


def _look_up(folder: Path, wanted: Mapping[str, Sequence[str]]) -> tuple[dict[str, Path], list[str]]:
    """The files of ``wanted`` by key, each under the first of its names that exists; and those that are missing."""
    if not folder.is_dir():
        raise SampleError(f"{folder}: no such folder of annotations")
    found, missing = {}, []
    for key, names in wanted.items():
        file = next((folder / name for name in names if (folder / name).is_file()), None)
        if file is None:
            missing.append(" or ".join(names))
        else:
            found[key] = file
    return found, missing


def _require(folder: Path, missing: Sequence[str]) -> None:
    if missing:
        raise SampleError(f"{folder}: has no {' and no '.join(missing)}; give the folder with the official files")


def read_json(file: Path, kind: type[J]) -> J:
    """Read a JSON file.

    Args:
        file: JSON.
        kind: Required type of its content, such as ``list``.

    Raises:
        SampleError: If the file cannot be read, is not JSON, or its content is of another type.
    """
    try:
        content = parse_json(read_text(file))
    except ValueError as error:
        raise SampleError(f"{file}: {error}") from None
    if not isinstance(content, kind):
        raise SampleError(f"{file}: holds a {type(content).__name__} where a {kind.__name__} belongs")
    return content


def read_records(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read the records of a JSON list or a parquet table.

    Yields:
        The place of each record, for error messages, and the record.

    Raises:
        SampleError: If the file cannot be read or is not in its format.
        InputError: If a parquet file is read without ``pyarrow``.
    """
    rows = _parquet_rows(file) if file.suffix == ".parquet" else read_json(file, list)
    for number, record in enumerate(rows):
        yield f"{file} record {number}", record


def _parquet_rows(file: Path) -> list[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InputError(f"{file}: parquet files need pyarrow: pip install timesight[data]") from None
    try:
        rows: list[Mapping[str, Any]] = parquet.read_table(file).to_pylist()
    except (ArrowException, OSError) as error:
        raise SampleError(f"{file}: is not a parquet file ({error})") from None
    return rows


def read_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Read the lines of a text file that are not blank.

    Yields:
        The place of each line, for error messages, and its text.

    Raises:
        SampleError: If the file cannot be read as UTF-8.
    """
    for number, line in text_lines(file):
        yield f"{file} line {number}", line


def read_csv(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the rows of a CSV file with a header.

    Args:
        file: CSV.
        columns: Required columns; others are read too.

    Yields:
        The place of each row, for error messages, and its values by column.

    Raises:
        SampleError: If the file is not CSV, or it or a row lacks one of ``columns``.
    """
    try:
        with open_text(file, newline="") as text:
            rows = csv.DictReader(text)
            if missing := [name for name in columns if name not in (rows.fieldnames or ())]:
                raise SampleError(f"{file}: has no column {missing[0]}")
            for row in rows:
                where = f"{file} line {rows.line_num}"
                if missing := [name for name in columns if row[name] is None]:
                    raise SampleError(f"{where}: is too short, {missing[0]} is missing")
                yield where, row
    except csv.Error as error:
        raise SampleError(f"{file}: is not a CSV file ({error})") from None


def field(where: str, record: Any, name: str, kind: type[J] | None = None) -> Any:
    """Get ``record[name]``.

    Args:
        where: Names the record in error messages.
        record: A mapping, if the file is valid.
        name: The key.
        kind: Required type; None takes any.

    Raises:
        SampleError: If the key is missing or its value is of another type.
    """
    try:
        value = record[name]
    except (KeyError, TypeError):
        raise SampleError(f"{where}: key {name!r} is missing") from None
    if kind is not None and not isinstance(value, kind):
        raise SampleError(f"{where}: {name} is a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def optional(where: str, record: Any, name: str, default: J) -> J:
    """Get ``record[name]``, or ``default`` if the key is missing or null.

    Args:
        where: Names the record in error messages.
        record: A mapping, if the file is valid.
        name: The key.
        default: The value must be of its type.

    Raises:
        SampleError: If the value is of another type, or ``record`` is no mapping.
    """
    is_there = not isinstance(record, Mapping) or record.get(name) is not None
    value: J = field(where, record, name, type(default)) if is_there else default
    return value


def number(where: str, value: object) -> float:
    """Convert ``value`` to a number.

    Args:
        where: Names the record in error messages.
        value: A number, or a text of one.

    Raises:
        SampleError: If it is none.
    """
    try:
        return float(str(value))
    except ValueError:
        raise SampleError(f"{where}: {value!r} is not a number") from None
