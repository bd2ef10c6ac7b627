"""Perception Test: three-option questions, in the authors' JSON (``{video: {metadata, mc_question}}``) or the hub's
table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from timesight.data.records import make_sample
from timesight.data.sources.files import Source, field, number, official_file, optional, read_json, read_records
from timesight.data.videos import Videos
from timesight.errors import SampleError
from timesight.tasks.multiple_choice import MultipleChoice
from timesight.types import Sample

NAMES = {
    "valid": (
        "mc_question_valid.json",
        "all_valid.json",
        "mc_question_val/validation-00000-of-00001.parquet",
        "validation-00000-of-00001.parquet",
    ),
    "train": ("mc_question_train.json", "all_train.json"),
}


def read(annotations: Path, videos: Videos, split: str) -> list[Sample]:
    """Read one multiple-choice sample per question; ``meta`` has its area, its kind of reasoning and its tags."""
    file = official_file(annotations, *NAMES[split])
    rows = _hub_rows(file) if file.suffix == ".parquet" else _json_rows(file)
    samples = []
    for where, video, index, row, meta in rows:
        answer = str(field(where, row, "answer_id"))
        if not answer.lstrip("-").isdigit():
            raise SampleError(f"{where}: answer_id {answer!r} is not a number")
        options = field(where, row, "options", list)
        samples.append(
            make_sample(
                where,
                MultipleChoice.name,
                id=f"perception_test/{video}_{index}",
                video=videos.path(video),
                question=field(where, row, "question"),
                options=options,
                answer=int(answer) if int(answer) >= 0 else len(options),
                meta={key: row.get(key, "") for key in ("area", "reasoning", "tag")} | meta,
            )
        )
    return samples


Row = tuple[str, str, object, Mapping[str, Any], dict[str, Any]]


def _json_rows(file: Path) -> Iterator[Row]:
    for video, record in read_json(file, dict).items():
        where = f"{file}, {video}"
        about: dict[str, Any] = optional(where, record, "metadata", {})
        rate, frames = about.get("frame_rate"), about.get("num_frames")
        meta = {"duration_s": number(where, frames) / number(where, rate)} if rate and frames else {}
        for row in field(where, record, "mc_question", list):
            yield where, video, field(where, row, "id"), row, meta


def _hub_rows(file: Path) -> Iterator[Row]:
    for where, row in read_records(file):
        yield where, field(where, row, "video_name", str), field(where, row, "question_id"), row, {}


SOURCE = Source(
    task=MultipleChoice.name,
    splits={"val": "valid", "train": "train"},
    files="mc_question_{split}.json",
    read=read,
)
