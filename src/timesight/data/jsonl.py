"""Samples as JSONL, one a line: the form of own data and of everything timesight writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic_core import to_json

from timesight.data.records import make_sample, parse_record, pop_task
from timesight.errors import SampleError
from timesight.files import text_lines, whole_file
from timesight.tasks import TASKS, TaskRegistry
from timesight.types import Sample


def read_jsonl(path: Path, tasks: TaskRegistry = TASKS) -> list[Sample]:
    """All samples of ``path``; video paths count from the file's own folder.

    Records whose truth cannot be used stay in, with entries in ``problems``. Raises SampleError with file,
    line, id and field for anything that is not a sample.
    """
    samples: list[Sample] = []
    line_of: dict[str, int] = {}
    for number, line in text_lines(path):
        sample = parse_line(line, f"{path} line {number}", path.parent, tasks)
        if sample.id in line_of:
            raise SampleError(
                f"{path} line {number}: id {sample.id} is already on line {line_of[sample.id]}; ids must be unique"
            )
        line_of[sample.id] = number
        samples.append(sample)
    if not samples:
        raise SampleError(f"{path}: holds no samples")
    return samples


def parse_line(line: str, where: str, root: Path, tasks: TaskRegistry = TASKS) -> Sample:
    """One sample; ``where`` names the line in errors, ``root`` is what a relative video path counts from.

    Raises SampleError for a line that is none.
    """
    try:
        record = parse_record(line)
    except ValueError as error:
        raise SampleError(f"{where}: {error}") from None
    task = pop_task(f"{where}, id {record.get('id')}", record, tasks)
    return with_root(make_sample(where, task, tasks, **record), root)


def sample_line(sample: Sample) -> str:
    """``sample`` as ``parse_line`` reads it, its video by its absolute path, so that it holds wherever it is moved.

    Odd numbers are kept as they are: NaN stays NaN and is not the null that JSON has in its place.
    """
    content = with_root(sample, Path.cwd()).model_dump(exclude_defaults=True)
    return to_json(content, inf_nan_mode="constants").decode()


def with_root(sample: Sample, root: Path) -> Sample:
    """``sample`` with the path of its video counted from the folder ``root``; absolute paths stay."""
    return sample.model_copy(update={"video": sample.video.model_copy(update={"path": root / sample.video.path})})


def write_jsonl(path: Path, samples: Iterable[Sample]) -> None:
    """Write ``samples`` as ``read_jsonl`` reads them; the file appears only once it is whole.

    Raises InputError where it cannot be written.
    """
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as lines:
        lines.writelines(sample_line(sample) + "\n" for sample in samples)
