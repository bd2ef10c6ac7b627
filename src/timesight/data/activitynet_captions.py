"""ActivityNet Captions: ``train.json``, ``val_1.json`` and ``val_2.json``, which is what grounding is tested on."""

from __future__ import annotations

from pathlib import Path

from timesight.data.source import Videos, field, make_sample, official_file, read_json, split_name
from timesight.errors import SampleError
from timesight.types import Sample

# Its test videos' annotations are not public; val_2 is what everybody tests on.
SPLITS = {"train": "train", "val": "val_2", "test": "val_2"}


def read(annotations: Path, videos: Videos, split: str, *, file: str | None = None) -> list[Sample]:
    """A temporal grounding sample a sentence; ``file`` such as ``val_1`` names another list."""
    path = official_file(annotations, f"{file or split_name('activitynet_captions', split, SPLITS)}.json")
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
                "temporal_grounding",
                id=f"{source}/{video}#{number}",
                video=videos.path(video),
                query=sentence,
                spans=[span],
                meta={"duration_s": field(where, record, "duration")},
            )
            for number, (span, sentence) in enumerate(zip(spans, sentences, strict=True))
        ]
    return samples
