"""Several sources in one stream: weighted, limited, seeded, and the same on every process."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from timesight.errors import SampleError
from timesight.types import Sample


@dataclass(frozen=True, eq=False)
class MixtureSource:
    """The samples of one source, at most ``limit`` of them.

    An epoch draws ``weight`` × their number: 2 shows each of them twice, 0.5 another half of them every time.
    """

    samples: Sequence[Sample]
    weight: float = 1.0
    limit: int | None = None

    def usable(self, seed: int) -> MixtureSource:
        """Those with usable truth; where these are too many, a choice for the whole run, in their own order."""
        kept = [sample for sample in self.samples if not sample.problems]
        chosen = np.random.default_rng(seed).permutation(len(kept))[: self.limit]
        return MixtureSource([kept[index] for index in sorted(chosen.tolist())], self.weight)


class Mixture:
    """The samples of all ``parts``, and in which order each epoch takes them."""

    def __init__(self, parts: Sequence[MixtureSource]) -> None:
        self._parts = parts
        self.samples = [sample for part in parts for sample in part.samples]
        self._firsts = np.cumsum([0, *(len(part.samples) for part in parts)]).tolist()

    def usable(self, seed: int) -> Mixture:
        """What can be trained on: samples with usable truth, within the limits. Raises SampleError for none."""
        mixture = Mixture([part.usable(seed) for part in self._parts])
        if not mixture.samples:
            raise SampleError(f"none of the {len(self.samples)} samples has truth that can be trained on")
        return mixture

    @property
    def weights(self) -> list[float]:
        """How often an epoch takes each of ``samples``, on average."""
        return [part.weight for part in self._parts for _ in part.samples]

    @property
    def num_problems(self) -> int:
        """How many samples have truth that cannot be used."""
        return sum(bool(sample.problems) for sample in self.samples)

    @property
    def epoch_length(self) -> int:
        """Items of an epoch; of epochs of several lengths, the mean, rounded up."""
        return math.ceil(sum(part.weight * len(part.samples) for part in self._parts))

    def epochs(self, seed: int) -> Iterator[list[int]]:
        """The epochs of a run, without end: each a list of indices into ``samples``, in random order."""
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
        """The samples of one part in random order, again and again, each round in another one."""
        rng = np.random.default_rng((seed, 0, number))
        while True:
            yield from (self._firsts[number] + rng.permutation(len(self._parts[number].samples))).tolist()
