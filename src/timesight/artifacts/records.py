"""What all records of a run directory are, and JSONL files of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from timesight.errors import InputError
from timesight.files import append_text, json_text, text_lines, write_text

Metrics = dict[str, float]
Interval = tuple[float | None, float | None]  # None where there is none, as for one video


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=True)

    noun: ClassVar[str] = "entry"
    version: Literal[1] = 1


R = TypeVar("R", bound=Record)


def write_records(file: Path, records: Iterable[Record]) -> None:
    """Write JSONL atomically.

    Raises:
        InputError: If the file cannot be written.
    """
    write_text(file, "".join(line_of(record) for record in records))


def append_record(file: Path, record: Record, before: str = "") -> None:
    """Append a line to JSONL; the file and its folder are created as needed.

    Args:
        file: JSONL.
        record: The line.
        before: Written first, such as a newline after a line that was cut off.

    Raises:
        InputError: If the file cannot be written.
    """
    append_text(file, before + line_of(record))


def drop_torn_line(file: Path) -> None:
    """Remove a last line of JSONL that a kill cut off; a missing file has none."""
    if file.is_file() and not (content := file.read_bytes()).endswith(b"\n") and content:
        write_text(file, content[: content.rfind(b"\n") + 1].decode())


def line_of(record: Record) -> str:
    """Format ``record`` as a line of JSONL, newline included, with null for NaN and infinity."""
    return json_text(record.model_dump(mode="python")) + "\n"


def read_records(
    file: Path, kind: type[R], again: str = "run the command that wrote it again", *, growing: bool = False
) -> list[R]:
    """Read the records of a JSONL file; a missing file has none.

    Args:
        file: JSONL.
        kind: Schema of its records.
        again: For the error message: what to do about an invalid line.
        growing: Another process may be writing it: a last line without its newline is left out.

    Raises:
        InputError: If a line is no such record; the message names file and line.
    """
    if not file.is_file():
        return []
    num_lines = file.read_bytes().count(b"\n") if growing else None
    return [record for _, record in islice(numbered_records(file, kind, again), num_lines)]


def numbered_records(file: Path, kind: type[R], again: str) -> Iterator[tuple[int, R]]:
    """The records of a JSONL file with the numbers of their lines; see ``read_records``."""
    for number, line in text_lines(file):
        try:
            yield number, kind.model_validate(json.loads(line, parse_constant=lambda name: None))
        except (ValueError, RecursionError):  # cut off by a kill, or written by another version
            raise InputError(f"{file} line {number}: is no whole {kind.noun} of this version; {again}") from None
