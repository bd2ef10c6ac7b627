"""Charades-STA: ``charades_sta_{train,test}.txt``, durations from ``Charades_v1_{train,test}.csv``."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from timesight.data.records import make_sample
from timesight.data.sources.files import Source, number, official_files, read_csv, read_lines
from timesight.data.videos import Videos
from timesight.errors import SampleError
from timesight.tasks.temporal_grounding import TemporalGrounding
from timesight.types import Sample

LINE = re.compile(r"(?P<video>\S+) (?P<start>-?[\d.]+) (?P<end>-?[\d.]+)\s*##(?P<query>.*)")


def read(annotations: Path, videos: Videos, split: str) -> list[Sample]:
    """Read one temporal grounding sample per line; reversed spans and ends past the duration are kept unchanged."""
    lengths, queries = official_files(annotations, f"Charades_v1_{split}.csv", f"charades_sta_{split}.txt")
    durations_s = {row["id"]: number(where, row["length"]) for where, row in read_csv(lengths, ("id", "length"))}
    seen: Counter[str] = Counter()
    samples = []
    for where, line in read_lines(queries):
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise SampleError(f"{where}: is not VIDEO START END##QUERY")
        video = match["video"]
        samples.append(
            make_sample(
                where,
                TemporalGrounding.name,
                id=f"charades_sta/{video}#{seen[video]}",
                video=videos.path(video),
                query=match["query"],
                spans=[[match["start"], match["end"]]],
                meta={"duration_s": durations_s[video]} if video in durations_s else {},
            )
        )
        seen[video] += 1
    return samples


SOURCE = Source(
    task=TemporalGrounding.name,
    splits={"train": "train", "test": "test"},
    files="charades_sta_{split}.txt, Charades_v1_{split}.csv",
    read=read,
)
