"""Trains a row with a separate command, such as ``accelerate launch``: on several GPUs, or with sharded weights."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from timesight.errors import InputError, TrainingError
from timesight.files import write_text
from timesight.training.recipe import Recipe, dump_recipe

STDERR = 2  # what trainings print is no result of the table


def launched(command: str) -> Callable[[Recipe, Path], None]:
    """Return a function that trains a recipe in a run directory with ``command``.

    Args:
        command: What runs a Python module in one process or more, such as ``accelerate launch --num_processes 8``;
            ``-m timesight train RECIPE --out FOLDER`` is added. The recipe is written next to the run directory.

    Raises:
        InputError: If the command is empty or cannot be split into words.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--launch {command!r}: {error}") from None
    if not words:
        raise InputError("--launch: the command is empty")

    def train(recipe: Recipe, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.parent / f"{folder.name}.yaml"
        write_text(file, dump_recipe(recipe))
        code = _run([*words, "-m", "timesight", "train", str(file), "--out", str(folder)])
        if code:
            raise TrainingError(f"{command}: training {file} ended with exit code {code}")

    return train


def _run(words: list[str]) -> int:
    """The exit code of a command, which gets the time to save what it has on Ctrl-C."""
    try:
        process = subprocess.Popen(words, stdout=STDERR)
    except OSError as error:
        raise InputError(f"--launch: {words[0]} cannot be started ({error.strerror})") from None
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
