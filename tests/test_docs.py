"""What the documents say can be done can be done."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import timesight
from timesight.cli import COMMANDS
from timesight.cli.eval import command as eval_command
from timesight.data import SOURCES, parse_line
from timesight.evaluation import SUITES
from timesight.model import families
from timesight.tasks import TASKS
from timesight.tasks.custom import TaskSettings, custom_tasks
from timesight.training.recipe import load_recipe, shipped
from timesight.training.settings import SftRecipe

ROOT = Path(__file__).parents[1]
MODEL: Any = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: None))
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


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_the_python_of_a_page_runs(
    page: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs/demo").mkdir(parents=True)
    (tmp_path / "runs/demo/world").symlink_to(world, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    (block,) = blocks(ROOT / page, "python")
    exec(compile(block, page, "exec"), {})
    assert "Span(" in capsys.readouterr().out


@pytest.mark.slow
def test_the_page_on_extending_runs(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its loss trains, its generator is evaluated, its family is found."""
    loss, generator, evaluation, family = blocks(ROOT / "docs/extending.md", "python")
    (recipe,) = blocks(ROOT / "docs/extending.md", "yaml")
    (tmp_path / "runs/demo").mkdir(parents=True)
    (tmp_path / "runs/demo/world").symlink_to(world, target_is_directory=True)
    (tmp_path / "my_losses.py").write_text(loss)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    small = {"max_steps": 1, "batch_size": 2}
    content = yaml.safe_load(recipe)
    content["grpo"] |= {"num_generations": 2, "max_completion_length": 8, "beta": 0.0}
    content |= {"kind": "grpo", "data": {"jsonl": str(world / "train.jsonl")}, "train": small}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert timesight.train(tmp_path / "mine.yaml", tmp_path / "run").num_steps == 1
    namespace: dict[str, object] = {}
    exec(compile(generator + evaluation, "extending.md", "exec"), namespace)
    assert 0.0 < float(capsys.readouterr().out.splitlines()[-1]) < 1.0
    monkeypatch.setattr(families, "FAMILIES", dict(families.FAMILIES))
    exec(compile(family, "extending.md", "exec"), namespace)
    assert "not known to take packed rows" in str(
        families.family_of(SimpleNamespace(model_type="my_vl")).packing_unsupported_reason(MODEL)
    )


def test_the_readme_fits_a_screen_and_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text
    assert len(text.splitlines()) <= 90


def run_script(path: Path) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": "script", "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), namespace)
    return namespace


def test_the_page_on_data_lists_every_source_and_its_recipe_is_one() -> None:
    page = ROOT / "docs/data.md"
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(name, ", ".join(s.splits), s.files) for name, s in SOURCES.items()]
    (block,) = blocks(page, "yaml")
    SftRecipe.model_validate({"kind": "sft", **yaml.safe_load(block)})


def test_the_page_on_evaluation_lists_every_suite_and_its_example_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs/evaluation.md"
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) ?\|$", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rows == [
        (name, suite.task, ", ".join(TASKS[suite.task].metric_protocols), ", ".join(suite.by))
        for name, suite in SUITES.items()
    ]
    (block,) = blocks(page, "python")
    monkeypatch.setattr("timesight.evaluation.SUITES", dict(SUITES))
    exec(compile(block, "evaluation.md", "exec"), {})
    parts = re.findall(
        r"^timesight eval (score|compare|export|submission|baselines)", "".join(blocks(page, "")), re.MULTILINE
    )
    assert set(parts) <= set(eval_command.commands)


def test_the_task_guide_is_what_the_code_says() -> None:
    guide = run_script(ROOT / "docs/guide.py")["guide"]
    assert (ROOT / "docs/tasks.md").read_text(encoding="utf-8") == guide()  # type: ignore[operator]


def test_the_page_of_recipe_keys_is_what_the_settings_say() -> None:
    page = run_script(ROOT / "docs/recipe_keys.py")["page"]
    assert (ROOT / "docs/recipes.md").read_text(encoding="utf-8") == page()  # type: ignore[operator]


def test_the_table_of_exploits_is_what_the_scorers_give(capsys: pytest.CaptureFixture[str]) -> None:
    run_script(ROOT / "benchmarks/exploits.py")["main"]()  # type: ignore[operator]
    assert capsys.readouterr().out in (ROOT / "docs/rewards.md").read_text(encoding="utf-8")


def test_the_pages_recipe_and_samples_are_valid(tmp_path: Path) -> None:
    page = ROOT / "docs/custom-task.md"
    recipe, wordings = blocks(page, "yaml")
    (tmp_path / "count.yaml").write_text(recipe)
    settings = load_recipe(tmp_path / "count.yaml").tasks
    (line,) = blocks(page, "json")
    derived, adapters = blocks(page, "python")
    (tmp_path / "mine.py").write_text(derived)
    files = (*(ROOT / file for file in settings.files), tmp_path / "mine.py")
    tasks = custom_tasks(TaskSettings(files=files, prompts=yaml.safe_load(wordings)))
    assert parse_line(line, "custom-task.md", ROOT, tasks).task == "counting"
    task = tasks["temporal_grounding"]
    sample = task.Sample.model_validate(
        {"id": "x", "task": task.name, "video": "v", "query": "q", "spans": [[1, 2]]}
    )
    assert task.reward("<answer>1.2 to 2</answer>", sample) == {"format": 1.0, "iou": 0.8, "start": 1.0}
    exec(compile(adapters, "custom-task.md", "exec"), {})
