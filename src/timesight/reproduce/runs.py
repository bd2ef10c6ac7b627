"""Trains and measures the models of the rows; what is there already is not made again, whichever table made it.

A model is known by its recipe and seed, a measurement by its model and settings: rows of several tables share them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock

from timesight.artifacts import PREVIEW_FILE, RESULT_FILE, read_items, read_result
from timesight.data import read_jsonl
from timesight.data.build import annotations_in
from timesight.errors import InputError, TimesightError
from timesight.evaluation import Scoring, find_suite, require_judge
from timesight.evaluation.evaluate import ask_and_score
from timesight.evaluation.questions import eval_settings, weight_files
from timesight.evaluation.score import score_baselines
from timesight.files import read_text, write_text
from timesight.generate.base import Generator
from timesight.generate.local import open_generator
from timesight.infer.answer import InferenceConfig
from timesight.infer.clue import ClueGenerator
from timesight.judge import open_judge
from timesight.model.load import newest_checkpoint
from timesight.reproduce.measured import Found, Measured
from timesight.reproduce.settings import Measurement, TableRow, with_sources
from timesight.reproduce.tables import Table
from timesight.tasks import TASKS
from timesight.training.preview import preview
from timesight.training.recipe import Recipe
from timesight.training.run import run_recipe
from timesight.training.samples import load_mixture, ungrounded
from timesight.training.settings import DifficultySettings, GrpoRecipe, SftRecipe, SourceSettings, WorldSource
from timesight.types import Sample
from timesight.video import ReadingSettings
from timesight.world import WorldJudge, write_world

DIGITS = 12  # of a digest in a folder's name
END_BYTES = 2**22  # of a file of weights, which has gigabytes
TRAINED = "trained"  # a file of a finished run, with its last checkpoint
NO_MATTER: Mapping[str, Any] = {  # keys of a recipe that the trained model does not depend on
    "reading": True,
    "train": {"save_steps", "stall_s", "report_to"},
    "judge": {"base_url", "api_key_env", "timeout_s", "max_retries", "concurrency", "cache"},
}
Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


def _raise(row: str, error: TimesightError) -> None:
    raise error


@contextmanager
def no_progress(what: str, total: int) -> Iterator[Callable[..., None]]:
    """Shows nothing."""
    yield lambda *counts: None


class Runs:
    """Makes models and measurements in a folder, and finds them there.

    Args:
        out: The folder; ``models/``, ``measurements/`` and ``worlds/`` are made in it.
        data: Where benchmarks and training files are: ``SUITE/annotations`` with videos anywhere under ``SUITE``,
            and the ``jsonl`` files of recipes. None: for the synthetic world.
        train: As ``run_recipe``; a terminal shows how far it is.
        launch: The command that ``train`` starts, which a model depends on: more processes take larger steps.
        progress: Given what is done and how often, a context that gives a function to call each time.
    """

    def __init__(
        self,
        out: Path,
        data: Path | None = None,
        train: Callable[[SftRecipe | GrpoRecipe, Path], object] = run_recipe,
        launch: str | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self._out, self._data, self._train, self._launch, self._progress = out, data, train, launch, progress

    def num_models(self, rows: Sequence[TableRow], seeds: Sequence[int]) -> tuple[int, int]:
        """How many models the rows train, and how many of them are there already."""
        places = {self._model_folder(row, seed) for row in rows if row.train for seed in seeds}
        return len(places), sum(_is_trained(place) for place in places)

    def model(self, row: TableRow, seed: int) -> str:
        """The model of a row: trained, unless it is there already or the row trains none."""
        if row.train is None:
            return row.base
        recipe, folder = row.train.model_copy(update={"seed": seed}), self._model_folder(row, seed)
        with self._alone(folder):
            if not _is_trained(folder):
                recipe = with_sources(recipe, self._place)
                if recipe.data.difficulty is not None:
                    recipe = self._previewed(recipe, recipe.data.difficulty, folder)
                self._train(recipe, folder)
                write_text(folder / TRAINED, str(newest_checkpoint(folder)))
        return str(folder)

    def measure(self, row: TableRow, seed: int) -> dict[str, Measured]:
        """Take the measurements of ``row`` that are not there yet; returns all of them by name."""
        model = self.model(row, seed)
        identity, generator = _identity(model), cache(lambda: open_generator(model))
        found = {}
        for one in row.evaluate:
            settings = one.model_dump(mode="json", exclude={"name", "metrics", "protocol"})
            folder = self._out / "measurements" / _digest(settings | {"model": identity})
            with self._alone(folder):
                if not (folder / RESULT_FILE).is_file():
                    self._evaluate(generator(), one, folder)
            result, items = read_result(folder), read_items(folder)
            protocol = one.protocol or next(iter(result.results))
            measured = Measured(items, result.results[protocol], protocol, result.num_truncated / len(items))
            found[one.name] = measured.as_answers_to(self._chosen(one)) if one.drops_evidence else measured
        return found

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
        samples = self._samples(measurement)
        task = TASKS.of(samples[0])
        judge = open_judge(measurement.judge, WorldJudge())
        scored = {}
        for name, result in score_baselines(measurement.name, task, samples, judge).items():
            protocol = measurement.protocol or next(iter(result.results))
            items = {item.id: item for item in result.items}
            scored[name] = Measured(items, result.results[protocol], protocol)
        return scored

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
            on_row: Told which row is worked on, and with which seed.
            on_failure: Told of a row that could not be trained or measured, and why; the next one follows. By
                default the error is raised.

        Yields:
            After each seed, what was found so far.
        """
        found: dict[str, dict[str, dict[int | None, Measured]]] = {name: {} for name in rows}
        for seed in range(num_seeds):
            for name, row in rows.items():
                if seed > 0 and not row.train:
                    continue
                said = f"{row.row}, seed {seed}" if row.train else row.row
                on_row(said)
                try:
                    measurements = self.measure(row, seed)
                except TimesightError as error:
                    on_failure(said, error)
                    continue
                for measurement, measured in measurements.items():
                    found[name].setdefault(measurement, {})[seed if row.train else None] = measured
            yield found

    def _previewed(self, recipe: Recipe, difficulty: DifficultySettings, folder: Path) -> Recipe:
        """``recipe``, which chooses its samples by a preview of all of them, made in its run directory."""
        assert isinstance(recipe, GrpoRecipe)  # TableRow refuses others
        everything = _with_difficulty(recipe, None)
        num_samples = len(load_mixture(everything.data, folder).usable(recipe.seed).samples)
        with self._progress("preview", num_samples) as advance:
            preview(everything, folder, num_samples, advance)
        return _with_difficulty(recipe, difficulty.model_copy(update={"preview": folder / PREVIEW_FILE}))

    def _evaluate(self, generator: Generator, measurement: Measurement, folder: Path) -> None:
        samples = self._samples(measurement)
        judge = open_judge(measurement.judge, WorldJudge(), folder)
        require_judge([TASKS.of(samples[0])], judge)
        config = InferenceConfig(
            measurement.video or generator.default_budget,
            measurement.think,
            max_new_tokens=measurement.max_new_tokens,
            evidence=bool(measurement.evidence) or measurement.clue is not None,
        )
        if measurement.clue is not None:
            generator = ClueGenerator(generator, config.budget, measurement.clue)
        # The folder is named after the weights, wherever they lie: no path of them is recorded.
        settings = eval_settings(measurement.name, None, generator, config, split=measurement.split)
        suite = None if measurement.suite is None else find_suite(measurement.suite)
        scoring = Scoring(average_over=suite.average_over if suite else None)
        with self._progress(measurement.name, len(samples)) as advance:
            ask_and_score(
                generator, samples, config, settings, folder, judge, scoring, None, advance, ReadingSettings()
            )

    def _samples(self, measurement: Measurement) -> list[Sample]:
        """What is asked."""
        chosen = self._chosen(measurement)
        return ungrounded(chosen) if measurement.drops_evidence else chosen

    def _chosen(self, measurement: Measurement) -> list[Sample]:
        """The samples that are measured on, as they are."""
        samples = self._all_samples(measurement)
        chosen = [s for s in samples if all(str(s.meta.get(key)) == v for key, v in measurement.where.items())]
        if not chosen:
            asked = ", ".join(f"{key}: {value}" for key, value in measurement.where.items())
            raise InputError(f"{measurement.name}: none of {len(samples)} items has {asked} in meta")
        return chosen

    def _all_samples(self, measurement: Measurement) -> list[Sample]:
        if measurement.world is not None:
            return read_jsonl(self._world(measurement.world))
        assert measurement.suite is not None  # Measurement holds measurement of them
        folder = self._root() / measurement.suite
        return find_suite(measurement.suite).read(annotations_in(folder), folder, measurement.split)

    def _world(self, world: WorldSource) -> Path:
        """The samples of ``world``, which is written once for all runs."""
        folder = self._out / "worlds" / _digest(world.model_dump(mode="json"))
        file = folder / f"{world.split}.jsonl"
        with self._alone(folder):
            if not file.exists():
                with self._progress("synthetic world", world.num_videos) as advance:
                    write_world(folder, {world.split: world.num_videos}, world, seed=world.seed, on_video=advance)
        return file

    @contextmanager
    def _alone(self, folder: Path) -> Iterator[None]:
        """Only one process at a time makes ``folder``: another one waits, and finds it made."""
        locks = self._out / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"{folder.name}.lock"):
            yield

    def _place(self, source: SourceSettings) -> dict[str, Path | None]:
        """Where the samples of ``source`` are."""
        if source.world is not None:
            return {"world": None, "jsonl": self._world(source.world)}
        return {} if source.jsonl is None else {"jsonl": self._root() / source.jsonl}

    def _root(self) -> Path:
        if self._data is None:
            raise InputError("say with --data where the benchmarks and training files are")
        return self._data

    def _model_folder(self, row: TableRow, seed: int) -> Path:
        assert row.train is not None
        recipe = row.train.model_dump(mode="json", exclude=NO_MATTER) | {"seed": seed}
        made_of = [recipe, _identity(row.base), self._launch]
        return self._out / "models" / f"{row.train.kind}-{_digest(made_of)}-{seed}"


def _with_difficulty(recipe: GrpoRecipe, difficulty: DifficultySettings | None) -> GrpoRecipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"difficulty": difficulty})})


def _is_trained(folder: Path) -> bool:
    """Whether the run ended, and its last checkpoint is still whole."""
    if not (folder / TRAINED).is_file():
        return False
    newest = newest_checkpoint(folder)
    return newest is not None and Path(read_text(folder / TRAINED)).name == newest.name


def _identity(model: str) -> Any:
    """What a model is, wherever it lies: the sizes and ends of its files of weights; of a hub id, its name."""
    return [_ends(Path(file)) for file in weight_files(model)] or model


def _ends(file: Path) -> list[Any]:
    size = file.stat().st_size
    with file.open("rb") as content:
        digest = sha256(content.read(END_BYTES))
        content.seek(max(0, size - END_BYTES))
        digest.update(content.read())
    return [file.name, size, digest.hexdigest()]


def _digest(content: Any) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGITS]
