"""VidTAB quality: ``train_100.txt`` and ``test.txt``, with a file and a label per line; 0 is low, 1 is high."""

from __future__ import annotations

from pathlib import Path

from timesight.data.records import UniqueIds, make_sample
from timesight.data.sources.files import Source, official_file, read_lines
from timesight.data.videos import Videos
from timesight.errors import SampleError
from timesight.tasks.quality_assessment import QualityAssessment
from timesight.types import Sample

LABELS = {"0": "low quality", "1": "high quality"}


def read(annotations: Path, videos: Videos, split: str) -> list[Sample]:
    """Read one quality assessment sample per line."""
    ids = UniqueIds()
    samples = []
    for where, line in read_lines(official_file(annotations, f"{split}.txt")):
        name, _, label = line.strip().rpartition(" ")
        if label not in LABELS or not name:
            raise SampleError(f"{where}: is not FILE LABEL, where the label is 0 (low) or 1 (high)")
        samples.append(
            make_sample(
                where,
                QualityAssessment.name,
                id=ids.of(f"vidtab_quality/{Path(name).stem}"),
                video=videos.path(name),
                label=LABELS[label],
            )
        )
    return samples


SOURCE = Source(
    task=QualityAssessment.name,
    splits={"train": "train_100", "test": "test"},
    files="{split}.txt",
    read=read,
)
