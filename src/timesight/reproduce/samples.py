"""Where the samples come from that rows are trained and measured on."""

from __future__ import annotations

from pathlib import Path

from timesight.data import read_jsonl
from timesight.data.build import annotations_in
from timesight.errors import InputError
from timesight.evaluation import find_suite
from timesight.reproduce.settings import Measurement
from timesight.reproduce.store import Store, digest
from timesight.training.samples import ungrounded
from timesight.training.settings import SourceSettings, WorldSource
from timesight.types import Sample
from timesight.world import write_world


class Samples:
    """Reads benchmarks and training files, and writes each world of the synthetic tables once.

    Args:
        store: Worlds are written there.
        data: Where benchmarks and training files are: ``SUITE/annotations`` with videos anywhere under ``SUITE``,
            and the ``jsonl`` files of recipes. None: for the synthetic world.
    """

    def __init__(self, store: Store, data: Path | None) -> None:
        self._store = store
        self._data = data

    def asked(self, measurement: Measurement) -> list[Sample]:
        """What is asked: ``chosen``, without the evidence if the measurement drops it."""
        chosen = self.chosen(measurement)
        return ungrounded(chosen) if measurement.drops_evidence else chosen

    def chosen(self, measurement: Measurement) -> list[Sample]:
        """The samples that are measured on, as they are. Raises InputError if there are none."""
        samples = self._all(measurement)
        chosen = [s for s in samples if all(str(s.meta.get(key)) == v for key, v in measurement.where.items())]
        if not chosen:
            asked = ", ".join(f"{key}: {value}" for key, value in measurement.where.items())
            raise InputError(f"{measurement.name}: none of {len(samples)} items has {asked} in meta")
        return chosen

    def place(self, source: SourceSettings) -> dict[str, Path | None]:
        """The settings that say where the samples of a recipe's ``source`` are."""
        if source.world is not None:
            return {"world": None, "jsonl": self._world(source.world)}
        return {} if source.jsonl is None else {"jsonl": self._root() / source.jsonl}

    def _all(self, measurement: Measurement) -> list[Sample]:
        if measurement.world is not None:
            return read_jsonl(self._world(measurement.world))
        assert measurement.suite is not None  # Measurement holds one of them
        folder = self._root() / measurement.suite
        return find_suite(measurement.suite).read(annotations_in(folder), folder, measurement.split)

    def _world(self, world: WorldSource) -> Path:
        """The samples of ``world``, which is written once for all runs."""
        folder = self._store.root / "worlds" / digest(world.model_dump(mode="json"))
        file = folder / f"{world.split}.jsonl"
        with self._store.lock(folder):
            if not file.exists():
                with self._store.progress("synthetic world", world.num_videos) as advance:
                    write_world(folder, {world.split: world.num_videos}, world, seed=world.seed, on_video=advance)
        return file

    def _root(self) -> Path:
        if self._data is None:
            raise InputError("say with --data where the benchmarks and training files are")
        return self._data
