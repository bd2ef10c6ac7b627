"""Video-MME: one question per row of the hub's parquet or a JSON list; subtitles in ``subtitle/{videoID}.srt``."""

from __future__ import annotations

from pathlib import Path

from timesight.data.records import make_sample
from timesight.data.sources.choices import lettered_answer, plain_options, srt_subtitles, subtitle_files
from timesight.data.sources.files import Source, field, official_file, read_records
from timesight.data.videos import Videos
from timesight.tasks.multiple_choice import MultipleChoice
from timesight.types import Sample

NAMES = ("videomme/test-00000-of-00001.parquet", "test-00000-of-00001.parquet", "videomme.json", "test.json")


def read(annotations: Path, videos: Videos, split: str, *, subtitles: bool = False) -> list[Sample]:
    """Read one multiple-choice sample per row; ``meta`` has the keys by which the authors break results down.

    Args:
        annotations, videos, split: As in ``Source``.
        subtitles: Add the subtitles of each video; those without any are named in a warning.
    """
    records = list(read_records(official_file(annotations, *NAMES)))
    names = [field(where, row, "videoID", str) for where, row in records]
    files = subtitle_files(annotations, "subtitle", (f"{name}.srt" for name in names)) if subtitles else {}
    samples = []
    for name, (where, row) in zip(names, records, strict=True):
        options = plain_options(field(where, row, "options", list))
        samples.append(
            make_sample(
                where,
                MultipleChoice.name,
                id=f"videomme/{field(where, row, 'question_id')}",
                video=videos.path(name),
                question=field(where, row, "question"),
                options=options,
                answer=lettered_answer(field(where, row, "answer"), options),
                subtitles=srt_subtitles(files.get(f"{name}.srt")),
                meta={key: row.get(key, "") for key in ("duration", "domain", "sub_category", "task_type")},
            )
        )
    return samples


SOURCE = Source(
    task=MultipleChoice.name,
    splits={"test": "test"},
    files="test-00000-of-00001.parquet or videomme.json, subtitle/*.srt",
    read=read,
)
