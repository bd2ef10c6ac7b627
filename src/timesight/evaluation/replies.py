"""Replies on disk: one line each, written as it comes.

During a run, process K appends to ``replies.K.part.jsonl``. At the end all parts are joined in
``replies.jsonl``, in the order of the items. A line that a kill left half-written is ignored.
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
    """The replies to a set of samples.

    Args:
        replies: Text by sample id.
        quarantined: Why a sample got no reply, by its id: its video cannot be read, or the model refused it.
        truncated: Ids of the replies that were cut off at the limit of new tokens.
    """

    replies: dict[str, str]
    quarantined: dict[str, str] = field(default_factory=dict)
    truncated: frozenset[str] = frozenset()


class ReplyLog:
    """Writes one process's part of a run's replies. Use it in a ``with`` statement.

    Args:
        folder: Folder of the run; created if it does not exist.
        rank: Index of the process, which is part of the file's name.
    """

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
        """Append replies and flush them to disk.

        Args:
            records: Sample id, digest of the question (``questions.question_digest``), and reply.
        """
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
    """Read the replies in ``folder``, from a finished or an unfinished run; none if there is no such folder."""
    records = _records(folder)
    return Replies(
        {record["id"]: record["reply"] for record in records},
        truncated=frozenset(record["id"] for record in records if record.get("truncated")),
    )


def kept_questions(folder: Path) -> dict[str, str | None]:
    """Read the digest of the question behind each reply in ``folder``.

    Returns:
        ``questions.question_digest`` by sample id; None for a reply without one.
    """
    return {record["id"]: record.get("question") for record in _records(folder)}


def join_parts(folder: Path, ids: Sequence[str]) -> None:
    """Join all replies of a run in ``replies.jsonl`` and remove the parts.

    Args:
        folder: Folder of the run.
        ids: Sample ids in the order of the file. Replies to other ids follow them, sorted by id.
    """
    kept = kept_replies(folder).replies
    order = [*(id_ for id_ in ids if id_ in kept), *sorted(kept.keys() - set(ids))]
    records = {record["id"]: record for record in _records(folder)}
    write_text(folder / WHOLE, "".join(json.dumps(records[id_]) + "\n" for id_ in order))
    for part in folder.glob(PARTS):
        part.unlink()


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
    """Read replies of any system from JSONL of ``{"id", "reply"}``; of several replies to one id the last counts.

    Args:
        file: JSONL; further keys are ignored.
        warn: Called with a message if an id occurs more than once.

    Returns:
        Replies by sample id.

    Raises:
        InputError: If there is no such file.
        SampleError: If a line is something else; the message names file and line.
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
