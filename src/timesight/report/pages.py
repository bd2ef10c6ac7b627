"""What all report pages share: filling a template, and reading the files of a run directory."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, select_autoescape

from timesight.files import json_content, read_text, write_text

REPORT_FILE = "report.html"


def write_page(out: Path, template: str, **values: Any) -> Path:
    """Fill a template and write it to ``report.html``.

    Args:
        out: Folder of the page.
        template: File name of a Jinja template in this package; its filters ``percent`` and ``points`` format
            fractions and differences of them.
        **values: Variables of the template; text is escaped unless the template marks it as safe.

    Returns:
        The path of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(str(files("timesight.report"))),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.1f}"
    environment.filters["points"] = lambda value: "–" if value is None else f"{100 * value:+.1f}"
    page = out / REPORT_FILE
    text = environment.get_template(template).render(**values)
    write_text(page, text.encode("utf-8", "backslashreplace").decode())  # a reply may hold half a surrogate pair
    return page


def data_uris(folder: Path, names: Sequence[str]) -> list[str]:
    """Return JPEG files as ``data:`` URIs, so that a page needs no other file; missing files are left out."""
    images = [folder / name for name in names if (folder / name).is_file()]
    return ["data:image/jpeg;base64," + base64.b64encode(image.read_bytes()).decode("ascii") for image in images]


def read_json(file: Path) -> Any:
    """Return the content of a JSON file, or None if there is no such file.

    Raises:
        InputError: If the file is not UTF-8 text or not whole JSON.
    """
    return json_content(read_text(file), file) if file.is_file() else None
