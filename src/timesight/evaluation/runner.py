"""Asking a model every question of a suite, and keeping each reply."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from timesight.errors import VideoError
from timesight.infer.answer import MAX_NEW_TOKENS, answer_batches
from timesight.policy.policy import Policy
from timesight.types import Sample
from timesight.video import FrameBudget


@dataclass(frozen=True)
class EvalSettings:
    """How the questions are asked; ``temperature`` 0 is greedy."""

    budget: FrameBudget
    think: bool = False
    temperature: float = 0.0
    batch_size: int = 32
    max_new_tokens: int = MAX_NEW_TOKENS


@dataclass(frozen=True)
class Replies:
    """What came back: a reply by sample id, and why the other samples' videos cannot be read."""

    replies: dict[str, str]
    quarantined: dict[str, str]


def collect_replies(
    policy: Policy,
    samples: Sequence[Sample],
    settings: EvalSettings,
    file: Path,
    on_items: Callable[[int], None] = lambda count: None,
) -> Replies:
    """Ask all ``samples``, writing each reply to ``file`` (JSONL) as it comes.

    Replies that ``file`` already holds are not asked for again, so an interrupted evaluation goes on where it
    was. ``on_items`` is called with the number of items done since the last call.
    """
    replies = read_replies(file)
    todo = [sample for sample in samples if sample.id not in replies]
    on_items(len(samples) - len(todo))
    quarantined: dict[str, str] = {}
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as out:
        batches = answer_batches(
            policy,
            todo,
            budget=settings.budget,
            think=settings.think,
            temperature=settings.temperature,
            batch_size=settings.batch_size,
            max_new_tokens=settings.max_new_tokens,
        )
        for batch in batches:
            for sample, outcome in batch:
                if isinstance(outcome, VideoError):
                    quarantined[sample.id] = str(outcome)
                else:
                    replies[sample.id] = outcome
                    out.write(json.dumps({"id": sample.id, "reply": outcome}) + "\n")
            out.flush()
            on_items(len(batch))
    asked = {sample.id for sample in samples}
    return Replies({id_: reply for id_, reply in replies.items() if id_ in asked}, quarantined)


def read_replies(file: Path) -> dict[str, str]:
    """The replies in ``file``; a half-written last line, left by a kill, is cut off."""
    if not file.exists():
        return {}
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        file.write_text("".join(lines), encoding="utf-8")
    records = [json.loads(line) for line in lines]
    return {record["id"]: record["reply"] for record in records}
