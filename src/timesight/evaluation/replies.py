"""Replies on disk: a line each as it comes, in parts while a run goes on, in one file when it is done.

``replies.jsonl`` holds a reply to every item, in the items' order; until then each process adds to a file of its
own, ``replies.K.part.jsonl``. What a kill leaves half-written counts as not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from timesight.artifacts import REPLIES_FILE, ReplyEntry, line_of
from timesight.errors import InputError, SampleError
from timesight.evaluation.folder import json_object
from timesight.files import text_lines, write_text
from timesight.generate.base import Completion

WHOLE = REPLIES_FILE
PARTS = "replies.*.part.jsonl"


@dataclass(frozen=True)
class Replies:
    """What came back: a reply by sample id; why others have none; and which replies ran into the limit."""

    replies: dict[str, str]
    quarantined: dict[str, str] = field(default_factory=dict)
    truncated: frozenset[str] = frozenset()


class ReplyLog:
    """One process's part of a run's replies. Use it in a ``with`` statement."""

    def __init__(self, folder: Path, rank: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / PARTS.replace("*", str(rank))

    def __enter__(self) -> Self:
        self._out = self._file.open("a", encoding="utf-8")
        if self._out.tell():
            self._out.write("\n")  # the last line may have been cut off
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.close()

    def write(self, records: Iterable[tuple[str, str, Completion]]) -> None:
        """Keep replies: the sample's id, the digest of the question, what came back."""
        for id_, digest, completion in records:
            passes = tuple(asdict(one) for one in completion.passes)
            entry = ReplyEntry(
                id=id_,
                reply=completion.text,
                question=digest,
                truncated=completion.truncated,
                passes=passes,
                note=completion.note if passes else "",
            )
            self._out.write(line_of(entry))
        self._out.flush()


def kept_replies(folder: Path) -> Replies:
    """The replies of a run, done or not."""
    records = _records(folder)
    return Replies(
        {record["id"]: record["reply"] for record in records},
        truncated=frozenset(record["id"] for record in records if record.get("truncated")),
    )


def kept_questions(folder: Path) -> dict[str, str | None]:
    """The digest of the question to which each kept reply is one, by sample id; None where none was noted."""
    return {record["id"]: record.get("question") for record in _records(folder)}


def join_parts(folder: Path, ids: Sequence[str]) -> Replies:
    """Put all replies of a run into ``replies.jsonl``, those to ``ids`` first and in their order."""
    kept = kept_replies(folder)
    order = [*(id_ for id_ in ids if id_ in kept.replies), *sorted(kept.replies.keys() - set(ids))]
    records = {record["id"]: record for record in _records(folder)}
    write_text(folder / WHOLE, "".join(json.dumps(records[id_]) + "\n" for id_ in order))
    for part in folder.glob(PARTS):
        part.unlink()
    return kept


def _records(folder: Path) -> list[dict[str, Any]]:
    return [
        record
        for file in (folder / WHOLE, *sorted(folder.glob(PARTS)))
        if file.is_file()
        for line in file.read_bytes().split(b"\n")
        if (record := _whole_record(line)) is not None
    ]


def _whole_record(line: str | bytes) -> dict[str, Any] | None:
    record = json_object(line) or {}
    return record if all(isinstance(record.get(key), str) for key in ("id", "reply")) else None


def read_replies(file: Path, warn: Callable[[str], None] = lambda text: None) -> dict[str, str]:
    """Replies made anywhere: JSONL of ``{"id", "reply"}``; of two to one item the last counts, and is warned of.

    Raises SampleError with file and line for one that is something else.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file of replies")
    replies: dict[str, str] = {}
    twice: dict[str, None] = {}
    for number, line in text_lines(file):
        record = _whole_record(line)
        if record is None:
            raise SampleError(f'{file} line {number}: is not {{"id": TEXT, "reply": TEXT}}')
        if record["id"] in replies:
            twice[record["id"]] = None
        replies[record["id"]] = record["reply"]
    if twice:
        warn(f"{file}: {len(twice)} items have more than one reply, the last counts: {', '.join([*twice][:3])}")
    return replies
