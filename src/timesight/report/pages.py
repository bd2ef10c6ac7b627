"""What the pages share: their templates, and files read as they are."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from timesight.errors import InputError

REPORT_FILE = "report.html"


def write_page(out: Path, template: str, **values: Any) -> Path:
    """Fill ``template`` and write it to ``out``/report.html; everything in ``values`` is escaped."""
    environment = Environment(
        loader=FileSystemLoader(str(files("timesight.report"))),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.1f}"
    page = out / REPORT_FILE
    text = environment.get_template(template).render(**values)
    page.write_text(text, encoding="utf-8", errors="backslashreplace")  # a reply may hold half a surrogate pair
    return page


def data_uris(folder: Path, names: Sequence[str]) -> list[str]:
    """The JPEGs that are there as text, so that a page needs no other file."""
    images = [folder / name for name in names if (folder / name).is_file()]
    return ["data:image/jpeg;base64," + base64.b64encode(image.read_bytes()).decode("ascii") for image in images]


def read_json(file: Path) -> Any:
    """The content of ``file``, or None where it is not there. Raises InputError for what is not whole JSON."""
    return _parsed(read_text(file), str(file)) if file.is_file() else None


def read_text(file: Path) -> str:
    """The text of ``file``, empty where it is not there. Raises InputError where it is not UTF-8."""
    try:
        return file.read_text(encoding="utf-8") if file.is_file() else ""
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not UTF-8 text") from None


def _parsed(text: str, where: str) -> Any:
    """What ``text`` says; numbers that are none, which are not JSON, become None."""
    try:
        return json.loads(text, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        raise InputError(f"{where}: is cut off, or not JSON; run the command that wrote it again") from None
