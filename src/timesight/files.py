"""Files of users: text with or without a mark at its start, written whole or not at all, never over another."""

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
    """``file`` opened for reading, ``newline`` as in ``open``. Raises SampleError for what is no UTF-8 text."""
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
    """All of ``file``. Raises SampleError where it cannot be read as UTF-8."""
    with open_text(file) as text:
        return text.read()


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is not blank. Raises SampleError where ``file`` cannot be read as UTF-8.

    Lines end where files end them; ``str.splitlines`` breaks at characters too that JSON may hold, such as U+2028.
    """
    with open_text(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line.removesuffix("\n")


def json_text(content: Any, indent: int | None = None) -> str:
    """``content`` as JSON. Numbers that JSON has no word for, such as the interval of one video, become null."""
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


def require_new(path: Path) -> None:
    """Raise InputError where there is something at ``path``: results of a user's are never written over."""
    if os.path.lexists(path):
        raise InputError(f"{path}: is there already; nothing is written over, choose another name")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name next to ``path`` to write to; what is there becomes ``path`` once the block is through, else it goes.

    Raises InputError where it cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.{uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except FileExistsError:
        raise InputError(f"{path}: cannot be written ({path.parent} is not a folder)") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason_of(error)})") from None


def write_text(file: Path, text: str) -> None:
    """Write ``file``, which appears only once it is whole. Raises InputError where it cannot be written."""
    with whole_file(file) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
