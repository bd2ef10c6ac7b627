"""Second looks in training: what a reply names is shown again at a higher resolution and frame rate.

The prompts are those of Clue-Perception (``infer.clue``): a second look replaces the video by segments of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from timesight.generate.base import Completion
from timesight.infer.clue import ClueSettings, choose_segments
from timesight.infer.prompts import shown_frames, wanted_frames
from timesight.model.policy import Policy
from timesight.tasks import TASKS, TaskRegistry
from timesight.tasks.evidence import spans_of_reply
from timesight.training.dataset import PromptItem, read_items
from timesight.types import Sample, Span
from timesight.video import FrameReader


@dataclass(frozen=True, eq=False)
class SecondLooks:
    """Makes the prompts of second looks.

    Args:
        policy: Its processor encodes them.
        reader: Reads the segments.
        settings: How segments are chosen.
        tasks: Of the samples.
    """

    policy: Policy
    reader: FrameReader
    settings: ClueSettings
    tasks: TaskRegistry = TASKS

    def prompts(self, items: Sequence[PromptItem], replies: Sequence[Completion]) -> list[PromptItem | None]:
        """The second prompt of each reply.

        Args:
            items: What was asked, one for each reply.
            replies: The first look's.

        Returns:
            One for each reply. Those on the same segments share their frames. None for a reply that stays the
            answer: its task names no spans, it has named no usable one, or its segments cannot be read.
        """
        asked = [self._sample(item, reply) for item, reply in zip(items, replies, strict=True)]
        keys = [
            None if sample is None else (shown_frames(sample, self.tasks), item.think)
            for item, sample in zip(items, asked, strict=True)
        ]
        alike: dict[tuple[Hashable, bool], dict[str, Sample]] = defaultdict(dict)  # on the same segments, by id
        for key, sample in zip(keys, asked, strict=True):
            if key is not None and sample is not None:
                alike[key][sample.id] = sample
        for (_, think), samples in alike.items():
            self.reader.prefetch(wanted_frames(next(iter(samples.values())), think, self.tasks))
        found = {
            (key, second.sample.id): second
            for key, samples in alike.items()
            for second in read_items(self.policy, list(samples.values()), key[1], self.reader, self.tasks)
            if isinstance(second, PromptItem)
        }
        return [
            None if key is None or sample is None else found.get((key, sample.id))
            for key, sample in zip(keys, asked, strict=True)
        ]

    def _sample(self, item: PromptItem, reply: Completion) -> Sample | None:
        """``item``'s sample with the segments that ``reply`` chooses."""
        task = self.tasks.of(item.sample)
        if not task.names_spans or item.sample.segments or task.frames(item.sample) is not None:
            return None
        segments = choose_segments(spans_of_reply(reply.text), item.encoded.frames[0].window_s, self.settings)
        return item.sample.model_copy(update={"segments": _pairs(segments)}) if segments else None


def _pairs(segments: Sequence[Span]) -> tuple[tuple[float, float], ...]:
    return tuple((segment.start_s, segment.end_s) for segment in segments)
