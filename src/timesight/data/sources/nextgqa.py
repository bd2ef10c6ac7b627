"""NExT-GQA: questions in ``{split}.csv``, evidence in ``gsub_{split}.json``.

Only val and test have evidence; the paper trains on val.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timesight.data.records import make_sample
from timesight.data.sources.files import Source, official_files, optional, read_csv, read_json
from timesight.data.videos import Videos
from timesight.tasks.grounded_qa import GroundedQa
from timesight.types import Sample

OPTIONS = ("a0", "a1", "a2", "a3", "a4")


def read(annotations: Path, videos: Videos, split: str) -> list[Sample]:
    """Read one grounded QA sample per row; questions without evidence are kept, with a problem added."""
    evidence_file, questions = official_files(annotations, f"gsub_{split}.json", f"{split}.csv")
    grounds = read_json(evidence_file, dict)
    samples = []
    rows = read_csv(questions, ("video_id", "qid", "question", "answer", *OPTIONS))
    for where, row in rows:
        video, options = row["video_id"], [row[option] for option in OPTIONS]
        ground: dict[str, Any] = optional(where, grounds, video, {})
        evidence: dict[str, Any] = optional(where, ground, "location", {})
        samples.append(
            make_sample(
                where,
                GroundedQa.name,
                id=f"nextgqa/{video}_{row['qid']}",
                video=videos.path(video),
                question=row["question"],
                options=options,
                answer=_index(row["answer"], options),
                spans=evidence.get(row["qid"]) or [],
                meta={"type": row.get("type", "")}
                | ({"duration_s": ground["duration"]} if "duration" in ground else {}),
            )
        )
    return samples


def _index(answer: str, options: list[str]) -> int:
    """Index of the option that the answer names, by text or number; ``len(options)`` or more if it is none."""
    if answer in options:
        return options.index(answer)
    return int(answer) if answer.isdigit() else len(options)


SOURCE = Source(
    task=GroundedQa.name,
    splits={"val": "val", "test": "test"},
    files="{split}.csv, gsub_{split}.json",
    read=read,
)
