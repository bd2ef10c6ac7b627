"""From annotation files to samples: one small file for each source, and JSONL for anybody's own."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from timesight.data.jsonl import parse_line, read_jsonl
from timesight.data.source import Videos
from timesight.errors import InputError
from timesight.types import Sample

SOURCES = {
    "charades_sta": "temporal grounding",
    "activitynet_captions": "temporal grounding",
    "nextgqa": "grounded question answering",
    "got10k": "object tracking",
    "vidtab_quality": "quality assessment",
    "dream1k": "captioning",
    "videochat_r1": "the JSON of the paper's authors",
}


def read(
    name: str,
    annotations: str | Path,
    videos: str | Path | None = None,
    split: str = "train",
    **options: Any,
) -> list[Sample]:
    """The samples of a published source, from its official files.

    ``annotations`` is the folder with the files under their official names, ``videos`` the folder to look for
    media in (None: look for none). Odd records are kept, with what is wrong in ``problems``. ``options`` are the
    source's own. Raises InputError for an unknown source or split, SampleError for a file that is not what it
    should be.
    """
    if name not in SOURCES:
        raise InputError(f"no source {name}: choose one of {', '.join(SOURCES)}")
    reader = import_module(f"timesight.data.{name}").read
    samples: list[Sample] = reader(Path(annotations), Videos(Path(videos) if videos else None), split, **options)
    return samples


__all__ = ["SOURCES", "parse_line", "read", "read_jsonl"]
