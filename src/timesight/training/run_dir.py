"""A run directory, before training: whose it is, and that its samples are still those it began with."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from timesight.artifacts import METRICS_FILE
from timesight.data.mixture import Mixture
from timesight.errors import InputError
from timesight.files import json_content, json_text, read_text, write_text
from timesight.model.load import resolve
from timesight.model.processes import this_process
from timesight.model.tiny import NEW
from timesight.training.recipe import difference, dump_recipe
from timesight.training.samples import WORLD_DIR
from timesight.training.settings import GrpoRecipe, SftRecipe

LOGGER = logging.getLogger("timesight")
RECIPE_FILE, DATA_FILE, LOCK_FILE = "recipe.yaml", "data.json", ".lock"
KEPT = "data.difficulty"  # in data.json: of all sources, what it keeps


def init_run_dir(recipe: SftRecipe | GrpoRecipe, out: Path) -> None:
    """Make ``out`` this recipe's run directory.

    Raises:
        InputError: Where a recipe that differs in what is learned has left results; or if the model is no folder,
            before worlds are written.
    """
    if not recipe.model.startswith(NEW):
        resolve(recipe.model)
    text = dump_recipe(recipe)
    file = out / RECIPE_FILE
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: --out takes a folder")
    has_results = (out / METRICS_FILE).exists() or (out / WORLD_DIR).exists()
    if has_results and not file.exists():
        raise InputError(f"{out} holds results, and no {RECIPE_FILE} says of what: choose another --out")
    if has_results and (changed := difference(file.read_text(encoding="utf-8"), text)):
        raise InputError(f"{out} holds results of another recipe ({changed}): choose another --out")
    write_text(file, text)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Let no other run train in the run directory ``out`` at the same time. Raises InputError if one does."""
    lock = FileLock(out / LOCK_FILE, blocking=False)
    if this_process().is_main_process:
        try:
            lock.acquire()
        except NotImplementedError:
            LOGGER.warning("%s: this disk has no locks: see that no other process trains there", out)
        except Timeout:
            raise InputError(f"{out}: another process is training there; wait, or choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def require_same_samples(mixture: Mixture, kept: Mixture | None, sources: Sequence[str], out: Path) -> None:
    """Keep what the samples of each source are in a new run directory.

    Args:
        mixture: All samples.
        kept: Those that ``data.difficulty`` keeps; None without it.
        sources: Names of the sources.
        out: The run directory.

    Raises:
        InputError: If they are others than the run began with: it would continue in another order.
    """
    file = out / DATA_FILE
    times = Counter[str]()
    digests = {}
    for name, digest in zip(sources, mixture.digests(), strict=True):
        times[name] += 1
        digests[name if times[name] == 1 else f"{name} ({times[name]})"] = digest
    if kept is not None:
        digests[KEPT] = " ".join(kept.digests())
    if not (out / METRICS_FILE).exists() or not file.exists():
        write_text(file, json_text(digests, indent=2))
        return
    before = json_content(read_text(file), file)
    changed = [name for name, digest in digests.items() if before.get(name) != digest]
    if changed:
        raise InputError(
            f"{changed[0]}: holds other samples than when the run in {out} began: put them back, or choose another "
            "--out"
        )
