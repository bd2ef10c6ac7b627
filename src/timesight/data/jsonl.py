"""Samples as JSONL, one per line: the format of custom data, and of all samples that timesight writes."""

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
    """Read all samples of a JSONL file.

    Args:
        path: Relative paths of videos count from its folder.
        tasks: The tasks that samples may belong to.

    Returns:
        Samples, in order. Those whose truth cannot be used are kept, with entries in ``problems``.

    Raises:
        SampleError: If the file cannot be read or holds no samples, a line is not a valid sample, or an id occurs
            twice; the message names file, line, id and field.
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
    """Parse one line of JSONL into a sample.

    Args:
        line: A JSON object.
        where: Names the line in error messages.
        root: Folder that a relative path of the video counts from.
        tasks: The tasks that the sample may belong to.

    Raises:
        SampleError: If the line is not a valid sample.
    """
    try:
        record = parse_record(line)
    except ValueError as error:
        raise SampleError(f"{where}: {error}") from None
    task = pop_task(f"{where}, id {record.get('id')}", record, tasks)
    return with_root(make_sample(where, task, tasks, **record), root)


def sample_line(sample: Sample) -> str:
    """Write ``sample`` as a line of JSON that ``parse_line`` reads, with the absolute path of its video.

    NaN and infinity are written as such and not as null, so that odd records stay as they are.
    """
    content = with_root(sample, Path.cwd()).model_dump(exclude_defaults=True)
    return to_json(content, inf_nan_mode="constants").decode()


def with_root(sample: Sample, root: Path) -> Sample:
    """Resolve the path of the sample's video against the folder ``root``; absolute paths stay."""
    return sample.model_copy(update={"video": sample.video.model_copy(update={"path": root / sample.video.path})})


def write_jsonl(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples as JSONL, atomically, with absolute paths of their videos.

    Raises:
        InputError: If the file cannot be written.
    """
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as lines:
        lines.writelines(sample_line(sample) + "\n" for sample in samples)
