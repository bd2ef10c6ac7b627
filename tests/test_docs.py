"""What the documents say can be done can be done."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from timesight.cli import COMMANDS
from timesight.data import parse_line
from timesight.train.recipe import shipped

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_exist(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_recipes_exist(document: Path) -> None:
    lines = "".join(blocks(document, ""))
    for command, argument in re.findall(r"^timesight (\w+) +(\S+)", lines, re.MULTILINE):
        assert command in COMMANDS
        if command in ("train", "sft") and not argument.endswith(".yaml"):
            assert argument in shipped()


def test_the_readmes_sample_is_a_sample() -> None:
    (block,) = blocks(ROOT / "README.md", "json")
    assert parse_line(block, "README.md", ROOT).id == json.loads(block)["id"]


def test_the_readmes_python_runs(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs/demo").mkdir(parents=True)
    (tmp_path / "runs/demo/world").symlink_to(world, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(ROOT / "README.md", "python")
    exec(compile(block, "README.md", "exec"), {})
    assert "<answer>" in capsys.readouterr().out


def test_the_readme_fits_a_screen_and_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text
    assert len(text.splitlines()) <= 90
