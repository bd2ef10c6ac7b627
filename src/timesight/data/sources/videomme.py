"""Video-MME: a question a row, in parquet as on the hub or a JSON list; subtitles in ``subtitle/{videoID}.srt``."""

from __future__ import annotations

from pathlib import Path

from timesight.data.records import make_sample
from timesight.data.sources.choices import lettered_answer, plain_options, srt_subtitles, subtitle_folder
from timesight.data.sources.files import Source, field, official_file, read_records
from timesight.data.videos import Videos
from timesight.types import Sample

NAMES = ("videomme/test-00000-of-00001.parquet", "test-00000-of-00001.parquet", "videomme.json", "test.json")


def read(annotations: Path, videos: Videos, split: str, *, subtitles: bool = False) -> list[Sample]:
    """A multiple-choice sample a row; ``meta`` has what the authors break results down by.

    ``subtitles`` puts those of each video into its prompts; some videos have none.
    """
    folder = subtitle_folder(annotations, "subtitle") if subtitles else None
    samples = []
    for where, row in read_records(official_file(annotations, *NAMES)):
        name = field(where, row, "videoID", str)
        options = plain_options(field(where, row, "options", list))
        samples.append(
            make_sample(
                where,
                "multiple_choice",
                id=f"videomme/{field(where, row, 'question_id')}",
                video=videos.path(name),
                question=field(where, row, "question"),
                options=options,
                answer=lettered_answer(field(where, row, "answer"), options),
                subtitles=srt_subtitles(folder / f"{name}.srt") if folder else [],
                meta={key: row.get(key, "") for key in ("duration", "domain", "sub_category", "task_type")},
            )
        )
    return samples


SOURCE = Source(
    task="multiple_choice",
    splits={"test": "test"},
    files="test-00000-of-00001.parquet or videomme.json, subtitle/*.srt",
    read=read,
)
