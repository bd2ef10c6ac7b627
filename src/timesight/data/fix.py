"""A cleaned copy of a file of samples: problems that can be fixed are fixed, other samples are left out."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from timesight.data.check import KINDS, Line
from timesight.data.records import UniqueIds
from timesight.data.surveys import Facts, whole
from timesight.files import require_new, whole_file
from timesight.tasks import TASKS
from timesight.tasks.evidence import stated_duration_s
from timesight.types import Sample, Video
from timesight.video.survey import VideoFacts


def fix(file: Path, lines: Sequence[Line], out: Path, facts: Facts) -> Counter[str]:
    """Write a cleaned copy of a file of samples.

    Args:
        file: The file that was checked; relative paths of videos count from its folder.
        lines: Its lines with their problems, from ``timesight.data.check``.
        out: The copy; its relative paths count from its own folder.
        facts: Of the videos, for their durations; may be empty.

    Returns:
        Number of lines that were ``kept``, ``fixed`` and ``dropped``.

    Raises:
        InputError: If ``out`` exists or cannot be written.
    """
    require_new(out)
    counts: Counter[str] = Counter(kept=0, fixed=0, dropped=0)
    ids = UniqueIds(line.sample.id for line in lines if line.sample)
    with whole_file(out) as unfinished, unfinished.open("w", encoding="utf-8") as copies:
        for line in lines:
            remedies = {KINDS[problem.kind][1] for problem in line.problems}
            record = None if "drop" in remedies else _fixed(line, ids, facts)
            counts["dropped" if record is None else "fixed" if "fix" in remedies else "kept"] += 1
            if record is not None:
                record["video"] = _moved(record["video"], file.parent, out.parent)
                copies.write(json.dumps(record, ensure_ascii=False) + "\n")
    return counts


def _fixed(line: Line, ids: UniqueIds, facts: Facts) -> dict[str, Any] | None:
    """The record of ``line`` with its problems fixed, or None if no usable truth is left."""
    assert line.sample is not None  # a line without one has a problem that drops it
    sample, record = line.sample, dict(line.record)
    kinds = {problem.kind for problem in line.problems}
    found = facts.get(whole(sample.video))
    duration_s = found.duration_s if isinstance(found, VideoFacts) else stated_duration_s(sample)
    if kinds & {"duration", "no_duration"}:
        record["meta"] = {name: value for name, value in sample.meta.items() if name != "duration_s"}
        record["meta"] |= {} if duration_s is None else {"duration_s": duration_s}
    if kinds & {"negative_start", "past_end"}:
        record |= _within(sample, math.inf if duration_s is None else duration_s)
    if "box_outside" in kinds:
        record |= _in_frame(sample)
    try:
        fixed = TASKS[sample.task].Sample.model_validate(record)
    except ValidationError:  # a custom task whose samples have no ``absent``
        return None
    if TASKS[sample.task].problems(fixed):
        return None
    if "duplicate_id" in kinds:
        record["id"] = ids.of(sample.id)
    return record


def _within(sample: Sample, end_s: float) -> dict[str, Any]:
    """Spans and segments cut to the video; those outside of it are left out."""
    fields = sample.model_dump(include={"spans", "segments"}, exclude_defaults=True)
    return {
        name: [
            [max(0.0, start_s), min(stop_s, end_s)]
            for start_s, stop_s in pairs
            if max(0.0, start_s) < min(stop_s, end_s) or 0 <= start_s == stop_s <= end_s
        ]
        for name, pairs in fields.items()
    }


def _in_frame(sample: Sample) -> dict[str, Any]:
    """Boxes cut to the frame; where one lies outside of it, the object is absent."""
    fields = sample.model_dump()
    gone = [n for n, (x0, y0, x1, y1) in enumerate(fields["boxes"]) if max(x0, y0) >= 1 or min(x1, y1) <= 0]
    boxes = [[min(max(edge, 0.0), 1.0) for edge in box] for box in fields["boxes"]]
    return {"boxes": boxes} | ({"absent": sorted({*fields.get("absent", ()), *gone})} if gone else {})


def _moved(video: Any, old: Path, new: Path) -> Any:
    """``video`` with its path relative to the folder ``new``; absolute paths stay."""
    path = Path(Video.model_validate(video).path)
    if not path.is_absolute():
        lies = (old / path).parent.resolve()  # with links to folders, .. may lead elsewhere
        path = Path(os.path.relpath(lies / path.name, new.resolve()))
    return video | {"path": str(path)} if isinstance(video, dict) else str(path)
