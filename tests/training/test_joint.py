"""Joint training over all tasks with one trainer, and a judge that may be down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import timesight.training
from timesight.errors import RecipeError, TrainingError
from timesight.tasks import TASKS
from timesight.training.preview import preview
from timesight.training.run import run_recipe
from timesight.training.settings import GrpoRecipe

DOWN = {"kind": "served", "model": "m", "base_url": "http://127.0.0.1:9/v1", "max_retries": 0}


@pytest.fixture
def two_each(full_world: Path) -> Path:
    """Two samples of each task."""
    lines = (full_world / "train.jsonl").read_text().splitlines()
    chosen = [line for name in TASKS for line in [x for x in lines if f'"task":"{name}"' in x][:2]]
    file = full_world / "two-each.jsonl"
    file.write_text("".join(f"{line}\n" for line in chosen))
    return file


def joint(jsonl: Path, **settings: Any) -> GrpoRecipe:
    return GrpoRecipe.model_validate(
        {
            "kind": "grpo",
            "data": {"jsonl": jsonl},
            "video": {"min_pixels": 784, "max_pixels": 4704, "max_frames": 16},
            "train": {"max_steps": 2, "batch_size": 12, "learning_rate": 1e-4},
            "grpo": {"num_generations": 4, "max_completion_length": 90, "beta": 0.0, "scale_rewards": "task"},
            "judge": {"kind": "world"},
        }
        | settings
    )


@pytest.mark.slow
@pytest.mark.parametrize("think", [False, True])
def test_all_tasks_are_trained_together_and_logged_apart(two_each: Path, tmp_path: Path, think: bool) -> None:
    run_recipe(joint(two_each, think=think), tmp_path)
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        wanted = {f"reward/{name}/{part}" for name, task in TASKS.items() for part in ("format", *task.components)}
        assert wanted <= set(entry)
        assert all(0.0 <= entry[name] <= 1.0 for name in wanted)
        assert entry["unjudged_share"] == 0.0


def test_the_trainer_knows_no_task_by_name() -> None:
    for file in Path(timesight.training.__file__).parent.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not [name for name in TASKS if f'"{name}"' in text], file.name


@pytest.mark.slow
def test_a_judge_that_is_down_ends_a_run_past_the_allowed_share(two_each: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions.jsonl"
    lines = [x for x in two_each.read_text().splitlines() if '"captioning"' in x]
    captions.write_text("".join(f"{line}\n" for line in lines).replace('"train/', f'"{two_each.parent}/train/'))
    grpo = {"num_generations": 16, "max_completion_length": 40, "beta": 0.0}
    train = {"max_steps": 2, "batch_size": 2}
    down = {"grpo": grpo, "train": train, "judge": DOWN}
    with pytest.raises(TrainingError, match=r"left \d+ of the last 32 captions unscored"):
        run_recipe(joint(captions, **down), tmp_path / "strict")
    patient = joint(captions, **down | {"judge": DOWN | {"max_unjudged_share": 1.0}})
    run_recipe(patient, tmp_path / "patient")
    entry = json.loads((tmp_path / "patient/metrics.jsonl").read_text().splitlines()[0])
    assert entry["unjudged_share"] > 0.5
    assert "reward/captioning/format" in entry


def test_captions_need_a_judge(two_each: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="captioning is rewarded by a judge, and the recipe names none"):
        run_recipe(joint(two_each, judge=None), tmp_path)


@pytest.mark.slow
def test_a_preview_shows_what_copying_the_first_box_earns(two_each: Path, tmp_path: Path) -> None:
    shown = {task.task: task for task in preview(joint(two_each), tmp_path, num_prompts=12)}
    assert set(shown) == set(TASKS)
    copied = shown["object_tracking"].baselines["repeat the given box"]
    assert copied["format"] == 1.0
    assert 0.0 < copied["iou"] <= 1.0
