"""Validation of a file of samples, line by line, before training or evaluation fails on it.

Every line is checked, whatever is wrong with the ones before it. ``KINDS`` gives the meaning of each kind of
problem and what ``data check --fix`` does about it (``timesight.data.fix``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from timesight.data.jsonl import with_root
from timesight.data.records import parse_record, schema_problems
from timesight.data.surveys import Facts, whole
from timesight.files import text_lines
from timesight.tasks import TASKS
from timesight.tasks.evidence import stated_duration_s
from timesight.types import Sample, TextPart
from timesight.video.sample import FORGIVEN_FPS

Remedy = Literal["drop", "fix", "keep"]
TINY_S = 1e-9  # rounding error of floating point
ROUNDING_S = 0.05  # the most that rounding to a tenth of a second, as annotations are written, moves an end
DURATION_SLACK_S = 1.0  # stated durations are rounded, and containers disagree by a frame or two

KINDS: dict[str, tuple[str, Remedy]] = {
    "empty": ("the file holds no samples", "drop"),
    "json": ("the line is not a JSON object", "drop"),
    "schema": ("a field is missing, unknown, or of the wrong type", "drop"),
    "duplicate_id": ("an earlier line has this id", "fix"),
    "same_question": ("an earlier line asks the same about the same video", "drop"),
    "no_truth": ("the truth cannot be used", "drop"),
    "reversed_span": ("a span ends before it starts", "drop"),
    "zero_length_span": ("a span has no length", "keep"),
    "negative_start": ("a span starts before the video", "fix"),
    "past_end": (f"a span or a segment ends over {ROUNDING_S} s after the video, or lies after it", "fix"),
    "unreachable": ("it asks for frames after the end of the video", "drop"),
    "box_outside": ("a box reaches out of the frame", "fix"),
    "reversed_box": ("a box ends before it starts", "drop"),
    "not_an_option": ("the answer is not among the options", "drop"),
    "same_option": ("two options are the same", "keep"),
    "noted": ("the record itself says what is wrong with it", "drop"),
    "leaked_id": ("the video is in the other file", "drop"),
    "leaked_content": ("the content of the video is in the other file, under another name", "drop"),
    "video_missing": ("there is no such video", "drop"),
    "video_broken": ("the video does not decode to its end", "drop"),
    "no_duration": ("the stated duration is not a number of seconds", "fix"),
    "duration": ("the stated duration is not that of the video", "fix"),
}


class Problem(NamedTuple):
    """One problem of a file of samples.

    Args:
        line: Number of the line, from 1.
        id: Of the sample; None if the line has none.
        kind: One of ``KINDS``.
        message: The problem in a sentence.
    """

    line: int
    id: str | None
    kind: str
    message: str


@dataclass
class Line:
    """One line of a file of samples.

    Args:
        number: From 1.
        record: The JSON object; empty if the line is none.
        sample: None if the record is not a valid sample.
        problems: All that were found.
    """

    number: int
    record: dict[str, Any] = field(default_factory=dict)
    sample: Sample | None = None
    problems: list[Problem] = field(default_factory=list)

    def add(self, kind: str, message: str) -> None:
        """Add a problem of ``kind``, one of ``KINDS``."""
        known = self.record.get("id")
        self.problems.append(Problem(self.number, None if known is None else str(known), kind, message))


def check_lines(file: Path) -> list[Line]:
    """Check every line of a JSONL file of samples, without opening the videos.

    Returns:
        All lines that are not blank, each with its problems; for an empty file one line with the problem ``empty``.

    Raises:
        SampleError: If the file cannot be read as UTF-8 text.
    """
    lines = [_check_text(number, text, file.parent) for number, text in text_lines(file)]
    if not lines:
        lines.append(Line(1))
        lines[0].add("empty", "the file holds no samples")
    _check_repeats(lines)
    return lines


def check_videos(lines: Sequence[Line], facts: Facts) -> None:
    """Add the problems of videos: missing or broken ones, and samples that do not fit the actual duration.

    Args:
        lines: From ``check_lines``; problems are added in place.
        facts: Of the ``whole`` video of each sample (``survey_all``).
    """
    for line in lines:
        if line.sample is None:
            continue
        found = facts[whole(line.sample.video)]
        if isinstance(found, str):
            kind = "video_missing" if found == "no such file" else "video_broken"
            line.add(kind, f"{line.sample.video.path}: {found}")
            continue
        stated_s = stated_duration_s(line.sample)
        if stated_s is not None and abs(stated_s - found.duration_s) > DURATION_SLACK_S:
            line.add("duration", f"meta.duration_s says {stated_s} s, the video lasts {found.duration_s:.2f} s")
        line.problems = [problem for problem in line.problems if problem.kind not in ("past_end", "unreachable")]
        _check_ends(line, line.sample, found.duration_s)


def _check_text(number: int, text: str, root: Path) -> Line:
    line = Line(number)
    try:
        line.record = parse_record(text)
    except ValueError as error:
        line.add("json", str(error))
        return line
    task = TASKS.get(str(line.record.get("task")))
    if task is None:
        line.add("schema", f"task {line.record.get('task')!r} is not one of {', '.join(TASKS)}")
        return line
    try:
        sample: Sample = task.Sample.model_validate(line.record)
    except ValidationError as error:
        for message in schema_problems(error, task.Sample):
            line.add("schema", message)
        return line
    if "\0" in str(sample.video.path):
        line.add("schema", "video: no name of a file holds the character NUL")
        return line
    line.sample = with_root(sample, root)
    for kind, message in _sample_problems(sample):
        line.add(kind, message)
    if (duration_s := stated_duration_s(sample)) is not None:
        _check_ends(line, sample, duration_s)
    elif (stated := sample.meta.get("duration_s")) is not None:
        line.add("no_duration", f"meta.duration_s is {stated!r}, not a number of seconds")
    return line


def _sample_problems(sample: Sample) -> Iterator[tuple[str, str]]:
    """The problems of a sample by itself."""
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


def _check_ends(line: Line, sample: Sample, duration_s: float) -> None:
    """Add spans, segments and times that lie past the end of the whole video."""
    fields = sample.model_dump()
    for name, pairs in (("span", fields.get("spans", ())), ("segment", sample.segments)):
        for start_s, end_s in pairs:
            if end_s > duration_s + (ROUNDING_S + TINY_S if start_s < duration_s else 0.0):
                line.add("past_end", f"{name} {start_s} to {end_s} ends after the video, at {duration_s:.2f} s")
    starts_s = [sample.video.start_s or 0.0, *(start_s for start_s, _ in sample.segments)]
    late_s = [start_s for start_s in starts_s if start_s >= duration_s]
    late_s += [time_s for time_s in fields.get("times_s", ()) if time_s > duration_s + 1 / FORGIVEN_FPS]
    if late_s:
        line.add("unreachable", f"no frame is at {late_s[0]} s: the video ends at {duration_s:.2f} s")


def _check_repeats(lines: Sequence[Line]) -> None:
    """Add ids and questions that occur twice."""
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
    """Task, video and prompt of a sample; two samples that share them ask the same question."""
    texts = tuple(part.text for part in TASKS[sample.task].prompt(sample) if isinstance(part, TextPart))
    return sample.task, sample.video, texts
