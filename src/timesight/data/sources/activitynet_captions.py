"""ActivityNet Captions: ``train.json``, ``val_1.json`` and ``val_2.json``, the test set of temporal grounding."""

from __future__ import annotations

from pathlib import Path

from timesight.data.records import make_sample
from timesight.data.sources.files import Source, field, official_file, read_json
from timesight.data.videos import Videos
from timesight.errors import SampleError
from timesight.tasks.temporal_grounding import TemporalGrounding
from timesight.types import Sample


def read(annotations: Path, videos: Videos, split: str, *, file: str | None = None) -> list[Sample]:
    """Read one temporal grounding sample per sentence.

    Args:
        annotations, videos, split: As in ``Source``.
        file: Official file without extension, such as ``val_1``, to read instead of that of the split.
    """
    path = official_file(annotations, f"{file or split}.json")
    return grounding_samples("activitynet_captions", path, videos)


def grounding_samples(source: str, file: Path, videos: Videos) -> list[Sample]:
    """Read temporal grounding samples of ``{video: {duration, timestamps, sentences}}``, times in seconds.

    Args:
        source: Name of the source, with which ids begin.
        file: JSON.
        videos: Index of videos.

    Raises:
        SampleError: If the file cannot be read or is not of this form.
    """
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
    # The annotations of the official test videos are not public; the usual test set is val_2.
    splits={"train": "train", "val": "val_2", "test": "val_2"},
    files="{split}.json",
    read=read,
)
