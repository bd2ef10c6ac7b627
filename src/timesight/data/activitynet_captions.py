"""ActivityNet Captions: ``train.json``, ``val_1.json`` and ``val_2.json``, which is what grounding is tested on."""

from __future__ import annotations

from pathlib import Path

from timesight.data.source import Videos, field, make_sample, official_file, read_json, split_name
from timesight.types import Sample

SPLITS = {"train": "train", "val": "val_2", "test": "val_2"}


def read(annotations: Path, videos: Videos, split: str, *, file: str | None = None) -> list[Sample]:
    """A temporal grounding sample a sentence; ``file`` such as ``val_1`` names another list."""
    path = official_file(annotations, f"{file or split_name('activitynet_captions', split, SPLITS)}.json")
    return grounding_samples("activitynet_captions", path, videos)


def grounding_samples(source: str, file: Path, videos: Videos) -> list[Sample]:
    """Samples of ``{video: {duration, timestamps, sentences}}``."""
    return [
        make_sample(
            f"{file}, {video}",
            "temporal_grounding",
            id=f"{source}/{video}#{number}",
            video=videos.path(video),
            query=sentence,
            spans=[span],
            meta={"duration_s": field(f"{file}, {video}", record, "duration")},
        )
        for video, record in read_json(file).items()
        for number, (span, sentence) in enumerate(
            zip(
                field(f"{file}, {video}", record, "timestamps"),
                field(f"{file}, {video}", record, "sentences"),
                strict=True,
            )
        )
    ]
