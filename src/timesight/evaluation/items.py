"""What is kept of each item: what was asked, what is true, what came back, and what it scored.

``items.jsonl`` holds a line an item. Comparisons and reports read it, and need neither data nor model again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from timesight.data.disk import text_lines, write_text
from timesight.errors import InputError
from timesight.evaluation.folder import ITEMS_FILE, json_object
from timesight.tasks import Graded, Task
from timesight.tasks.aggregate import Row
from timesight.types import Sample

KEYS = {"id", "task", "video", "question", "truth", "reply", "parsed", "groups", "metrics", "weights", "data"}


def item_record(
    task: Task[Any, Any],
    item: Graded[Any, Any],
    duration_s: float | None,
    metrics: Mapping[str, Row],
    weights: Mapping[str, float],
    by: Sequence[str],
) -> dict[str, Any]:
    """One item as it is kept; ``metrics`` and ``weights``, what it counts in their means, by protocol."""
    sample = item.sample
    return {
        "id": sample.id,
        "task": sample.task,
        "video": sample.video.model_dump(mode="json"),
        "duration_s": duration_s,
        "question": task.question(sample),
        "options": list(getattr(sample, "options", ())),
        "truth": task.display_truth(sample),
        "reply": item.reply,
        "parsed": item.answer is not None,
        "spans": {"truth": _pairs(getattr(sample, "spans", ())), "answer": _answered_spans(task, item.answer)},
        "groups": {key: group_values(sample, key) for key in by},
        "metrics": dict(metrics),
        "weights": dict(weights),
        "data": _digest(sample),
    }


def group_values(sample: Sample, key: str) -> list[str]:
    """The values of a breakdown's ``key`` for this item, from ``meta`` or the sample's own fields; mostly one."""
    value = sample.meta.get(key, getattr(sample, key, None))
    return [str(one) for one in (value if isinstance(value, (list, tuple)) else [value]) if one not in (None, "")]


def write_items(folder: Path, items: Iterable[Mapping[str, Any]]) -> None:
    """Write ``items.jsonl``."""
    write_text(folder / ITEMS_FILE, "".join(json.dumps(item) + "\n" for item in items))


def read_items(folder: Path) -> dict[str, dict[str, Any]]:
    """The items of an evaluation by id. Raises InputError where there is none, and for a line that is no item."""
    file = folder / ITEMS_FILE
    if not file.is_file():
        raise InputError(
            f"{folder}: holds no finished evaluation (no {ITEMS_FILE}); give the --out of timesight eval"
        )
    items = {}
    for number, line in text_lines(file):
        item = json_object(line) or {}
        if not item.keys() >= KEYS:
            raise InputError(
                f"{file} line {number}: is no whole item of this version; run the same timesight eval again"
            )
        items[item["id"]] = item
    return items


def _digest(sample: Sample) -> str:
    """What tells question and truth from any other's, wherever the video lies and however it was asked."""
    told = json.dumps(sample.model_dump(exclude={"video", "segments", "meta", "subtitles"}), default=str)
    return sha256(told.encode()).hexdigest()[:16]


def _answered_spans(task: Task[Any, Any], answer: Any) -> list[list[float]]:
    spans = () if answer is None else task.evidence(answer).spans
    return _pairs((span.start_s, span.end_s) for span in spans)


def _pairs(spans: Iterable[tuple[float, float]]) -> list[list[float]]:
    return [[start_s, end_s] for start_s, end_s in spans]
