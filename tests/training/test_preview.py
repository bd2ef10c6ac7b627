"""What a preview says of the untrained model, and which samples a run takes by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from timesight.artifacts import PreviewEntry, read_records
from timesight.data import read_jsonl
from timesight.data.jsonl import write_jsonl
from timesight.errors import InputError
from timesight.training.preview import TaskPreview, preview
from timesight.training.run import run_recipe
from timesight.training.settings import GrpoRecipe
from timesight.types import Video


def content_of(file: Path, *, limit: int | None, batch_size: int, num_generations: int) -> dict[str, Any]:
    """A small recipe, before it is validated."""
    return {
        "kind": "grpo",
        "data": {"jsonl": file, "limit": limit},
        "video": {"min_pixels": 784, "max_pixels": 4704, "max_frames": 16},
        "train": {"batch_size": batch_size, "max_steps": 1},
        "grpo": {"num_generations": num_generations, "max_completion_length": 24, "beta": 0.0},
    }


def test_a_preview_says_what_a_run_would_start_from(world: Path, tmp_path: Path) -> None:
    recipe = GrpoRecipe.model_validate(
        {
            "kind": "grpo",
            "data": {"jsonl": world / "train.jsonl"},
            "video": {"min_pixels": 784, "max_pixels": 4704, "max_frames": 16},
            "train": {"batch_size": 4},
            "grpo": {"num_generations": 4, "max_completion_length": 24},
        }
    )
    (task,) = preview(recipe, tmp_path, num_prompts=10)
    assert (task.task, task.num_prompts) == ("temporal_grounding", 10)
    assert task.components["format"] > 0.8
    assert 0.1 < task.components["iou"] < 0.6
    assert not task.advice()


def test_samples_are_chosen_by_what_a_preview_of_all_of_them_earned(
    world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "preview.jsonl"
    content = content_of(world / "train.jsonl", limit=24, batch_size=8, num_generations=4)
    recipe = GrpoRecipe.model_validate(content)
    content["data"]["difficulty"] = {"preview": file, "max_reward": 1.5, "min_std": 0.01}
    chosen = GrpoRecipe.model_validate(content)
    preview(recipe, tmp_path, num_prompts=10)
    with pytest.raises(InputError, match=r"14 of 24 samples are not in it, .*--num-prompts 24"):
        run_recipe(chosen, tmp_path / "run")
    (task,) = preview(recipe, tmp_path, num_prompts=24)  # the other 14
    entries = read_records(file, PreviewEntry)
    assert len(entries) == len({entry.id for entry in entries}) == task.num_prompts == 24
    kept = [entry for entry in entries if (entry.mean_reward or 0) <= 1.5 and entry.reward_std >= 0.01]
    assert 0 < len(kept) < 24
    assert run_recipe(chosen, tmp_path / "run").num_samples == len(kept)
    assert f"data.difficulty keeps {len(kept)} of 24 samples" in caplog.text


def test_an_interrupted_preview_ends_as_if_nothing_had_happened(world: Path, tmp_path: Path) -> None:
    content = content_of(world / "train.jsonl", limit=12, batch_size=4, num_generations=2)
    recipe = GrpoRecipe.model_validate(content)
    calls: list[int] = []

    def stop(num_prompts: int) -> None:
        calls.append(num_prompts)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preview(recipe, tmp_path / "cut", 12, stop)
    preview(recipe, tmp_path / "cut", 12)
    preview(recipe, tmp_path / "whole", 12)
    cut, whole = (read_records(tmp_path / name / "preview.jsonl", PreviewEntry) for name in ("cut", "whole"))
    assert calls == [0, 4]
    assert cut == whole


def test_a_preview_knows_of_videos_that_cannot_be_read(
    world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are left out by ``data.difficulty``, and asked about again by the next preview."""
    samples = read_jsonl(world / "train.jsonl")[:6]
    samples[2] = samples[2].model_copy(update={"video": Video(path=tmp_path / "none.mp4")})
    write_jsonl(tmp_path / "some.jsonl", samples)
    content = content_of(tmp_path / "some.jsonl", limit=None, batch_size=4, num_generations=2)
    recipe = GrpoRecipe.model_validate(content)
    for attempt in (1, 2):
        (task,) = preview(recipe, tmp_path, num_prompts=6)
        entries = read_records(tmp_path / "preview.jsonl", PreviewEntry)
        assert (task.num_prompts, len(entries)) == (5, 5 + attempt)
        assert [entry.id for entry in entries if not entry.rewards] == [samples[2].id] * attempt
    assert f"{samples[2].id}: no replies: " in caplog.text
    content["data"]["difficulty"] = {"preview": tmp_path / "preview.jsonl"}
    assert run_recipe(GrpoRecipe.model_validate(content), tmp_path / "run").num_samples == 5
    preview(recipe.model_copy(update={"seed": 1}), tmp_path, num_prompts=6)
    with pytest.raises(InputError, match="holds previews of several models or settings"):
        run_recipe(GrpoRecipe.model_validate(content), tmp_path / "another")


@pytest.mark.parametrize(
    ("components", "zero_std", "truncated", "said"),
    [
        ({"format": 0.02, "iou": 0.0}, 0.9, 0.0, "some SFT first"),
        ({"format": 1.0, "iou": 0.0}, 1.0, 0.0, "nothing tells better from worse"),
        ({"format": 1.0, "iou": 0.97}, 0.2, 0.0, "little to learn"),
        ({"format": 1.0, "iou": 0.4}, 0.7, 0.0, "teach nothing"),
        ({"format": 1.0, "iou": 0.4}, 0.1, 0.5, "max_completion_length"),
    ],
)
def test_a_preview_gives_advice(components: dict[str, float], zero_std: float, truncated: float, said: str) -> None:
    assert said in " ".join(TaskPreview("t", 50, components, zero_std, truncated).advice())
