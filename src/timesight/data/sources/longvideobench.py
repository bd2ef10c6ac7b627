"""LongVideoBench: ``lvb_val.json``, subtitles in ``subtitles/``."""

from __future__ import annotations

from pathlib import Path

from timesight.data.records import make_sample
from timesight.data.sources.choices import json_subtitles, subtitle_files
from timesight.data.sources.files import Source, field, number, official_file, read_records
from timesight.data.videos import Videos
from timesight.tasks.multiple_choice import MultipleChoice
from timesight.types import Sample

ABOUT = ("duration_group", "question_category", "topic_category", "level")


def read(annotations: Path, videos: Videos, split: str, *, subtitles: bool = False) -> list[Sample]:
    """Read one multiple-choice sample per record; ``meta`` has the keys by which the authors break results down.

    Args:
        annotations, videos, split: As in ``Source``.
        subtitles: Add the subtitles of each video, with their times in it; missing files are named in a warning.
    """
    records = list(read_records(official_file(annotations, f"lvb_{split}.json")))
    files = (
        subtitle_files(annotations, "subtitles", (field(*each, "subtitle_path", str) for each in records))
        if subtitles
        else {}
    )
    samples = []
    for where, record in records:
        duration_s = field(where, record, "duration")
        spoken = []
        if subtitles:
            offset_s = number(where, record.get("starting_timestamp_for_subtitles") or 0)
            spoken = json_subtitles(files.get(record["subtitle_path"]), offset_s, number(where, duration_s))
        samples.append(
            make_sample(
                where,
                MultipleChoice.name,
                id=f"longvideobench/{field(where, record, 'id')}",
                video=videos.path(field(where, record, "video_path", str)),
                question=field(where, record, "question"),
                options=field(where, record, "candidates", list),
                answer=field(where, record, "correct_choice"),
                subtitles=spoken,
                meta={"duration_s": duration_s} | {k: record.get(k, "") for k in ABOUT},
            )
        )
    return samples


SOURCE = Source(task=MultipleChoice.name, splits={"val": "val"}, files="lvb_val.json, subtitles/*.json", read=read)
