"""What evaluations leave in their folders, under names that tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesight.artifacts import read_result
from timesight.errors import InputError

MODES = {"think": "thinking", "clue": "looking again", "subtitles": "with subtitles"}


def read_results(folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Each ``result.json`` by a name for its run, in the order of ``folders``.

    Raises InputError for a folder without a finished evaluation, and for one that is given twice.
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
    """The model's name, and how it was asked."""
    modes = [told for mode, told in MODES.items() if result.get(mode)]
    return ", ".join([Path(str(result.get("model", folder))).name, *modes])
