"""The record of an item: question, truth, reply, and metrics."""

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
    """Return the record of one item for ``items.jsonl``.

    Args:
        task: The task of the item.
        item: Sample, reply and parsed answer.
        duration_s: Length of the video in seconds; None if it is not known.
        metrics: By protocol; None if the item is not scored.
        weights: The item's weight in the means, by protocol.
        by: Keys of the breakdowns.
    """
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
        data=sample_digest(sample),
    )


def group_values(sample: Sample, key: str) -> list[str]:
    """Return the values of a breakdown's ``key`` for a sample, from ``meta`` or else from its field of that name.

    Returns:
        One value, several where the field is a list, none where it is missing or empty.
    """
    value = sample.meta.get(key, getattr(sample, key, None))
    return [str(one) for one in (value if isinstance(value, (list, tuple)) else [value]) if one not in (None, "")]


def sample_digest(sample: Sample) -> str:
    """A digest of question and truth, whatever the path of the video and the form of the prompt."""
    told = json.dumps(sample.model_dump(exclude={"video", "segments", "meta", "subtitles"}), default=str)
    return sha256(told.encode()).hexdigest()[:16]
