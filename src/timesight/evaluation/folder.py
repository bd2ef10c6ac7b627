"""The folder of an evaluation: whether it can be used, and with which settings its replies were made."""

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
    """Create ``folder`` if it does not exist.

    Raises:
        InputError: If it cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"--out {folder}: is not a writable folder ({reason_of(error)}): choose another folder"
        ) from None


def require_unused(folder: Path) -> None:
    """Raise InputError if ``folder`` holds a run of ``timesight eval``, whose figures would be overwritten."""
    if (folder / SETTINGS_FILE).is_file():
        raise InputError(f"--out {folder}: holds a run of timesight eval, which is kept: choose another folder")


def init_eval_dir(folder: Path, settings: Mapping[str, Any]) -> None:
    """Record the settings of an evaluation in its folder, or check them against the recorded ones.

    Args:
        folder: Created if it does not exist.
        settings: As ``questions.eval_settings`` returns them. A setting of None equals a missing one.

    Raises:
        InputError: If ``folder`` cannot be written to, holds replies made with other settings (the message names
            the first difference), holds figures of replies made elsewhere, or has an ``eval.json`` that is cut off.
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
        raise InputError(f"{file}: is truncated, so the settings of the replies are unknown: choose another folder")
    was, now = _flat(known), _flat(json.loads(json.dumps({"version": known.get("version"), **settings})))
    if changed := [name for name in was | now if was.get(name) != now.get(name)]:
        name = changed[0]
        then, this = (repr(of[name]) if name in of else "none" for of in (was, now))
        raise InputError(f"{folder} holds replies with {name} {then}, not {this}: choose another folder")


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """Parse a JSON object; None for anything else, such as a line that a kill left half-written."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested settings by dotted names such as ``video.fps``, without those that are None."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{above}{name}.")
        elif value is not None:
            flat[above + name] = value
    return flat
