from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from timesight.artifacts import METRICS_FILE
from timesight.data import read_jsonl
from timesight.data.mixture import Mixture, MixtureSource
from timesight.errors import InputError, RecipeError
from timesight.training.recipe import difference, dump_recipe, load_recipe, shipped
from timesight.training.run_dir import init_run_dir, locked, require_same_samples
from timesight.training.settings import GrpoRecipe, SftRecipe


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_parse_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "again.yaml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_a_difference_names_the_values_inside_a_list_of_sections() -> None:
    recipe = load_recipe("tiny/joint")
    changed = yaml.safe_load(dump_recipe(recipe))
    changed["data"]["sources"][1]["world"]["num_videos"] = 7
    assert difference(dump_recipe(recipe), yaml.safe_dump(changed)) == (
        "data.sources.1.world.num_videos was 800 and is 7"
    )


def test_a_run_may_resume_with_other_settings_that_nothing_learned_depends_on(tmp_path: Path) -> None:
    init_run_dir(load_recipe("tiny/grpo"), tmp_path)
    (tmp_path / METRICS_FILE).touch()
    moved = load_recipe("tiny/grpo", ["reading.workers=7", "train.max_broken_share=0.5", "train.save_steps=3"])
    init_run_dir(moved, tmp_path)
    assert load_recipe(tmp_path / "recipe.yaml") == moved
    with pytest.raises(InputError, match=r"of another recipe \(seed was 0 and is 1\)"):
        init_run_dir(load_recipe("tiny/grpo", ["seed=1", "reading.workers=3"]), tmp_path)


def test_a_run_directory_is_for_one_run_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(InputError, match="another process is training there"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_samples_that_were_chosen_anew_do_not_enter_a_run(tmp_path: Path, world: Path) -> None:
    everything = Mixture([MixtureSource(read_jsonl(world / "train.jsonl"))])
    first, second = everything.samples[:2]
    require_same_samples(everything, everything.only(lambda sample: sample is first), ["a"], tmp_path)
    (tmp_path / METRICS_FILE).touch()
    require_same_samples(everything, everything.only(lambda sample: sample is first), ["a"], tmp_path)
    with pytest.raises(InputError, match=r"data\.difficulty: holds other samples than when the run"):
        require_same_samples(everything, everything.only(lambda sample: sample is second), ["a"], tmp_path)


def test_the_shipped_ones_are_there() -> None:
    assert isinstance(load_recipe("tiny/grpo"), GrpoRecipe)
    assert isinstance(load_recipe("tiny/pretrain"), SftRecipe)


def test_overrides_win() -> None:
    recipe = load_recipe("tiny/grpo", ["train.learning_rate=3e-6", "grpo.beta=0.1", "think=true", "seed=7"])
    assert isinstance(recipe, GrpoRecipe)
    assert (recipe.train.learning_rate, recipe.grpo.beta, recipe.think, recipe.seed) == (3e-6, 0.1, True, 7)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.learning_rat=1", "unknown key train.learning_rat; did you mean learning_rate?"),
        ("num_generatons=4", "unknown key num_generatons; did you mean num_generations?"),
        ("grpo.num_generations=1", "grpo.num_generations: Input should be greater than or equal to 2"),
        ("train.learning_rate=fast", "train.learning_rate: Input should be a valid number"),
        ("kind=ppo", "kind must be grpo or sft"),
        ("train", "write KEY=VALUE"),
        ("model.name=x", "model is a value, not a section"),
        ("data.jsonl=x.jsonl", "set exactly one of data.jsonl, data.hub, data.world and data.sources"),
    ],
)
def test_wrong_keys_and_values_get_one_clear_line(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny/grpo", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    for name, message in {
        "nothing": "no recipe",
        "list.yaml": "is a mapping",
        "broken.yaml": "not YAML",
    }.items():
        with pytest.raises(RecipeError, match=message):
            load_recipe(tmp_path / name)


def test_the_defaults_are_the_papers() -> None:
    recipe = GrpoRecipe.model_validate({"kind": "grpo", "data": {"jsonl": "x"}})
    assert recipe.grpo.num_generations == 8
    assert recipe.grpo.beta == 0.04
    assert recipe.train.learning_rate == 1e-6
    assert recipe.video.total_pixels == 3584 * 28 * 28
    assert yaml.safe_load(dump_recipe(recipe))["grpo"]["epsilon"] == 0.2


def test_a_file_takes_the_place_of_the_sources_and_of_nothing_else() -> None:
    recipe = load_recipe("tiny/joint", ["data.evidence=false", "data.limit=9"], Path("mine.jsonl"))
    assert (recipe.data.jsonl, recipe.data.world) == (Path("mine.jsonl"), None)
    assert (recipe.data.evidence, recipe.data.limit) == (False, 9)
    with pytest.raises(RecipeError, match=r"pretrain\.yaml: .*no source letters; there are mine\.jsonl"):
        load_recipe("tiny/pretrain", jsonl=Path("mine.jsonl"))
