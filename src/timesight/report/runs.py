"""What evaluations leave in their folders, under names that tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesight.errors import InputError
from timesight.report.pages import read_json, read_lines

MODES = {"think": "thinking", "clue": "looking again", "subtitles": "with subtitles"}


def read_results(folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Each ``result.json`` by a name for its run, in the order of ``folders``.

    Raises InputError for a folder without a finished evaluation, and for one that is given twice.
    """
    twice = [folder for folder, count in Counter(folder.resolve() for folder in folders).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]}: is given twice; give each evaluation once")
    results = [_result(folder) for folder in folders]
    names = [_name(result, folder) for result, folder in zip(results, folders, strict=True)]
    return {
        name if names.count(name) == 1 else f"{name} ({folder})": result
        for name, result, folder in zip(names, results, folders, strict=True)
    }


def read_items(folder: Path) -> dict[str, dict[str, Any]]:
    """The items of an evaluation by id. Raises InputError where there are none, and for a line that is no item."""
    file = folder / "items.jsonl"
    if not file.is_file():
        raise _unfinished(folder)
    items = {}
    for number, item in enumerate(read_lines(file), start=1):
        if not item.keys() >= {"id", "spans", "metrics"}:
            raise InputError(f"{file} line {number}: is no item; run the same timesight eval again")
        items[item["id"]] = item
    return items


def _result(folder: Path) -> dict[str, Any]:
    file = folder / "result.json"
    result = read_json(file)
    if result is None:
        raise _unfinished(folder)
    if not (isinstance(result, dict) and {"suite", "results"} <= result.keys()):
        raise InputError(f"{file}: holds no results of timesight eval")
    return result


def _name(result: Mapping[str, Any], folder: Path) -> str:
    """The model's name, and how it was asked."""
    modes = [told for mode, told in MODES.items() if result.get(mode)]
    return ", ".join([Path(str(result.get("model", folder))).name, *modes])


def _unfinished(folder: Path) -> InputError:
    return InputError(f"{folder}: holds no finished evaluation; give the --out of timesight eval")
