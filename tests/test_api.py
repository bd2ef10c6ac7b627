"""The public functions, as docs/api.md shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import timesight

pytestmark = pytest.mark.slow


def test_samples_are_read_evaluated_and_kept(world: Path, tmp_path: Path) -> None:
    samples = timesight.read_dataset(world / "test.jsonl")[:4]
    policy = timesight.load_policy()
    (name,) = {sample.task for sample in samples}
    kept = timesight.evaluate(samples, policy, tmp_path / "run", max_new_tokens=24)[name]
    assert kept.num_items == 4
    content = json.loads((tmp_path / "run/result.json").read_text())
    assert content["results"]["official"]["metrics"] == kept.results["official"].metrics
    assert len((tmp_path / "run/items.jsonl").read_text().splitlines()) == 4
    assert timesight.evaluate(samples, policy, max_new_tokens=24)[name].results == kept.results
    file = world / "test.jsonl"
    assert timesight.evaluate(file, policy, max_new_tokens=24, batch_size=64)[name].suite == "test"


def test_a_recipe_is_trained_by_name(world: Path, tmp_path: Path) -> None:
    small = [
        "train.max_steps=1",
        "train.batch_size=2",
        "grpo.num_generations=2",
        f"data={{jsonl: {world}/train.jsonl}}",
    ]
    result = timesight.train("tiny/grpo", tmp_path, overrides=small)
    assert result.checkpoint == tmp_path / "checkpoint-1"
    with pytest.raises(
        timesight.RecipeError, match=r"train\.accumulation is called gradient_accumulation_steps now"
    ):
        timesight.train("tiny/grpo", tmp_path, overrides=["train.accumulation=2"])


def test_data_without_a_name_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(timesight.InputError, match="is neither a file nor a source; sources are charades_sta"):
        timesight.read_dataset("charades")
    with pytest.raises(timesight.InputError, match="say where its official files are"):
        timesight.read_dataset("charades_sta")
    with pytest.raises(timesight.InputError, match="say where its official files are"):
        timesight.evaluate("nextgqa")
