"""Rows that are trained by a launch command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from timesight.errors import InputError, TrainingError
from timesight.reproduce import launched
from timesight.training.recipe import load_recipe


def test_a_command_gets_the_recipe_and_the_folder(tmp_path: Path) -> None:
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text("import sys, pathlib; pathlib.Path(sys.argv[-1]).write_text(' '.join(sys.argv[1:]))")
    recipe, folder = load_recipe("tiny/grpo"), tmp_path / "models" / "a"
    launched(f"{sys.executable} {stand_in}")(recipe, folder)
    file = tmp_path / "models" / "a.yaml"
    assert folder.read_text() == f"-m timesight train {file} --out {folder}"
    assert load_recipe(file) == recipe


@pytest.mark.parametrize(
    ("command", "error", "said"),
    [
        ("'", InputError, "No closing quotation"),
        ("", InputError, "the command is empty"),
        ("no-such-command", InputError, "no-such-command cannot be started"),
        (f"{sys.executable} -c 'raise SystemExit(3)'", TrainingError, "ended with exit code 3"),
    ],
)
def test_what_cannot_be_launched_is_said(command: str, error: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said):
        launched(command)(load_recipe("tiny/grpo"), tmp_path / "a")
