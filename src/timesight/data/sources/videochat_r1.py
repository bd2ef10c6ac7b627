"""The JSON files of VideoChat-R1's authors, in the forms they are published in.

``charades_train.json``, ``nextgqa_val.json``, ``quality_100shot.json`` and ``got_val.json``; whichever are there.
The last does not say at which times its boxes are, so its samples can be scored but not trained on: read
``got10k`` for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from timesight.data.records import UniqueIds, make_sample
from timesight.data.sources.activitynet_captions import grounding_samples
from timesight.data.sources.files import Source, field, official_file, read_records
from timesight.data.videos import Videos
from timesight.errors import InputError
from timesight.types import Sample

NAME = "videochat_r1"
UNTIMED = "the file does not say at which times its boxes are"


def read(annotations: Path, videos: Videos, split: str, *, part: str | None = None) -> list[Sample]:
    """Samples of every file that is there, or of the one named ``part``, such as ``nextgqa_val``."""
    if part is not None and part not in PARTS:
        raise InputError(f"{NAME} has no part {part}: choose one of {', '.join(PARTS)}")
    wanted = (part,) if part else PARTS
    official_file(annotations, *(f"{name}.json" for name in wanted))
    files = {name: annotations / f"{name}.json" for name in wanted if (annotations / f"{name}.json").is_file()}
    return [sample for name, file in files.items() for sample in PARTS[name](file, videos)]


def _charades(file: Path, videos: Videos) -> Iterator[Sample]:
    yield from grounding_samples(NAME, file, videos)


def _nextgqa(file: Path, videos: Videos) -> Iterator[Sample]:
    for where, record in read_records(file):
        options = [re.sub(r"^\([A-Z]\)\s*", "", str(option)) for option in field(where, record, "options", list)]
        answer = str(field(where, record, "answer")).strip("() ")
        yield make_sample(
            where,
            "grounded_qa",
            id=f"{NAME}/{field(where, record, 'id')}",
            video=videos.path(field(where, record, "video", str)),
            question=field(where, record, "question"),
            options=options,
            answer=ord(answer) - ord("A") if len(answer) == 1 and answer.isupper() else len(options),
            spans=field(where, record, "glue"),
            meta={"duration_s": field(where, record, "duration"), "type": record.get("type", "")},
        )


def _quality(file: Path, videos: Videos) -> Iterator[Sample]:
    ids = UniqueIds()
    for where, record in read_records(file):
        name = field(where, record, "video", str)
        yield make_sample(
            where,
            "quality_assessment",
            id=ids.of(f"{NAME}/{Path(name).stem}"),
            video=videos.path(name),
            label=field(where, record, "answer"),
        )


def _tracking(file: Path, videos: Videos) -> Iterator[Sample]:
    ids = UniqueIds()
    for where, record in read_records(file):
        name, boxes = Path(field(where, record, "path", str)).name, field(where, record, "gt", list)
        yield make_sample(
            where,
            "object_tracking",
            id=ids.of(f"{NAME}/{name}"),
            video={"path": videos.path(name, extension=""), "fps": 10},
            object=field(where, record, "object"),
            times_s=range(len(boxes)),
            boxes=boxes,
            meta={"times_s": UNTIMED},
            problems=[UNTIMED]
            if videos.root
            else [],  # without videos nobody can train on it, and scores need none
        )


PARTS: dict[str, Callable[[Path, Videos], Iterator[Sample]]] = {
    "charades_train": _charades,
    "nextgqa_val": _nextgqa,
    "quality_100shot": _quality,
    "got_val": _tracking,
}

SOURCE = Source(
    task="temporal_grounding, grounded_qa, object_tracking, quality_assessment",
    splits={"train": "train"},
    files=", ".join(f"{part}.json" for part in PARTS),
    read=read,
)
