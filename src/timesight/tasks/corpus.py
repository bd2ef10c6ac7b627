"""Texts of prompts and replies, from which a new tokenizer is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from timesight.tasks import TASKS, TaskRegistry
from timesight.types import Sample, TextPart


def prompts_and_replies(samples: Iterable[Sample], tasks: TaskRegistry = TASKS) -> Iterator[str]:
    """Each sample's prompt with its gold reply as one text, in answer mode and in think mode.

    Raises:
        InputError: If a sample has no usable ground truth, or a replaced template no text for think mode.
    """
    for sample in samples:
        task = tasks.of(sample)
        for think in (False, True):
            prompt = "".join(part.text for part in task.prompt(sample, think) if isinstance(part, TextPart))
            yield f"user\n{prompt}\nassistant\n{task.gold(sample, think)}"
