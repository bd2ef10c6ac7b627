"""An item as it is kept: what was asked, what is true, what came back, and what it scored."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from timesight.artifacts import ItemEntry, Spans
from timesight.tasks import Graded, Task
from timesight.tasks.aggregate import Row
from timesight.types import Sample


def item_record(
    task: Task[Any, Any],
    item: Graded[Any, Any],
    duration_s: float | None,
    metrics: Mapping[str, Row],
    weights: Mapping[str, float],
    by: Sequence[str],
) -> ItemEntry:
    """One item as it is kept; ``metrics`` and ``weights``, what it counts in their means, by protocol."""
    sample = item.sample
    answered = () if item.answer is None else task.evidence(item.answer).spans
    return ItemEntry(
        id=sample.id,
        task=sample.task,
        video=sample.video.model_dump(mode="json"),
        duration_s=duration_s,
        question=task.question(sample),
        options=getattr(sample, "options", ()),
        truth=task.display_truth(sample),
        reply=item.reply,
        parsed=item.answer is not None,
        spans=Spans(
            truth=getattr(sample, "spans", ()), answer=tuple((span.start_s, span.end_s) for span in answered)
        ),
        groups={key: tuple(group_values(sample, key)) for key in by},
        metrics=dict(metrics),
        weights=dict(weights),
        data=_digest(sample),
    )


def group_values(sample: Sample, key: str) -> list[str]:
    """The values of a breakdown's ``key`` for this item, from ``meta`` or the sample's own fields; mostly one."""
    value = sample.meta.get(key, getattr(sample, key, None))
    return [str(one) for one in (value if isinstance(value, (list, tuple)) else [value]) if one not in (None, "")]


def _digest(sample: Sample) -> str:
    """What tells question and truth from any other's, wherever the video lies and however it was asked."""
    told = json.dumps(sample.model_dump(exclude={"video", "segments", "meta", "subtitles"}), default=str)
    return sha256(told.encode()).hexdigest()[:16]
