"""DREAM-1K: ``DREAM-1k.jsonl``, a reference caption with its events for each clip, in five subsets."""

from __future__ import annotations

from pathlib import Path

from timesight.data.records import make_sample, parse_record
from timesight.data.sources.files import Source, field, official_file, read_lines
from timesight.data.videos import Videos
from timesight.errors import SampleError
from timesight.tasks.captioning import Captioning
from timesight.types import Sample


def read(annotations: Path, videos: Videos, split: str) -> list[Sample]:
    """Read one captioning sample per line; ``meta.subset`` names its subset."""
    samples = []
    for where, line in read_lines(official_file(annotations, "DREAM-1k.jsonl")):
        try:
            record = parse_record(line)
            asked, answered = (message["content"] for message in record["messages"])
            caption = next(part["reference"] for part in answered if part["reference"])
            question = next(part["text"] for part in asked if part["text"])
        except (KeyError, TypeError, ValueError, StopIteration) as error:
            raise SampleError(f"{where}: is not a record of DREAM-1K ({error!r})") from None
        extra = field(where, record, "extra_info", dict)
        number = field(where, record, "idx")
        samples.append(
            make_sample(
                where,
                Captioning.name,
                id=f"dream1k/{number}",
                video=videos.path(str(number)),
                caption=caption,
                events=extra.get("events"),
                question=question,
                meta={"subset": field(where, record, "dataset", str).rpartition("/")[2]}
                | ({"duration_s": extra["duration"]} if "duration" in extra else {}),
            )
        )
    return samples


SOURCE = Source(task=Captioning.name, splits={"test": "test"}, files="DREAM-1k.jsonl", read=read)
