"""Asking a model every question of a suite, on one process or on several, and keeping each reply as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from timesight.evaluation.questions import question_digest, require_same_questions
from timesight.evaluation.replies import Replies, ReplyLog, join_parts, kept_replies
from timesight.generate.base import Completion, Generator
from timesight.infer.answer import InferenceConfig, answer_batches, share_of_videos
from timesight.types import Sample
from timesight.video import ReadingSettings

LONGEST_WAIT = timedelta(days=7)  # for a process whose share takes longer than the others'


def processes() -> PartialState:
    """This process among those that ``accelerate launch`` has started; alone where it has not."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=LONGEST_WAIT)


def collect_replies(
    generator: Generator,
    samples: Sequence[Sample],
    config: InferenceConfig,
    folder: Path,
    on_items: Callable[[int], None] = lambda count: None,
    reading: ReadingSettings | None = None,
) -> Replies:
    """Ask all ``samples``, keeping each reply in ``folder`` as it comes; see ``replies`` for its files.

    Replies that ``folder`` already holds are not asked for again, so an interrupted evaluation goes on where it
    was. Among several processes each asks about its share of the videos, and all return everything. ``on_items`` is
    called with the number of items done since the last call. Raises InputError where ``folder`` holds a reply to
    another question under the id of one of these.
    """
    state = processes()
    mine = share_of_videos(samples, state.process_index, state.num_processes)
    kept = kept_replies(folder)
    done = kept.replies.keys()
    digests = {sample.id: question_digest(sample, config) for sample in samples}
    require_same_questions(folder, digests)
    on_items(sum(sample.id in done for sample in mine))
    state.wait_for_everyone()  # nobody adds before all have read
    quarantined: dict[str, str] = {}
    with ReplyLog(folder, state.process_index) as log:
        for batch in answer_batches(generator, mine, config, done=done, reading=reading):
            fresh = [(sample.id, outcome) for sample, outcome in batch if sample.id not in done]
            log.write([(id_, digests[id_], outcome) for id_, outcome in fresh if isinstance(outcome, Completion)])
            quarantined |= {id_: str(outcome) for id_, outcome in fresh if not isinstance(outcome, Completion)}
            on_items(len(fresh))
    everybodys: list[tuple[str, str]] = gather_object(list(quarantined.items()))
    ids = [sample.id for sample in samples]
    if state.is_main_process:
        join_parts(folder, ids)
    state.wait_for_everyone()
    kept, asked = kept_replies(folder), set(ids)
    return Replies(
        {id_: kept.replies[id_] for id_ in ids if id_ in kept.replies}, dict(everybodys), kept.truncated & asked
    )
