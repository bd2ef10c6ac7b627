"""Trains and measures the rows of tables; what is there already is not made again, whichever table made it.

A model is known by its recipe and seed, a measurement by its model and settings: rows of several tables share them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from accelerate.utils.memory import clear_device_cache

from timesight.artifacts import RESULT_FILE, read_items, read_result
from timesight.errors import InputError, TimesightError
from timesight.evaluation import Scoring, find_suite, require_judge
from timesight.evaluation.evaluate import ask_and_score
from timesight.evaluation.questions import eval_settings
from timesight.evaluation.score import score_baselines
from timesight.generate.base import Generator
from timesight.generate.local import open_generator
from timesight.infer.answer import InferenceConfig
from timesight.infer.clue import ClueGenerator
from timesight.judge import open_judge
from timesight.reproduce.measured import Found, Measured
from timesight.reproduce.models import Models, Train
from timesight.reproduce.samples import Samples
from timesight.reproduce.settings import Measurement, TableRow
from timesight.reproduce.store import Progress, Store, digest, identity, no_progress
from timesight.reproduce.tables import Table
from timesight.tasks import TASKS
from timesight.training.recipe import INERT_KEYS
from timesight.training.run import run_recipe
from timesight.video import ReadingSettings, reading_pool
from timesight.world import WorldJudge

SHOWN = {"name": True, "metrics": True, "protocol": True}  # of a measurement: its replies do not depend on them
MOST_UNSCORED = 0.05  # of the items of a measurement


def _raise(row: str, error: TimesightError) -> None:
    raise error


class Runs:
    """Makes models and measurements in a folder, and finds them there.

    Args:
        out: The folder.
        data: As in ``Samples``.
        train: As in ``Models``.
        launch: As in ``Models``.
        progress: As in ``Store``.
    """

    def __init__(
        self,
        out: Path,
        data: Path | None = None,
        train: Train = run_recipe,
        launch: str | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self._store = Store(out, progress)
        self._samples = Samples(self._store, data)
        self._models = Models(self._store, self._samples, train, launch)

    def num_models(self, rows: Sequence[TableRow], seeds: Sequence[int]) -> tuple[int, int]:
        """How many models the rows train, and how many of them are there already."""
        return self._models.count(rows, seeds)

    def measure_rows(
        self,
        rows: Mapping[str, TableRow],
        num_seeds: int,
        on_row: Callable[[str], object] = lambda row: None,
        on_failure: Callable[[str, TimesightError], object] = _raise,
    ) -> Iterator[Found]:
        """Take all measurements of ``rows``, one seed after the other.

        Args:
            rows: By file name.
            num_seeds: Models trained for each row; a row that trains none is measured once.
            on_row: Called with the row that is worked on, and its seed.
            on_failure: Called with a row that could not be trained or measured, and why; the next one follows. By
                default the error is raised.

        Yields:
            After each seed, what was found so far.
        """
        found: dict[str, dict[str, dict[int | None, Measured]]] = {name: {} for name in rows}
        later = deque((row, seed) for seed in range(num_seeds) for row in rows.values() if row.train)
        for seed in range(num_seeds):
            for name, row in rows.items():
                if seed > 0 and not row.train:
                    continue
                said = f"{row.row}, seed {seed}" if row.train else row.row
                if row.train:
                    later.popleft()  # this one
                meanwhile = partial(self._train_next, iter(tuple(later)), on_row)
                while row.train and self._models.is_taken(row, seed) and meanwhile():
                    pass
                on_row(said)
                try:
                    measurements = self.measure(row, seed, meanwhile)
                except TimesightError as error:
                    on_failure(said, error)
                    continue
                for measurement, measured in measurements.items():
                    found[name].setdefault(measurement, {})[seed if row.train else None] = measured
            yield found

    def _train_next(self, others: Iterator[tuple[TableRow, int]], on_row: Callable[[str], object]) -> bool:
        """Train the next of ``others`` that nobody trains; returns whether there was one."""
        for other, seed in others:
            if self._models.is_open(other, seed):
                on_row(f"{other.row}, seed {seed}")
                with suppress(TimesightError):  # its own turn will tell
                    self._models.make(other, seed, wait=False)
                return True
        return False

    def measure(
        self, row: TableRow, seed: int, meanwhile: Callable[[], bool] = lambda: False
    ) -> dict[str, Measured]:
        """Take the measurements of ``row`` that are not there yet; returns all of them by name.

        Args:
            row: The row.
            seed: Of its model.
            meanwhile: Called while another command takes those that are left; returns whether it did anything.
        """
        model = self._models.model(row, seed)
        weights = identity(model)
        places = [(one, self._folder(one, weights)) for one in row.evaluate]
        missing = [(one, folder) for one, folder in places if not (folder / RESULT_FILE).is_file()]
        while missing:
            missing = self._take(model, missing)
            if missing and not meanwhile():
                with self._store.lock(missing[0][1]):
                    pass  # the other command has ended
        return {one.name: self._read(one, folder) for one, folder in places}

    def _folder(self, measurement: Measurement, weights: Any) -> Path:
        settings = measurement.model_dump(mode="json", exclude=SHOWN | {"judge": INERT_KEYS["judge"]})
        return self._store.root / "measurements" / digest(settings | {"model": weights})

    def _take(self, model: str, missing: Sequence[tuple[Measurement, Path]]) -> list[tuple[Measurement, Path]]:
        """Take the measurements that no other command takes; returns those that one does."""
        generator, taken = cache(lambda: open_generator(model)), []
        for one, folder in missing:
            with self._store.lock(folder, wait=False) as is_mine:
                if not is_mine:
                    taken.append((one, folder))
                elif not (folder / RESULT_FILE).is_file():
                    self._evaluate(generator(), one, folder)
        generator.cache_clear()
        clear_device_cache(garbage_collection=True)  # --launch trains the next row on the same GPU
        return taken

    def _read(self, measurement: Measurement, folder: Path) -> Measured:
        measured = _measured(folder, measurement)
        return measured.as_answers_to(self._samples.chosen(measurement)) if measurement.drops_evidence else measured

    def measure_baselines(self, table: Table) -> dict[str, dict[str, dict[int | None, Measured]]]:
        """Score the video-blind baselines that claims of ``table`` name.

        Returns:
            By baseline and measurement, as ``measure_rows`` does.

        Raises:
            InputError: If a measurement has no such baseline.
        """
        found: dict[str, dict[str, dict[int | None, Measured]]] = {}
        for claim in table.claims:
            for name in {figure.rpartition("/")[0] for figure in claim.figures} if claim.above else ():
                measurement = table.rows[claim.better].measurement(name)
                assert measurement is not None  # read_table refuses other claims
                scored = self._baselines(measurement)
                for baseline in claim.above:
                    if baseline not in scored:
                        raise InputError(f"{name} has no baseline {baseline}: choose one of {', '.join(scored)}")
                    found.setdefault(baseline, {})[name] = {None: scored[baseline]}
        return found

    def _baselines(self, measurement: Measurement) -> dict[str, Measured]:
        samples = self._samples.asked(measurement)
        task = TASKS.of(samples[0])
        judge = open_judge(measurement.judge, WorldJudge())
        scored = {}
        for name, result in score_baselines(measurement.name, task, samples, judge).items():
            protocol = measurement.protocol or next(iter(result.results))
            items = {item.id: item for item in result.items}
            scored[name] = Measured(items, result.results[protocol], protocol)
        return scored

    def _evaluate(self, generator: Generator, measurement: Measurement, folder: Path) -> None:
        samples = self._samples.asked(measurement)
        judge = open_judge(measurement.judge, WorldJudge(), folder)
        require_judge([TASKS.of(samples[0])], judge)
        config = InferenceConfig(
            measurement.video or generator.default_budget,
            measurement.think,
            max_new_tokens=measurement.max_new_tokens,
            evidence=bool(measurement.evidence) or measurement.clue is not None,
        )
        suite = None if measurement.suite is None else find_suite(measurement.suite)
        scoring = Scoring(average_over=suite.average_over if suite else None, strict=measurement.strict)
        with (
            reading_pool(ReadingSettings()) as pool,
            self._store.progress(measurement.name, len(samples)) as advance,
        ):
            if measurement.clue is not None:
                generator = ClueGenerator(generator, config.budget, measurement.clue, pool)
            # The folder's name stands for the weights, wherever they lie, and for what tables call the measurement.
            settings = eval_settings(folder.name, None, generator, config, split=measurement.split)
            settings["model"] = folder.name
            ask_and_score(generator, samples, config, settings, folder, judge, scoring, None, advance, pool)


def _measured(folder: Path, measurement: Measurement) -> Measured:
    """What was measured in ``folder``. Raises InputError if too much was not scored; it is scored anew then."""
    result, items = read_result(folder), read_items(folder)
    num_asked = len(items) + result.num_quarantined
    unscored = result.num_unscored / len(items)
    if unscored > MOST_UNSCORED:
        (folder / RESULT_FILE).unlink()
        raise InputError(
            f"{measurement.name}: {result.num_unscored} of {len(items)} items could not be scored; run the same "
            "command again once the judge answers: replies are kept"
        )
    protocol = measurement.protocol or next(iter(result.results))
    return Measured(
        items,
        result.results[protocol],
        protocol,
        truncated=result.num_truncated / len(items),
        unscored=unscored,
        unread=result.num_quarantined / num_asked,
    )
