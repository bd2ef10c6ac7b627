"""What a measurement found, and what all measurements of a table found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from timesight.artifacts import ItemEntry, ProtocolFigures
from timesight.evaluation.items import sample_digest
from timesight.tasks.base import PAPER
from timesight.types import Sample

# By row, or baseline that a claim names, and measurement; for each seed, or for None where nothing is trained.
Found = Mapping[str, Mapping[str, Mapping[int | None, "Measured"]]]


@dataclass(frozen=True, eq=False)
class Measured:
    """What a measurement found.

    Args:
        items: By id.
        figures: Metrics with their intervals, and the video-blind baselines.
        protocol: The one of ``figures``.
        truncated: Share of the replies that were cut off.
        unscored: Share of the items that were not scored, such as those that the judge did not judge.
        unread: Share of the items without a reply, such as those whose video could not be read.
    """

    items: dict[str, ItemEntry]
    figures: ProtocolFigures
    protocol: str
    truncated: float = 0.0
    unscored: float = 0.0
    unread: float = 0.0

    @property
    def unparsable(self) -> float:
        """Share of the replies that no answer could be read from."""
        return sum(not item.parsed for item in self.items.values()) / len(self.items)

    def as_answers_to(self, samples: Sequence[Sample]) -> Measured:
        """The same letters as answers to ``samples`` that also ask for evidence, by the paper's accuracy.

        Args:
            samples: Of grounded question answering; each was asked as multiple choice.
        """
        items = {}
        for sample in samples:
            if (item := self.items.get(sample.id)) is not None:  # its video could be read
                items[sample.id] = item.model_copy(
                    update={
                        "task": sample.task,
                        "data": sample_digest(sample),
                        "metrics": {PAPER: item.metrics[self.protocol]},
                        "weights": {PAPER: item.weights[self.protocol]},
                    }
                )
        return replace(self, items=items, protocol=PAPER)
