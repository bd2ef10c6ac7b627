"""Several data sources in one stream: weighted, limited, seeded, and the same on every process."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from timesight.errors import SampleError
from timesight.types import Sample


@dataclass(frozen=True, eq=False)
class MixtureSource:
    """The samples of one source.

    Args:
        weight: How often an epoch shows each sample: 2 shows each twice, 0.5 alternating halves of them.
        limit: Most samples that ``usable`` takes; None takes all.
        name: By which ``Mixture.reweighted`` knows it.
    """

    samples: Sequence[Sample]
    weight: float = 1.0
    limit: int | None = None
    name: str = ""

    def usable(self, seed: int) -> MixtureSource:
        """Select the samples with usable truth, and of these ``limit`` at random for the whole run.

        Args:
            seed: Of the selection.

        Returns:
            A source without a limit; its samples keep their order.
        """
        kept = [sample for sample in self.samples if not sample.problems]
        chosen = np.random.default_rng(seed).permutation(len(kept))[: self.limit]
        return replace(self, samples=[kept[index] for index in sorted(chosen.tolist())], limit=None)


class Mixture:
    """Several sources as one data set, with the order in which each epoch shows the samples.

    Args:
        parts: The sources; their order is that of ``samples``.
    """

    def __init__(self, parts: Sequence[MixtureSource]) -> None:
        self._parts = parts
        self.samples = [sample for part in parts for sample in part.samples]
        self._firsts = np.cumsum([0, *(len(part.samples) for part in parts)]).tolist()

    def usable(self, seed: int) -> Mixture:
        """Select the samples to train on: those with usable truth, within the limits of their sources.

        Args:
            seed: Of the selection within the limits.

        Raises:
            SampleError: If no sample is left.
        """
        mixture = Mixture([part.usable(seed) for part in self._parts])
        if not mixture.samples:
            raise SampleError(f"none of the {len(self.samples)} samples has truth that can be trained on")
        return mixture

    def only(self, suits: Callable[[Sample], bool]) -> Mixture:
        """Select the samples that ``suits`` says yes to."""
        return Mixture([replace(part, samples=list(filter(suits, part.samples))) for part in self._parts])

    def reweighted(self, weights: Mapping[str, float]) -> Mixture:
        """The same samples with other weights of the sources, by name; those that are not named are not shown."""
        return Mixture([replace(part, weight=weights.get(part.name, 0.0)) for part in self._parts])

    def digests(self) -> list[str]:
        """A SHA-256 digest of the samples of each source, in their order; folders of videos may move."""
        digests = []
        for part in self._parts:
            digest = hashlib.sha256()
            for sample in part.samples:
                digest.update(sample.model_dump_json(exclude={"video": {"path"}}).encode())
                digest.update(sample.video.path.name.encode())
            digests.append(digest.hexdigest())
        return digests

    @property
    def weights(self) -> list[float]:
        """Per sample, how often an epoch shows it on average."""
        return [part.weight for part in self._parts for _ in part.samples]

    @property
    def num_problems(self) -> int:
        """Number of samples whose truth cannot be used."""
        return sum(bool(sample.problems) for sample in self.samples)

    @property
    def epoch_length(self) -> int:
        """Number of items in an epoch; if epochs differ in length, their mean, rounded up."""
        return math.ceil(sum(part.weight * len(part.samples) for part in self._parts))

    def epochs(self, seed: int) -> Iterator[list[int]]:
        """Draw the order of training, without end.

        Args:
            seed: The same seed gives the same order on every process.

        Yields:
            An epoch: indices into ``samples``, in random order.
        """
        streams = [self._stream(number, seed) for number in range(len(self._parts))]
        taken = [0] * len(self._parts)
        epoch = 0
        while True:
            epoch += 1
            drawn: list[int] = []
            for number, part in enumerate(self._parts):
                due = math.floor(epoch * part.weight * len(part.samples) + 1e-9)
                drawn += [next(streams[number]) for _ in range(due - taken[number])]
                taken[number] = due
            yield np.random.default_rng((seed, epoch)).permutation(drawn).tolist()

    def _stream(self, number: int, seed: int) -> Iterator[int]:
        """Indices of one source's samples without end, each round in another random order."""
        rng = np.random.default_rng((seed, 0, number))
        while True:
            yield from (self._firsts[number] + rng.permutation(len(self._parts[number].samples))).tolist()
