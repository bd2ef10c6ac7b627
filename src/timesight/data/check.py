"""What is wrong with a file of samples, line by line, before a GPU finds out.

Every line is read, whatever is wrong with the ones before it. ``KINDS`` says what each kind of problem means and
what ``data check --fix`` does about it (``timesight.data.fix``).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from timesight.data.records import schema_problems
from timesight.errors import SampleError
from timesight.tasks import TASKS
from timesight.types import Sample, TextPart
from timesight.video.survey import VideoFacts

Remedy = Literal["drop", "mend", "keep"]
DURATION_SLACK_S = 1.0  # stated durations are rounded, and containers disagree by a frame or two

KINDS: dict[str, tuple[str, Remedy]] = {
    "json": ("the line is not a JSON object", "drop"),
    "schema": ("a field is missing, unknown, or of the wrong type", "drop"),
    "duplicate_id": ("an earlier line has this id", "mend"),
    "same_question": ("an earlier line asks the same about the same video", "drop"),
    "no_truth": ("the truth cannot be used", "drop"),
    "reversed_span": ("a span ends before it starts", "drop"),
    "zero_length_span": ("a span has no length", "keep"),
    "negative_start": ("a span starts before the video", "mend"),
    "past_end": ("a span ends after the video", "mend"),
    "box_outside": ("a box reaches out of the frame", "mend"),
    "reversed_box": ("a box ends before it starts", "drop"),
    "not_an_option": ("the answer is not among the options", "drop"),
    "same_option": ("two options are the same", "keep"),
    "noted": ("the record itself says what is wrong with it", "drop"),
    "leaked_id": ("the video is in the other file", "drop"),
    "leaked_content": ("the content of the video is in the other file, under another name", "drop"),
    "video_missing": ("there is no such video", "drop"),
    "video_broken": ("the video does not decode to its end", "drop"),
    "duration": ("the stated duration is not that of the video", "mend"),
}


class Problem(NamedTuple):
    """One thing that is wrong: in which line, with which sample, of which of ``KINDS``, in a sentence."""

    line: int
    id: str | None
    kind: str
    message: str


@dataclass
class Line:
    """One line of a file of samples: its record where it is one, its sample where the record is one."""

    number: int
    record: dict[str, Any] = field(default_factory=dict)
    sample: Sample | None = None
    problems: list[Problem] = field(default_factory=list)

    def add(self, kind: str, message: str) -> None:
        """Note a problem."""
        known = self.record.get("id")
        self.problems.append(Problem(self.number, None if known is None else str(known), kind, message))


def check_lines(file: Path) -> list[Line]:
    """Every line of ``file`` with what is wrong with it, videos left aside. Raises SampleError for no text file."""
    if not file.is_file():
        raise SampleError(f"{file}: no such file" if not file.exists() else f"{file}: is not a file")
    try:
        texts = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise SampleError(f"{file}: is not UTF-8 text; give a JSONL file of samples") from None
    lines = [_check_text(number, text, file.parent) for number, text in enumerate(texts, start=1) if text.strip()]
    _check_repeats(lines)
    return lines


def check_leakage(
    lines: Sequence[Line], others: Sequence[Line], facts: Mapping[Path, VideoFacts | str] | None = None
) -> None:
    """Note samples whose video is in ``others`` too: by name, and by content where ``facts`` of both are known."""
    theirs = {_name(line.sample): line.number for line in others if line.sample}
    facts = facts or {}
    prints = {
        found.fingerprint: line.number
        for line in others
        if line.sample and isinstance(found := facts.get(line.sample.video.path), VideoFacts)
    }
    for line in (line for line in lines if line.sample):
        assert line.sample is not None
        found = facts.get(line.sample.video.path)
        if (name := _name(line.sample)) in theirs:
            line.add("leaked_id", f"video {name} is on line {theirs[name]} of the other file too")
        elif isinstance(found, VideoFacts) and found.fingerprint in prints:
            line.add(
                "leaked_content",
                f"video {line.sample.video.path} is that of line {prints[found.fingerprint]} of the other file",
            )


def check_videos(lines: Sequence[Line], facts: Mapping[Path, VideoFacts | str]) -> None:
    """Note videos that are missing or broken, and what in the samples does not fit those that are not."""
    for line in lines:
        if line.sample is None:
            continue
        found = facts[line.sample.video.path]
        if isinstance(found, str):
            kind = "video_missing" if found == "no such file" else "video_broken"
            line.add(kind, f"{line.sample.video.path}: {found}")
            continue
        stated_s = line.sample.meta.get("duration_s")
        if isinstance(stated_s, (int, float)) and abs(stated_s - found.duration_s) > DURATION_SLACK_S:
            line.add("duration", f"meta.duration_s says {stated_s} s, the video lasts {found.duration_s:.2f} s")
        line.problems = [problem for problem in line.problems if problem.kind != "past_end"]
        _check_ends(line, found.duration_s)


def _check_text(number: int, text: str, root: Path) -> Line:
    line = Line(number)
    try:
        record = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line.add("json", f"not JSON ({getattr(error, 'msg', 'nested too deeply')})")
        return line
    if not isinstance(record, dict):
        line.add("json", "not a JSON object")
        return line
    line.record = record
    task = TASKS.get(str(record.get("task")))
    if task is None:
        line.add("schema", f"task {record.get('task')!r} is not one of {', '.join(TASKS)}")
        return line
    try:
        sample: Sample = task.Sample.model_validate(record)
    except ValidationError as error:
        for message in schema_problems(error, task.Sample):
            line.add("schema", message)
        return line
    line.sample = sample.model_copy(
        update={"video": sample.video.model_copy(update={"path": root / sample.video.path})}
    )
    for kind, message in _sample_problems(sample):
        line.add(kind, message)
    if isinstance(duration_s := sample.meta.get("duration_s"), (int, float)):
        _check_ends(line, duration_s)
    return line


def _sample_problems(sample: Sample) -> Iterator[tuple[str, str]]:
    """What is wrong with a sample by itself."""
    fields = sample.model_dump()
    known = 0
    for start_s, end_s in fields.get("spans", ()):
        if start_s > end_s:
            known += 1
            yield "reversed_span", f"span {start_s} to {end_s} is reversed"
        elif start_s == end_s:
            yield "zero_length_span", f"span {start_s} to {end_s} has no length"
        if -math.inf < start_s < 0 <= end_s:
            yield "negative_start", f"span {start_s} to {end_s} starts before the video"
    for number, (x0, y0, x1, y1) in enumerate(fields.get("boxes", ())):
        if number in fields.get("absent", ()):
            continue
        if x0 > x1 or y0 > y1:
            known += 1
            yield "reversed_box", f"box {number} ends before it starts: {[x0, y0, x1, y1]}"
        elif min(x0, y0) < 0 or max(x1, y1) > 1:
            yield "box_outside", f"box {number} reaches out of the frame: {[x0, y0, x1, y1]}"
    options = fields.get("options", ())
    if options and fields["answer"] >= len(options):
        known += 1
        yield "not_an_option", f"answer {fields['answer']} is not among the {len(options)} options"
    for option, count in Counter(options).items():
        if count > 1:
            yield "same_option", f"option {option!r} is there {count} times"
    for message in sample.problems:
        yield "noted", message
    if not known and not sample.problems:
        for message in TASKS[sample.task].problems(sample):
            yield "no_truth", message


def _check_ends(line: Line, duration_s: float) -> None:
    assert line.sample is not None
    for start_s, end_s in line.sample.model_dump().get("spans", ()):
        if end_s > duration_s:
            line.add("past_end", f"span {start_s} to {end_s} ends after the video, at {duration_s:.2f} s")


def _check_repeats(lines: Sequence[Line]) -> None:
    """Ids and questions that are there twice."""
    ids: dict[str, int] = {}
    questions: dict[object, int] = {}
    for line in lines:
        if line.sample is None:
            continue
        first = ids.setdefault(line.sample.id, line.number)
        if first != line.number:
            line.add("duplicate_id", f"id {line.sample.id} is on line {first} already")
        first = questions.setdefault(_question(line.sample), line.number)
        if first != line.number:
            line.add("same_question", f"line {first} asks the same about the same video")


def _question(sample: Sample) -> object:
    """What is asked about what; two samples with the same truth and the same question are one."""
    texts = tuple(part.text for part in TASKS[sample.task].prompt(sample) if isinstance(part, TextPart))
    return sample.task, sample.video, texts


def _name(sample: Sample | None) -> str:
    """What a video is called wherever it lies; frames of several videos may lie in folders of one name."""
    assert sample is not None
    return sample.video.path.stem
