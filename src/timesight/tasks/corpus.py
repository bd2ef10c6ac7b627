"""The text of samples as a model meets it: what a new tokenizer is learned from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from timesight.tasks import TASKS, TaskRegistry
from timesight.types import Sample, TextPart


def prompts_and_replies(samples: Iterable[Sample], tasks: TaskRegistry = TASKS) -> Iterator[str]:
    """Prompts and gold replies, of each sample in both modes."""
    for sample in samples:
        task = tasks.of(sample)
        for think in (False, True):
            prompt = "".join(part.text for part in task.prompt(sample, think) if isinstance(part, TextPart))
            yield f"user\n{prompt}\nassistant\n{task.gold(sample, think)}"
