"""Any data by one name: a published source, or a JSONL file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timesight.data.jsonl import read_jsonl
from timesight.data.sources import SOURCES, read
from timesight.errors import InputError
from timesight.tasks import TASKS, TaskRegistry
from timesight.types import Sample


def read_dataset(
    name: str | Path,
    *,
    annotations: str | Path | None = None,
    videos: str | Path | None = None,
    split: str | None = None,
    tasks: TaskRegistry = TASKS,
    **options: Any,
) -> list[Sample]:
    """Read the samples of a published source, or of a JSONL file.

    Args:
        name: One of ``timesight.data.SOURCES``, or a JSONL file, for which the other arguments have no effect.
        annotations: Folder with the source's official files.
        videos: Folder with its videos; None does not look for them.
        split: Of the source; None is its first.
        tasks: Of a file's samples, custom ones included.
        **options: Of the source, such as ``subtitles=True`` of ``videomme``.

    Returns:
        Samples. For those whose truth cannot be used, ``problems`` says why.

    Raises:
        InputError: If there is no such source, file, split or option, or ``annotations`` is missing.
        SampleError: If a record is not a valid sample; the message names file, line and id.
    """
    if str(name) not in SOURCES:
        if Path(name).is_file():
            return read_jsonl(Path(name), tasks)
        raise InputError(f"{name}: is neither a file nor a source; sources are {', '.join(SOURCES)}")
    if annotations is None:
        raise InputError(f"{name}: say where its official files are (annotations=DIR)")
    split = split or next(iter(SOURCES[str(name)].splits))
    return read(str(name), Path(annotations), None if videos is None else Path(videos), split, **options)
