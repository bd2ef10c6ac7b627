"""What the readers share: official files by name, their records with a place."""

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
NAMED_FILES = 20  # all of MVBench's; of thousands of subtitle files the first ones are enough


@dataclass(frozen=True)
class Source:
    """A published source.

    ``splits`` maps our names of splits to its authors' own. ``files`` are the official files it is read from.
    ``read`` takes the folder of annotations, the index of videos, the authors' name of a split, and options.
    """

    task: str
    splits: Mapping[str, str]
    files: str
    read: Callable[..., list[Sample]]

    def split(self, name: str, split: str) -> str:
        """What the authors of the source ``name`` call ``split``. Raises InputError for one it does not have."""
        if split not in self.splits:
            raise InputError(f"{name} has no split {split}: choose one of {', '.join(self.splits)}")
        return self.splits[split]


def official_file(folder: Path, *names: str) -> Path:
    """The first of ``names`` that is in ``folder``. Raises SampleError where none is."""
    found, missing = _look_up(folder, {"": names})
    _require(folder, missing)
    return found[""]


def official_files(folder: Path, *names: str) -> list[Path]:
    """The files ``names`` of ``folder``, all of which are needed. Raises SampleError that names those not there."""
    found, missing = _look_up(folder, {name: (name,) for name in names})
    _require(folder, missing)
    return list(found.values())


def files_present(folder: Path, wanted: Mapping[str, Sequence[str]], what: str = "files") -> dict[str, Path]:
    """Those of ``wanted`` that are in ``folder``, each under the first of its names that is there; in order.

    A warning names those that are missing, for each holds samples of its own. ``what`` they are goes into the
    warning. Raises SampleError where none is there.
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
    """Each of ``wanted`` that is in ``folder``, under the first of its names that is there; and what is missing."""
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
    """The content of a JSON file, which must be of ``kind``. Raises SampleError."""
    try:
        content = parse_json(read_text(file))
    except ValueError as error:
        raise SampleError(f"{file}: {error}") from None
    if not isinstance(content, kind):
        raise SampleError(f"{file}: holds a {type(content).__name__} where a {kind.__name__} belongs")
    return content


def read_records(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where and what: each record of a JSON list or a parquet table. Raises SampleError."""
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
    """Where and what: each line of ``file`` that is not blank. Raises SampleError."""
    for number, line in text_lines(file):
        yield f"{file} line {number}", line


def read_csv(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Where and what: each row of ``file``. Raises SampleError where one of ``columns`` is missing."""
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
    """``record[name]``, of ``kind`` if given. Raises SampleError where it is not there, or something else."""
    try:
        value = record[name]
    except (KeyError, TypeError):
        raise SampleError(f"{where}: key {name!r} is missing") from None
    if kind is not None and not isinstance(value, kind):
        raise SampleError(f"{where}: {name} is a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def optional(where: str, record: Any, name: str, default: J) -> J:
    """``field`` of the kind of ``default``, which stands for what is not there, or null. Raises SampleError."""
    is_there = not isinstance(record, Mapping) or record.get(name) is not None
    value: J = field(where, record, name, type(default)) if is_there else default
    return value


def number(where: str, value: object) -> float:
    """``value`` as a number. Raises SampleError."""
    try:
        return float(str(value))
    except ValueError:
        raise SampleError(f"{where}: {value!r} is not a number") from None
