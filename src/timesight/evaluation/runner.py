"""Asks a model every question of a suite, in one process or several, and stores each reply as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from accelerate.utils import broadcast_object_list, gather_object

from timesight.evaluation.questions import question_digest, require_same_questions
from timesight.evaluation.replies import Replies, ReplyLog, join_parts, kept_replies
from timesight.generate.base import Completion, Generator
from timesight.infer.answer import InferenceConfig, answer_batches, share_of_videos
from timesight.model.processes import this_process
from timesight.types import Sample
from timesight.video import VideoPool


@contextmanager
def evaluation_folder(out: Path | None) -> Iterator[Path]:
    """Give ``out``, or without one a temporary folder, which all processes share."""
    state = this_process()
    with TemporaryDirectory() as temporary:
        yield out or Path(broadcast_object_list([temporary])[0])
        state.wait_for_everyone()  # nobody removes what others still read


def collect_replies(
    generator: Generator,
    samples: Sequence[Sample],
    config: InferenceConfig,
    folder: Path,
    on_items: Callable[[int], None] = lambda count: None,
    pool: VideoPool | None = None,
) -> Replies:
    """Ask all ``samples`` and store each reply as it comes (see ``replies`` for the files).

    Samples that have a reply in ``folder`` keep it, so an interrupted evaluation resumes. Each of several processes
    asks about its share of the videos.

    Args:
        generator: The model.
        samples: What to ask.
        config: How to ask.
        folder: Folder of the run, which all processes share; created if it does not exist.
        on_items: Called with the number of items done since the last call.
        pool: Processes that read the videos; None: they are read in this one.

    Returns:
        The replies to ``samples``, on every process those of all of them.

    Raises:
        InputError: If ``folder`` holds a reply to another question under the id of one of ``samples``.
        ModelError: If the model cannot reply to any prompt, or one question alone does not fit into memory.
    """
    state = this_process()
    mine = share_of_videos(samples, state.process_index, state.num_processes)
    kept = kept_replies(folder)
    done = kept.replies.keys()
    digests = {sample.id: question_digest(sample, config) for sample in samples}
    require_same_questions(folder, digests)
    on_items(sum(sample.id in done for sample in mine))
    state.wait_for_everyone()  # no process writes before all have read
    quarantined: dict[str, str] = {}
    with ReplyLog(folder, state.process_index) as log:
        for batch in answer_batches(generator, mine, config, done=done, pool=pool):
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
