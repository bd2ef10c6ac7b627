"""A cleaned copy of a file of samples: what can be mended is mended, what cannot is left out."""

from __future__ import annotations

import copy
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesight.data.check import KINDS, Line
from timesight.data.jsonl import require_new
from timesight.types import Video
from timesight.video.survey import VideoFacts


def fix(file: Path, lines: Sequence[Line], out: Path, facts: Mapping[Path, VideoFacts | str]) -> Counter[str]:
    """Write what is good of ``lines``, read from ``file``, to ``out``; returns how many were kept, mended, dropped.

    Raises InputError where ``out`` exists: nothing is ever written over.
    """
    require_new(out)
    counts: Counter[str] = Counter(kept=0, mended=0, dropped=0)
    ids = {line.sample.id for line in lines if line.sample}
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f"{out.name}.part")
    with unfinished.open("w", encoding="utf-8") as copies:
        for line in lines:
            remedies = {KINDS[problem.kind][1] for problem in line.problems}
            record = None if "drop" in remedies else _mended(line, ids, facts)
            counts["dropped" if record is None else "mended" if "mend" in remedies else "kept"] += 1
            if record is not None:
                record["video"] = _moved(record["video"], file.parent, out.parent)
                copies.write(json.dumps(record, ensure_ascii=False) + "\n")
    unfinished.replace(out)
    return counts


def _mended(line: Line, ids: set[str], facts: Mapping[Path, VideoFacts | str]) -> dict[str, Any] | None:
    """The record of ``line`` with its problems mended, or None where nothing is left of its truth."""
    record = copy.deepcopy(line.record)
    kinds = {problem.kind for problem in line.problems}
    assert line.sample is not None  # a line without one has a problem that drops it
    found = facts.get(line.sample.video.path)
    if "duration" in kinds and isinstance(found, VideoFacts):
        record["meta"]["duration_s"] = found.duration_s
    if kinds & {"negative_start", "past_end"}:
        end_s = found.duration_s if isinstance(found, VideoFacts) else record["meta"]["duration_s"]
        record["spans"] = [[max(0.0, a), min(b, end_s)] for a, b in record["spans"]]
        if any(start_s > stop_s for start_s, stop_s in record["spans"]):
            return None  # it lies wholly past the end
    if "box_outside" in kinds:
        record["boxes"] = [[min(max(edge, 0.0), 1.0) for edge in box] for box in record["boxes"]]
    if "duplicate_id" in kinds:
        number = 1
        while f"{record['id']}#{number}" in ids:
            number += 1
        record["id"] = f"{record['id']}#{number}"
        ids.add(record["id"])
    return record


def _moved(video: Any, old: Path, new: Path) -> Any:
    """``video`` as seen from the folder ``new``; absolute paths stay."""
    path = Path(Video.model_validate(video).path)
    if not path.is_absolute():
        path = Path(os.path.relpath(old / path, new))
    return video | {"path": str(path)} if isinstance(video, dict) else str(path)
