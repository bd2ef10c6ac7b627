"""FIBER-1k: a JSON list of clips, each with one long caption."""

from __future__ import annotations

from pathlib import Path

from timesight.data.records import UniqueIds, make_sample
from timesight.data.sources.files import Source, field, official_file, read_records
from timesight.data.videos import Videos
from timesight.tasks.captioning import Captioning
from timesight.types import Sample

NAMES = ("fiber_1k.json", "fiber1k.json", "FIBER-1k.json", "fiber.json", "train.json")


def read(annotations: Path, videos: Videos, split: str) -> list[Sample]:
    """Read one captioning sample per record; the clip is named by ``video`` or ``path``."""
    ids = UniqueIds()
    samples = []
    for where, record in read_records(official_file(annotations, *NAMES)):
        name = field(where, record, "path" if "path" in record else "video", str)
        samples.append(
            make_sample(
                where,
                Captioning.name,
                id=ids.of(f"fiber/{Path(name).stem}"),
                video=videos.path(Path(name).name),
                caption=field(where, record, "caption"),
            )
        )
    return samples


SOURCE = Source(task=Captioning.name, splits={"train": "train"}, files="fiber_1k.json", read=read)
