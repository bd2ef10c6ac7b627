"""What the pages share: their templates, and files read as they are."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

REPORT_FILE = "report.html"


def write_page(out: Path, template: str, **values: Any) -> Path:
    """Fill ``template`` and write it to ``out``/report.html; everything in ``values`` is escaped."""
    environment = Environment(
        loader=FileSystemLoader(str(files("timesight.report"))),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.1f}"
    page = out / REPORT_FILE
    page.write_text(environment.get_template(template).render(**values), encoding="utf-8")
    return page


def data_uri(image: Path) -> str:
    """A JPEG as text, so that a page needs no other file."""
    return "data:image/jpeg;base64," + base64.b64encode(image.read_bytes()).decode("ascii")


def read_json(file: Path) -> Any:
    """The content of ``file``, or None where it is not there."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def read_lines(file: Path) -> list[Any]:
    """The records of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def read_text(file: Path) -> str:
    """The text of ``file``, empty where it is not there."""
    return file.read_text(encoding="utf-8") if file.is_file() else ""
