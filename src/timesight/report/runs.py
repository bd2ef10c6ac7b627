"""The results of several evaluations, under distinct names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesight.artifacts import read_result
from timesight.errors import InputError

MODES = {"think": "thinking", "clue": "looking again", "subtitles": "with subtitles"}


def read_results(folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Read the ``result.json`` of each folder.

    Returns:
        The content of each file by a name for its run, in the order of ``folders``. The name is that of the model
        and the mode; the folder is added where two would be equal.

    Raises:
        InputError: If a folder holds no finished evaluation, or is given twice.
    """
    twice = [folder for folder, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]}: is given twice; give each evaluation once")
    results = [read_result(folder).model_dump() for folder in folders]
    names = [_name(result, folder) for result, folder in zip(results, folders, strict=True)]
    return {
        name if names.count(name) == 1 else f"{name} ({folder})": result
        for name, result, folder in zip(names, results, folders, strict=True)
    }


def _name(result: Mapping[str, Any], folder: Path) -> str:
    """The name of the model, and the modes in which it was asked."""
    modes = [told for mode, told in MODES.items() if result.get(mode)]
    return ", ".join([Path(str(result.get("model", folder))).name, *modes])
