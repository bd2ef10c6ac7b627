"""An evaluation's folder: whether it can be used, what its replies are of, files that are whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from timesight.artifacts import ITEMS_FILE, SETTINGS_FILE, EvalSettings
from timesight.errors import InputError, reason_of
from timesight.files import read_text, write_text


def require_folder(folder: Path) -> None:
    """Make ``folder`` if it is not there. Raises InputError where nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"--out {folder}: is no folder that can be written to ({reason_of(error)}): choose another folder"
        ) from None


def require_unused(folder: Path) -> None:
    """Raise InputError where ``folder`` holds the replies of a model: figures of others are not put over theirs."""
    if (folder / SETTINGS_FILE).is_file():
        raise InputError(f"--out {folder}: holds a run of timesight eval, which is kept: choose another folder")


def init_eval_dir(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note in ``folder`` what its replies are of; None stands for what was not asked for.

    Raises InputError where it holds those of something else, and where it cannot be used.
    """
    require_folder(folder)
    file = folder / SETTINGS_FILE
    if not file.is_file():
        if (folder / ITEMS_FILE).is_file():
            raise InputError(f"{folder} holds figures of replies made elsewhere: choose another folder")
        write_text(file, json.dumps(EvalSettings.model_validate(settings).model_dump(), indent=1))
        return
    known = json_object(read_text(file))
    if known is None:
        raise InputError(f"{file}: is cut off, so nobody knows what the replies are of: choose another folder")
    was, now = _flat(known), _flat(json.loads(json.dumps({"version": known.get("version"), **settings})))
    if changed := [name for name in was | now if was.get(name) != now.get(name)]:
        name = changed[0]
        then, this = (repr(of[name]) if name in of else "none" for of in (was, now))
        raise InputError(f"{folder} holds replies with {name} {then}, not {this}: choose another folder")


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object that ``text`` is; None for anything else, such as what a kill left half-written."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Settings within settings by names such as ``video.fps``, those that are None left out."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{above}{name}.")
        elif value is not None:
            flat[above + name] = value
    return flat
