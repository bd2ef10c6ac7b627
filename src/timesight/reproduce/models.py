"""The models of rows; one that is there already is not trained again, whichever table asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from timesight.artifacts import PREVIEW_FILE
from timesight.files import read_text, write_text
from timesight.model.load import newest_checkpoint
from timesight.reproduce.samples import Samples
from timesight.reproduce.settings import TableRow, with_sources
from timesight.reproduce.store import Store, digest, identity
from timesight.training.preview import preview
from timesight.training.recipe import INERT_KEYS, Recipe
from timesight.training.samples import load_mixture
from timesight.training.settings import DifficultySettings, GrpoRecipe, SftRecipe

TRAINED = "trained"  # a file of a finished run, with its last checkpoint
Train = Callable[[SftRecipe | GrpoRecipe, Path], object]


class Models:
    """Trains models, and finds them.

    Args:
        store: Where they are. A model is known by its recipe, seed and launch command.
        samples: What they are trained on.
        train: As ``run_recipe``; a terminal shows how far it is.
        launch: The command that ``train`` starts, which a model depends on: more processes take larger steps.
    """

    def __init__(self, store: Store, samples: Samples, train: Train, launch: str | None) -> None:
        self._store, self._samples, self._train, self._launch = store, samples, train, launch

    def count(self, rows: Sequence[TableRow], seeds: Sequence[int]) -> tuple[int, int]:
        """How many models the rows train, and how many of them are there already."""
        places = {self._folder(row, seed) for row in rows if row.train for seed in seeds}
        places |= {self._folder(start, 0) for row in rows if (start := row.start)}
        return len(places), sum(_is_trained(place) for place in places)

    def model(self, row: TableRow, seed: int) -> str:
        """The model of a row: trained, unless it is there already or the row trains none."""
        if row.train is None:
            return self._base(row)
        self.make(row, seed)
        return str(self._folder(row, seed))

    def make(self, row: TableRow, seed: int, *, wait: bool = True) -> bool:
        """Train the model of a row that trains one, unless it is there already; returns whether it was trained.

        Args:
            row: The row.
            seed: Of the model.
            wait: False: leave it to another process that is training it.
        """
        assert row.train is not None
        folder = self._folder(row, seed)
        if not wait and not self._has_base(row):
            return False
        recipe = row.train.model_copy(update={"seed": seed, "model": self._base(row)})
        with self._store.lock(folder, wait=wait) as is_mine:
            if not is_mine or _is_trained(folder):
                return False
            recipe = with_sources(recipe, self._samples.place)
            if recipe.data.difficulty is not None:
                recipe = self._previewed(recipe, recipe.data.difficulty, folder)
            self._train(recipe, folder)
            write_text(folder / TRAINED, str(newest_checkpoint(folder)))
        return True

    def is_open(self, row: TableRow, seed: int) -> bool:
        """Whether the model of a row that trains one is not there, and nobody is training it."""
        return not _is_trained(self._folder(row, seed)) and not self.is_taken(row, seed)

    def is_taken(self, row: TableRow, seed: int) -> bool:
        """Whether another process is training the model of a row that trains one."""
        with self._store.lock(self._folder(row, seed), wait=False) as is_mine:
            return not is_mine

    def _base(self, row: TableRow) -> str:
        """The model that a row measures, or that its training starts from; trained once if a recipe makes it."""
        start = row.start
        return row.base if start is None else self.model(start, seed=0)

    def _has_base(self, row: TableRow) -> bool:
        start = row.start
        return start is None or _is_trained(self._folder(start, 0))

    def _previewed(self, recipe: Recipe, difficulty: DifficultySettings, folder: Path) -> Recipe:
        """``recipe``, which chooses its samples by a preview of all of them, made in its run directory."""
        assert isinstance(recipe, GrpoRecipe)  # TableRow refuses others
        everything = _with_difficulty(recipe, None)
        num_samples = len(load_mixture(everything.data, folder).usable(recipe.seed).samples)
        with self._store.progress("preview", num_samples) as advance:
            preview(everything, folder, num_samples, advance)
        return _with_difficulty(recipe, difficulty.model_copy(update={"preview": folder / PREVIEW_FILE}))

    def _folder(self, row: TableRow, seed: int) -> Path:
        assert row.train is not None
        recipe = row.train.model_dump(mode="json", exclude=INERT_KEYS) | {"seed": seed}
        start = row.start
        base = identity(row.base) if start is None else self._folder(start, 0).name
        made_of = [recipe, base, self._launch]
        return self._store.root / "models" / f"{row.train.kind}-{digest(made_of)}-{seed}"


def _with_difficulty(recipe: GrpoRecipe, difficulty: DifficultySettings | None) -> GrpoRecipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"difficulty": difficulty})})


def _is_trained(folder: Path) -> bool:
    """Whether the run ended, and its last checkpoint is still whole."""
    if not (folder / TRAINED).is_file():
        return False
    newest = newest_checkpoint(folder)
    return newest is not None and Path(read_text(folder / TRAINED)).name == newest.name
