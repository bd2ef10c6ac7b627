"""Reading and writing users' files: UTF-8 with or without a byte order mark, formats, atomic writes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from timesight.errors import InputError, SampleError, reason_of


@contextmanager
def open_text(file: Path, newline: str | None = None) -> Iterator[TextIO]:
    """Open a UTF-8 text file for reading, in a ``with`` statement.

    Args:
        file: With or without a byte order mark.
        newline: As in ``open``.

    Raises:
        SampleError: If the file does not exist, cannot be read or is not UTF-8, also while it is read in the block.
    """
    try:
        if not file.exists():
            raise SampleError(f"{file}: no such file")
        if not file.is_file():
            raise SampleError(f"{file}: is not a file")
        with file.open(encoding="utf-8-sig", newline=newline) as text:
            yield text
    except UnicodeDecodeError:
        raise SampleError(f"{file}: is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise SampleError(f"{file}: cannot be read ({reason_of(error)})") from None


def read_text(file: Path) -> str:
    """Read all of a text file.

    Raises:
        SampleError: If it cannot be read as UTF-8.
    """
    with open_text(file) as text:
        return text.read()


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a text file that are not blank.

    Lines end at newlines only: ``str.splitlines`` also breaks at characters that JSON may hold, such as U+2028.

    Yields:
        Number of each line, from 1, and its text without the newline.

    Raises:
        SampleError: If the file cannot be read as UTF-8.
    """
    with open_text(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line.removesuffix("\n")


def json_text(content: Any, indent: int | None = None) -> str:
    """Write ``content`` as JSON text, with null for NaN and infinity, which JSON does not have.

    Args:
        content: Mappings, sequences and scalars.
        indent: As in ``json.dumps``; None writes one line.
    """
    return json.dumps(_finite(content), indent=indent, allow_nan=False)


def json_content(text: str, file: Path) -> Any:
    """Parse the JSON ``text`` of ``file``; NaN and Infinity, which JSON does not have, become None.

    Raises:
        InputError: If ``text`` is not whole JSON; the message names ``file``.
    """
    try:
        return json.loads(text, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        raise InputError(f"{file}: is cut off, or not JSON; run the command that wrote it again") from None


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, Sequence) and not isinstance(content, str):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def markdown_table(rows: Sequence[Sequence[str]], num_left: int) -> str:
    """Write a table in Markdown, its last line included.

    Args:
        rows: Cells; the first row is the head.
        num_left: Columns that are aligned to the left, the first ones; others are aligned to the right.
    """
    head, *body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([head, f"|{'---|' * num_left}{'--:|' * (len(rows[0]) - num_left)}", *body]) + "\n"


def require_new(path: Path) -> None:
    """Raise InputError if ``path`` exists: a user's results are never overwritten."""
    if os.path.lexists(path):
        raise InputError(f"{path}: already exists; choose another name")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file atomically, in a ``with`` statement: ``path`` appears only if the block ends without an error.

    Yields:
        A temporary path next to ``path`` to write to. It is renamed at the end, and removed after an error.

    Raises:
        InputError: If the file cannot be written; also in place of an OSError in the block.
    """
    unfinished = path.with_name(f"{path.name}.{uuid4().hex[:8]}.part")
    with _writing(path):
        try:
            yield unfinished
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8, replacing an earlier one.

    Raises:
        InputError: If it cannot be written.
    """
    with whole_file(file) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def append_text(file: Path, text: str) -> None:
    """Append to a text file, as UTF-8; the file and its folder are created as needed.

    Raises:
        InputError: If it cannot be written.
    """
    with _writing(file), file.open("a", encoding="utf-8") as out:
        out.write(text)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Create the folder of ``path``; an OSError there or in the block becomes an InputError that names ``path``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except FileExistsError:
        raise InputError(f"{path}: cannot be written ({path.parent} is not a folder)") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason_of(error)})") from None
