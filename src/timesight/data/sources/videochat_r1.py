"""The JSON annotation files of VideoChat-R1's authors, in their published formats.

They may be in one folder, or in the authors' tree of folders (``Annotations``); those that are there are read, and
a warning names the others. Those of GOT-10k do not give the times of their boxes, so their samples can be scored
but not trained on: read ``got10k`` for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from timesight.data.records import UniqueIds, make_sample
from timesight.data.sources.activitynet_captions import grounding_samples
from timesight.data.sources.files import Source, field, files_present, read_records
from timesight.data.videos import Videos
from timesight.errors import InputError
from timesight.tasks.grounded_qa import GroundedQa
from timesight.tasks.object_tracking import ObjectTracking
from timesight.tasks.quality_assessment import QualityAssessment
from timesight.types import Sample

NAME = "videochat_r1"
UNTIMED = "the file does not say at which times its boxes are"


def read(annotations: Path, videos: Videos, split: str, *, part: str | None = None) -> list[Sample]:
    """Read the samples of all files that are there, or of one.

    Args:
        annotations, videos, split: As in ``Source``.
        part: One of ``PARTS``, such as ``nextgqa_val``; None reads all.
    """
    if part is not None and part not in PARTS:
        raise InputError(f"{NAME} has no part {part}: choose one of {', '.join(PARTS)}")
    wanted = (part,) if part else PARTS
    files = files_present(annotations, {name: PARTS[name].names for name in wanted})
    return [sample for name, file in files.items() for sample in PARTS[name].read(file, videos)]


def _charades(file: Path, videos: Videos) -> Iterator[Sample]:
    yield from grounding_samples(NAME, file, videos)


def _nextgqa(file: Path, videos: Videos) -> Iterator[Sample]:
    for where, record in read_records(file):
        options = [re.sub(r"^\([A-Z]\)\s*", "", str(option)) for option in field(where, record, "options", list)]
        answer = str(field(where, record, "answer")).strip("() ")
        yield make_sample(
            where,
            GroundedQa.name,
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
            QualityAssessment.name,
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
            ObjectTracking.name,
            id=ids.of(f"{NAME}/{name}"),
            video={"path": videos.path(name, extension=""), "fps": 10},
            object=field(where, record, "object"),
            times_s=range(len(boxes)),
            boxes=boxes,
            meta={"times_s": UNTIMED},
            problems=[UNTIMED]
            if videos.root
            else [],  # without videos no training is possible, and scores need no times
        )


@dataclass(frozen=True)
class Part:
    """One of the authors' files.

    Args:
        names: The names that it may have in the folder of annotations, the preferred one first.
        read: Reads its samples.
    """

    names: tuple[str, ...]
    read: Callable[[Path, Videos], Iterator[Sample]]


# First the most specific name, then the published one, then the path in the authors' tree.
PARTS = {
    "charades_train": Part(
        ("charades_train.json", "train.json", "Charades/charades_annotation/train.json"), _charades
    ),
    "nextgqa_val": Part(("nextgqa_val.json", "NextGQA/nextgqa_val.json"), _nextgqa),
    "quality_100shot": Part(
        (
            "quality_100shot.json",
            "Quality_Access_100shot.json",
            "VideoEval/Quality_Access/annotations/Quality_Access_100shot.json",
        ),
        _quality,
    ),
    "got_train": Part(("got_train.json", "Got/got_train.json"), _tracking),
    "got_val": Part(("got_val.json", "Got/got_val.json"), _tracking),
}

SOURCE = Source(
    task="temporal_grounding, grounded_qa, object_tracking, quality_assessment",
    splits={"train": "train"},
    files="train.json (Charades), nextgqa_val.json, Quality_Access_100shot.json, got_train.json, got_val.json",
    read=read,
)
