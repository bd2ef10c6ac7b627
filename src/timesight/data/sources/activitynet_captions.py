"""ActivityNet Captions: ``train.json``, ``val_1.json`` and ``val_2.json``, which is what grounding is tested on."""

from __future__ import annotations

from pathlib import Path

from timesight.data.records import make_sample
from timesight.data.sources.files import Source, field, official_file, read_json
from timesight.data.videos import Videos
from timesight.errors import SampleError
from timesight.tasks.temporal_grounding import TemporalGrounding
from timesight.types import Sample


def read(annotations: Path, videos: Videos, split: str, *, file: str | None = None) -> list[Sample]:
    """A temporal grounding sample a sentence; ``file`` such as ``val_1`` names another list."""
    path = official_file(annotations, f"{file or split}.json")
    return grounding_samples("activitynet_captions", path, videos)


def grounding_samples(source: str, file: Path, videos: Videos) -> list[Sample]:
    """Samples of ``{video: {duration, timestamps, sentences}}``."""
    samples = []
    for video, record in read_json(file, dict).items():
        where = f"{file}, {video}"
        spans, sentences = field(where, record, "timestamps", list), field(where, record, "sentences", list)
        if len(spans) != len(sentences):
            raise SampleError(f"{where}: {len(spans)} timestamps for {len(sentences)} sentences")
        samples += [
            make_sample(
                where,
                TemporalGrounding.name,
                id=f"{source}/{video}#{number}",
                video=videos.path(video),
                query=sentence,
                spans=[span],
                meta={"duration_s": field(where, record, "duration")},
            )
            for number, (span, sentence) in enumerate(zip(spans, sentences, strict=True))
        ]
    return samples


SOURCE = Source(
    task=TemporalGrounding.name,
    # Its test videos' annotations are not public; val_2 is what everybody tests on.
    splits={"train": "train", "val": "val_2", "test": "val_2"},
    files="{split}.json",
    read=read,
)
