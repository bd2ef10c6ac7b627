"""Import and export of message JSON: LLaVA and ShareGPT conversations, OpenAI-style messages for TRL and ms-swift.

Also read: TRL's prompt and completion, and the captions of ShareGPT4Video.

On import, each question with its answer becomes a sample of the task that it looks like: options and a letter, one
span in answer to when something happens, a quality label, and else a caption. On export, a sample becomes its
prompt and its gold reply; a column ``sample`` holds all of it, for ``timesight.tasks.adapters`` and for a later
import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from timesight.data.jsonl import parse_line, sample_line, with_root
from timesight.data.records import UniqueIds, make_sample, parse_json
from timesight.errors import SampleError
from timesight.files import read_text
from timesight.tasks import TASKS
from timesight.tasks.captioning import Captioning
from timesight.tasks.multiple_choice import MultipleChoice
from timesight.tasks.parsing import find_option, find_span, parse_span
from timesight.tasks.quality_assessment import QualityAssessment
from timesight.tasks.temporal_grounding import TemporalGrounding
from timesight.types import Sample, TextPart, VideoPart

Style = Literal["trl", "swift"]
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
MEDIA = re.compile(r"<(?:video|image)>\s*")
OPTION = re.compile(r"\s*\(?([A-Z])[.):]\s*(\S.*)")
OPTION_IN_LINE = re.compile(r"(?:^|\s)\(?([A-Z])[.):]\s+")
ANSWER_TAG = re.compile(r"\s*<answer>([^<>]*)</answer>\s*")
BOX_MARK = "<bbox>"  # where ms-swift puts a box of the record's objects
WHOLE_VIDEO = "-1"  # the idx of ShareGPT4Video's caption of a whole video; the others are of its pieces
QUOTED = re.compile(r"[\"“]([^\"”]{3,})[\"”]")
# A question about when something happens; "how many times" is none.
WHEN = re.compile(
    r"\bwhen\b|\b(?:at|in|during|from|between)\s+(?:what|which)\s+(?:times?|seconds?|moments?|timestamps?|interval|period)\b"
    r"|\b(?:what|which|the)\s+(?:time\s+(?:span|interval|range|period|window|stamps?|segment)|timestamps?|moment|seconds)\b"
    r"|\bstart(?:ing)?\s+(?:time\s+)?and\s+end(?:ing)?\b|\bwhich\s+(?:part|segment)\s+of\s+the\s+video\b",
    re.IGNORECASE,
)
AMOUNT = re.compile(r"\bhow\s+(?:long|many|much|often|old|fast|far)\b", re.IGNORECASE)
UNIT = re.compile(r"\d\s*(?:seconds?|secs?|s)\b|\d:\d\d", re.IGNORECASE)
YEARS = range(1000, 2200)  # two whole numbers of these, without a unit, are years
LABELS = ("low quality", "high quality")
Message = tuple[str, list[dict[str, Any]]]  # user or assistant, and the content in parts as OpenAI writes them


def read_messages(file: Path, task: str | None = None) -> Iterator[Sample | SampleError]:
    """Convert conversations to samples.

    Args:
        file: JSON list or JSONL; relative paths of videos count from its folder.
        task: Of all samples, one of ``READINGS``; None infers it from each question and answer.

    Yields:
        Samples, or the error of a record or question that is none. Ids that occur several times are numbered.

    Raises:
        SampleError: If the file cannot be read or is neither JSON nor JSONL.
    """
    ids = UniqueIds()
    for where, record in _records(file):
        try:
            if isinstance(record, SampleError):
                raise record
            for found in _samples(where, record, file, task):
                yield found if isinstance(found, SampleError) else found.model_copy(update={"id": ids.of(found.id)})
        except SampleError as error:
            yield error


def write_message(sample: Sample, style: Style, think: bool = False) -> dict[str, Any]:
    """Convert a sample to a conversation of one turn, with the absolute path of its video.

    Args:
        sample: With usable truth, for its gold reply.
        style: ``trl`` keeps text and videos apart, with the window of each video as ``qwen-vl-utils`` reads it;
            ``swift`` is plain text with ``<video>`` in it.
        think: Prompt and gold reply in think mode.

    Raises:
        SampleError: If the sample has no usable truth, or a video that the style cannot express: a folder of
            frames, whose rate neither knows, and for ``swift`` a window.
    """
    task = TASKS[sample.task]
    if not task.usable(sample):
        raise SampleError(f"{sample.id}: has no usable truth: {[*sample.problems, *task.problems(sample)][0]}")
    sample = with_root(sample, Path.cwd())
    parts, gold = task.prompt(sample, think), task.gold(sample, think)
    videos = [part.video for part in parts if isinstance(part, VideoPart)]
    if any(video.fps is not None for video in videos):
        raise SampleError(f"{sample.id}: asks about frames at a certain fps, which messages cannot say")
    kept = {"videos": [str(video.path) for video in videos], "sample": sample_line(sample)}
    if style == "swift":
        if any(video.start_s is not None or video.end_s is not None for video in videos):
            raise SampleError(f"{sample.id}: asks about a window of its video, which ms-swift's format cannot say")
        text = "".join("<video>" if isinstance(part, VideoPart) else part.text for part in parts)
        return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": gold}], **kept}
    content = [_part(part) for part in parts]
    answer = [{"type": "text", "text": gold}]
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}], **kept}


def _part(part: TextPart | VideoPart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    window = {"video_start": part.video.start_s, "video_end": part.video.end_s}
    return {"type": "video", "video": str(part.video.path)} | {k: v for k, v in window.items() if v is not None}


def _records(file: Path) -> Iterator[tuple[str, Any]]:
    """Place and content of each record; for a line that is not JSON, the error."""
    text = read_text(file)
    if text.lstrip().startswith("["):
        try:
            records = parse_json(text)
        except ValueError as error:
            raise SampleError(f"{file}: {error}") from None
        yield from ((f"{file} record {number}", record) for number, record in enumerate(records))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        where = f"{file} line {number}"
        if line.strip():
            try:
                yield where, parse_json(line)
            except ValueError as error:
                yield where, SampleError(f"{where}: {error}")


def _samples(where: str, record: Any, file: Path, task: str | None) -> Iterator[Sample | SampleError]:
    """The samples of a conversation, and the error of each question that gives none.

    Raises SampleError if the record is no conversation about one video.
    """
    if not isinstance(record, dict):
        raise SampleError(f"{where}: is not a JSON object")
    if isinstance(record.get("sample"), str):  # our own export
        yield parse_line(record["sample"], f"{where}, sample", file.parent)
        return
    messages = _messages(where, record)
    turns = [(role, _text(parts)) for role, parts in messages]
    video = _video(where, record, messages, file.parent)
    name = str(record.get("id", record.get("video_id", where.rpartition(" ")[2])))
    for number in range(0, len(turns) - 1, 2):
        (asker, question), (generator, answer) = turns[number : number + 2]
        if (asker, generator) != ("user", "assistant"):
            raise SampleError(f"{where}: turn {number} is not a question with its answer")
        ident = f"{file.stem}/{name}" + (f"#{number // 2}" if len(turns) > 2 else "")
        try:
            kind, fields = _understood(where, question, answer, task)
            yield make_sample(where, kind, id=ident, video=video, **fields)
        except SampleError as error:
            yield error
    if len(turns) % 2:
        raise SampleError(f"{where}: turn {len(turns) - 1} has no answer")


def _messages(where: str, record: dict[str, Any]) -> list[Message]:
    """The messages of ``record`` in any of the formats, without system messages."""
    messages: list[Message] = []
    for turn in _turns(record):
        role = turn.get("from", turn.get("role")) if isinstance(turn, dict) else None
        if role == "system":
            continue
        content = turn.get("value", turn.get("content")) if isinstance(turn, dict) else None
        parts: list[Any] = content if isinstance(content, list) else [content]
        parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
        if not isinstance(role, str) or role not in ROLES or not all(isinstance(part, dict) for part in parts):
            raise SampleError(f"{where}: a turn is not a role with a text")
        messages.append((ROLES[role], parts))
    if len(messages) < 2:
        raise SampleError(f"{where}: has no conversations or messages of two turns, a question and its answer")
    if any(BOX_MARK in _text(parts) for _, parts in messages):
        raise SampleError(
            f"{where}: has {BOX_MARK}: boxes of messages are not read; see object_tracking in docs/tasks.md"
        )
    return messages


def _turns(record: dict[str, Any]) -> Sequence[Any]:
    """The turns of ``record``: a list under one key, or a prompt and its completion, as texts or as messages."""
    turns = record.get("conversations") or record.get("messages")
    if turns is None and "completion" in record:
        halves = (("user", record.get("prompt")), ("assistant", record["completion"]))
        return [
            turn
            for role, half in halves
            for turn in (half if isinstance(half, list) else [{"role": role, "content": half}])
        ]
    if turns is None and isinstance(captions := record.get("captions"), list):
        whole = [
            part.get("content") for part in captions if isinstance(part, dict) and part.get("idx") == WHOLE_VIDEO
        ]
        return [
            turn
            for text in whole
            for turn in ({"role": "user", "content": ""}, {"role": "assistant", "content": text})
        ]
    return turns if isinstance(turns, list) else ()


def _text(parts: Sequence[dict[str, Any]]) -> str:
    return MEDIA.sub(
        "", " ".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")
    ).strip()


def _video(where: str, record: dict[str, Any], messages: Sequence[Message], root: Path) -> dict[str, Any]:
    """The one video of a record, from a field or from a message, and its window if it has one."""
    shown = [part for _, parts in messages for part in parts if part.get("type") == "video"]
    found = record.get("video", record.get("videos", record.get("video_path")))
    if found is None:
        found = [part.get("video") for part in shown]
    videos: Sequence[Any] = found if isinstance(found, list) else [found]
    if len(videos) != 1:
        raise SampleError(f"{where}: has {len(videos)} videos where one belongs")
    if not isinstance(videos[0], str):
        raise SampleError(f"{where}: has no path of a video")
    window = {
        ours: value
        for ours, theirs in (("start_s", "video_start"), ("end_s", "video_end"))
        for part in (record, *shown)
        if (value := part.get(theirs)) is not None
    }
    return {"path": root / videos[0].removeprefix("file://"), **window}


def _understood(where: str, question: str, answer: str, task: str | None) -> tuple[str, dict[str, Any]]:
    """The task of a question with its answer, and the fields of its sample."""
    for kind, read in READINGS.items():
        if task in (kind, None) and (fields := read(question, answer, task is not None)) is not None:
            return kind, fields
    raise SampleError(f"{where}: cannot be read as {task}: {answer[:60]!r}")


def _choice(question: str, answer: str, is_told: bool) -> dict[str, Any] | None:
    lines = question.splitlines()
    found = [(n, match) for n, line in enumerate(lines) if (match := OPTION.fullmatch(line))]
    options = [match[2].strip() for _, match in found]
    if len(options) < 2 or [match[1] for _, match in found] != [chr(ord("A") + n) for n in range(len(found))]:
        return _choice_in_line(question, answer, is_told)
    return _chosen("\n".join(lines[: found[0][0]]), options, answer)


def _choice_in_line(question: str, answer: str, is_told: bool) -> dict[str, Any] | None:
    """Options within one line: ``What is it? A. a cup B. a book``."""
    marks = list(OPTION_IN_LINE.finditer(question))
    first = next((n for n, mark in enumerate(marks) if mark[1] == "A"), len(marks))
    marks = marks[first:]
    if len(marks) < 2 or [mark[1] for mark in marks] != [chr(ord("A") + n) for n in range(len(marks))]:
        return None
    ends = [*(mark.start() for mark in marks[1:]), len(question)]
    options = [question[mark.end() : end].strip(" ,;\n") for mark, end in zip(marks, ends, strict=True)]
    return _chosen(question[: marks[0].start()], options, answer) if all(options) else None


def _chosen(stem: str, options: Sequence[str], answer: str) -> dict[str, Any] | None:
    """The fields of a choice whose answer names an option, in a phrase or in our tag."""
    tagged = ANSWER_TAG.fullmatch(answer)
    index = find_option(tagged[1] if tagged else answer, options)
    return (
        None
        if index is None or not stem.strip()
        else {"question": stem.strip(), "options": options, "answer": index}
    )


def _grounding(question: str, answer: str, is_told: bool) -> dict[str, Any] | None:
    """A span that answers a question about when, or that is the whole answer and has a unit."""
    tagged = ANSWER_TAG.fullmatch(answer)
    answer = tagged[1] if tagged else answer
    span = find_span(answer)
    if span is None:
        return None
    has_unit = UNIT.search(answer) is not None
    are_years = not has_unit and all(end in YEARS for end in (span.start_s, span.end_s))
    asked_when = WHEN.search(question) is not None and not are_years
    is_bare = has_unit and parse_span(answer) is not None and AMOUNT.search(question) is None
    if not (is_told or asked_when or is_bare):
        return None
    quoted = QUOTED.findall(question)
    return {"query": quoted[0] if len(quoted) == 1 else question, "spans": [[span.start_s, span.end_s]]}


def _quality(question: str, answer: str, is_told: bool) -> dict[str, Any] | None:
    label = answer.strip(" .").lower()
    return {"label": label, "question": question or None} if label in LABELS else None


def _caption(question: str, answer: str, is_told: bool) -> dict[str, Any] | None:
    return {"caption": answer, "question": question or None} if answer else None


# In this order: any answer could be a caption.
READINGS = {
    MultipleChoice.name: _choice,
    TemporalGrounding.name: _grounding,
    QualityAssessment.name: _quality,
    Captioning.name: _caption,
}
