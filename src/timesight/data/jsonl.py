"""Samples as JSONL, one a line: the form of own data and of everything timesight writes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from timesight.data.records import make_sample, pop_task
from timesight.errors import InputError, SampleError
from timesight.types import Sample


def read_jsonl(path: Path) -> list[Sample]:
    """All samples of ``path``; video paths count from the file's own folder.

    Records whose truth cannot be used stay in, with entries in ``problems``. Raises SampleError with file,
    line, id and field for anything that is not a sample.
    """
    if not path.exists():
        raise SampleError(f"{path}: no such file")
    if not path.is_file():
        raise SampleError(f"{path}: is not a file; give a JSONL file of samples")
    samples: list[Sample] = []
    line_of: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                sample = parse_line(line, f"{path} line {number}", path.parent)
                if sample.id in line_of:
                    raise SampleError(
                        f"{path} line {number}: id {sample.id} is already on line {line_of[sample.id]}; "
                        "ids must be unique"
                    )
                line_of[sample.id] = number
                samples.append(sample)
    except UnicodeDecodeError:
        raise SampleError(f"{path}: is not UTF-8 text; give a JSONL file of samples") from None
    if not samples:
        raise SampleError(f"{path}: holds no samples")
    return samples


def parse_line(line: str, where: str, root: Path) -> Sample:
    """One sample; ``where`` names the line in errors, ``root`` is what a relative video path counts from."""
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise SampleError(f"{where}: not JSON ({getattr(error, 'msg', 'nested too deeply')})") from None
    if not isinstance(record, dict):
        raise SampleError(f"{where}: not a JSON object")
    task = pop_task(f"{where}, id {record.get('id')}", record)
    sample = make_sample(where, task, **record)
    return sample.model_copy(update={"video": sample.video.model_copy(update={"path": root / sample.video.path})})


def require_new(path: Path) -> None:
    """Raise InputError where there is something at ``path``: results of a user's are never written over."""
    if path.exists():
        raise InputError(f"{path}: is there already; nothing is written over, choose another name")


def write_jsonl(path: Path, samples: Iterable[Sample]) -> None:
    """Write ``samples`` as ``read_jsonl`` reads them; the file appears only once it is whole.

    Video paths become absolute, so that they hold wherever the file is moved.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("w", encoding="utf-8") as lines:
        for sample in samples:
            video = sample.video.model_copy(update={"path": sample.video.path.absolute()})
            lines.write(sample.model_copy(update={"video": video}).model_dump_json(exclude_defaults=True) + "\n")
    unfinished.replace(path)
