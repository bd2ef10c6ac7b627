"""Rows are trained and measured once, whichever table asks for them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from timesight.artifacts import PreviewEntry, read_records
from timesight.data import read_jsonl
from timesight.errors import InputError, TrainingError
from timesight.reproduce import Runs, read_table, settings, table_result
from timesight.reproduce import runs as runs_module
from timesight.reproduce.models import Models, Train
from timesight.reproduce.samples import Samples
from timesight.reproduce.settings import TableRow
from timesight.reproduce.store import Store, no_progress
from timesight.training.run import run_recipe
from timesight.training.settings import GrpoRecipe, SftRecipe

WORLD = {"num_videos": 3, "seed": 5, "tasks": ["temporal_grounding"], "duration_s": [2.0, 3.0]}
MEASUREMENT = {
    "name": "in domain",
    "world": WORLD | {"split": "test"},
    "video": {"max_frames": 6, "min_pixels": 784, "max_pixels": 784},
    "max_new_tokens": 12,
    "metrics": {"mIoU": None},
}
TRAIN = {
    "kind": "sft",
    "data": {"world": WORLD},
    "video": MEASUREMENT["video"],
    "train": {"max_steps": 1},
}


def written(folder: Path, table: dict[str, object], rows: dict[str, dict[str, object]]) -> Path:
    """The folder, with the files of a table."""
    for name, content in {"table": table, **rows}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


def models_in(folder: Path, train: Train, launch: str | None = None) -> Models:
    store = Store(folder, no_progress)
    return Models(store, Samples(store, None), train, launch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = {
        "title": "Grounding",
        "rows": ["base", "sft", "clue"],
        "claims": [
            {"says": "SFT helps", "better": "sft", "than": ["base"], "figures": ["in domain/mIoU"]},
            {"says": "It sees", "better": "sft", "above": ["whole video"], "figures": ["in domain/mIoU"]},
        ],
    }
    looking = MEASUREMENT | {"clue": {"max_passes": 2}}
    rows = {
        "base": {"row": "base", "model": "tiny", "evaluate": [MEASUREMENT]},
        "sft": {"row": "+ SFT", "train": TRAIN, "evaluate": [MEASUREMENT]},
        "clue": {"row": "+ SFT, clue", "train": TRAIN, "evaluate": [looking]},
    }
    return written(tmp_path, table, rows)


def test_models_and_measurements_are_made_once(folder: Path) -> None:
    table = read_table(folder)
    trained: list[Path] = []

    def train(recipe: SftRecipe | GrpoRecipe, out: Path) -> None:
        trained.append(out)
        run_recipe(recipe, out)

    out = folder / "out"
    for again in range(2):
        if again:  # a folder that moved is as good
            out = out.rename(folder / "moved")
        runs = Runs(out, train=train)
        assert runs.num_models(list(table.rows.values()), range(2)) == (2, 2 * again)
        *_, found = runs.measure_rows(table.rows, 2)
    assert len(trained) == 2  # one for each seed, shared by two rows
    assert len(list((out / "worlds").iterdir())) == 2  # training and test
    assert len(list((out / "measurements").iterdir())) == 5
    (finished,) = (out / "models").glob("*-0")
    (finished / "trained").write_text("checkpoint-2")  # as if its last checkpoint had been lost
    assert runs.num_models(list(table.rows.values()), range(2)) == (2, 1)
    result = table_result(table, {**found, **runs.measure_baselines(table)}, 2)
    assert set(result.rows[1].metrics) == {"in domain/mIoU"}
    assert {row.name for row in result.baselines} >= {"whole video"}
    assert result.claims[0].figures[0].than == "base"
    (above,) = result.claims[1].figures
    floor = next(row.metrics["in domain/mIoU"] for row in result.baselines if row.name == "whole video")
    assert above.difference == pytest.approx(result.rows[1].metrics["in domain/mIoU"] - floor)


def test_what_could_not_be_scored_is_scored_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The replies are kept."""
    runs, row = Runs(folder / "out"), read_table(folder).rows["base"]
    with monkeypatch.context() as patched:
        patched.setattr(runs_module, "MOST_UNSCORED", -0.1)  # as if the judge had been down
        with pytest.raises(
            InputError, match=r"in domain: 0 of \d+ items could not be scored; run the same command"
        ):
            runs.measure(row, 0)
    (replies,) = (folder / "out/measurements").rglob("replies.jsonl")
    before = replies.read_text()
    assert runs.measure(row, 0)["in domain"].unscored == 0
    assert replies.read_text() == before


def test_rows_can_start_from_the_model_of_a_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is trained once, whatever the seeds, before what starts from it."""
    first = SftRecipe.model_validate({**TRAIN, "train": {"max_steps": 2}})
    monkeypatch.setattr(settings, "load_recipe", {"tiny/first": first}.__getitem__)
    rows = {
        "base": {"row": "base", "model": "recipe:tiny/first", "evaluate": [MEASUREMENT]},
        "sft": {"row": "+ SFT", "train": {**TRAIN, "model": "recipe:tiny/first"}, "evaluate": [MEASUREMENT]},
    }
    table = read_table(written(folder, {"title": "Two stages", "rows": list(rows)}, rows))
    models: list[str] = []

    def train(recipe: SftRecipe | GrpoRecipe, out: Path) -> None:
        models.append(recipe.model)
        run_recipe(recipe, out)

    runs = Runs(folder / "out", train=train)
    assert runs.num_models(list(table.rows.values()), range(2)) == (3, 0)
    *_, found = runs.measure_rows(table.rows, 2)
    assert runs.num_models(list(table.rows.values()), range(2)) == (3, 3)
    start, *others = models
    assert start == "tiny"
    assert len(others) == 2
    assert {Path(model).parent for model in others} == {folder / "out" / "models"}
    assert [len(found[name]["in domain"]) for name in rows] == [1, 2]


def test_an_unknown_baseline_is_named_before_anything_is_trained(folder: Path) -> None:
    content = yaml.safe_load((folder / "table.yaml").read_text())
    content["claims"][1]["above"] = ["a guess"]
    (folder / "table.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="in domain has no baseline a guess: choose one of whole video, best"):
        Runs(folder / "out").measure_baselines(read_table(folder))


def test_more_processes_make_other_models(folder: Path) -> None:
    row = read_table(folder).rows["sft"]
    alone, launched = (models_in(folder, no_training, launch) for launch in (None, "two processes"))
    assert alone.model(row, 0) != launched.model(row, 0)


def test_a_row_that_fails_does_not_stop_the_others(folder: Path) -> None:
    def train(recipe: SftRecipe | GrpoRecipe, out: Path) -> None:
        if recipe.seed == 0:
            raise TrainingError("out of memory")
        run_recipe(recipe, out)

    table, failures = read_table(folder), []
    runs = Runs(folder / "out", train=train)
    *_, found = runs.measure_rows(table.rows, 2, on_failure=lambda row, error: failures.append(f"{row}: {error}"))
    assert failures == ["+ SFT, seed 0: out of memory", "+ SFT, clue, seed 0: out of memory"]
    assert {name: set(found[name]["in domain"]) for name in found} == {"base": {None}, "sft": {1}, "clue": {1}}
    with pytest.raises(TrainingError, match="out of memory"):
        list(runs.measure_rows(table.rows, 2))


def test_what_another_command_trains_is_left_to_it(folder: Path) -> None:
    """While it trains one model, this one trains the next, and then waits for the first."""
    table, out = read_table(folder), folder / "out"
    trained: list[int] = []
    has_started, may_end = threading.Event(), threading.Event()

    def slowly(recipe: SftRecipe | GrpoRecipe, place: Path) -> None:
        has_started.set()
        may_end.wait(60)
        run_recipe(recipe, place)

    def train(recipe: SftRecipe | GrpoRecipe, place: Path) -> None:
        trained.append(recipe.seed)
        run_recipe(recipe, place)
        may_end.set()

    row = table.rows["sft"]
    other = threading.Thread(target=lambda: models_in(out, slowly).make(row, 0))
    other.start()
    has_started.wait(60)
    *_, found = Runs(out, train=train).measure_rows(table.rows, 2)
    other.join()
    assert trained == [1]
    assert set(found["sft"]["in domain"]) == {0, 1}


def test_what_another_command_measures_is_left_to_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it measures the base, this one trains; then it waits for the figures and does not take them again."""
    table, out = read_table(folder), folder / "out"
    has_started, may_end = threading.Event(), threading.Event()
    ask, asked = runs_module.ask_and_score, list[str]()

    def slowly(*arguments: Any) -> Any:
        asked.append(threading.current_thread().name)
        if threading.current_thread().name == "other":
            has_started.set()
            may_end.wait(60)
        return ask(*arguments)

    def train(recipe: SftRecipe | GrpoRecipe, place: Path) -> None:
        run_recipe(recipe, place)
        may_end.set()

    monkeypatch.setattr(runs_module, "ask_and_score", slowly)
    other = threading.Thread(target=lambda: Runs(out).measure(table.rows["base"], 0), name="other")
    other.start()
    has_started.wait(60)
    *_, found = Runs(out, train=train).measure_rows({name: table.rows[name] for name in ("base", "sft")}, 1)
    other.join()
    assert asked == ["other", "MainThread"]
    assert set(found["base"]["in domain"]) == {None}


def test_settings_of_the_machine_make_no_other_model(folder: Path) -> None:
    row = read_table(folder).rows["sft"]
    assert row.train is not None
    models = models_in(folder, no_training)

    def place(**settings: object) -> str:
        train = row.train.train.model_copy(update=settings)  # type: ignore[union-attr]
        changed = row.train.model_copy(update={"train": train})  # type: ignore[union-attr]
        return models.model(row.model_copy(update={"train": changed}), 0)

    assert place(save_steps=7) == place()
    assert place(learning_rate=7e-7) != place()


def test_answers_without_evidence_are_compared_with_answers_that_name_it(tmp_path: Path) -> None:
    world = WORLD | {"num_videos": 6, "tasks": ["grounded_qa"], "split": "test", "duration_s": [3.0, 4.0]}
    asked = MEASUREMENT | {"name": "answers", "world": world}
    rows = {
        "alone": {
            "row": "alone",
            "model": "tiny",
            "evaluate": [asked | {"evidence": False, "metrics": {"accuracy": None}}],
        },
        "evidence": {
            "row": "evidence",
            "model": "tiny",
            "evaluate": [asked | {"protocol": "paper", "metrics": {"accuracy": None}}],
        },
    }
    claim = {"says": "Evidence helps", "better": "evidence", "than": ["alone"], "figures": ["answers/accuracy"]}
    table = {"title": "Evidence", "rows": list(rows), "claims": [claim]}
    read = read_table(written(tmp_path, table, rows))
    (found,) = Runs(tmp_path / "out").measure_rows(read.rows, 1)
    result = table_result(read, found, 1)
    (figure,) = result.claims[0].figures
    alone, evidence = (row.metrics["answers/accuracy"] for row in result.rows)
    assert figure.difference == pytest.approx(evidence - alone)
    assert figure.num_unshared == 0


def no_training(recipe: SftRecipe | GrpoRecipe, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)


def test_samples_are_previewed_before_a_row_chooses_among_them(tmp_path: Path) -> None:
    data = {"world": WORLD, "difficulty": {"preview": "preview.jsonl", "max_reward": 5.0}}
    filtered = TRAIN | {"kind": "grpo", "data": data, "grpo": {"num_generations": 2, "max_completion_length": 12}}
    row = TableRow.model_validate({"row": "filter", "train": filtered, "evaluate": [MEASUREMENT]})
    trained: list[GrpoRecipe | SftRecipe] = []

    def train(recipe: SftRecipe | GrpoRecipe, out: Path) -> None:
        trained.append(recipe)
        run_recipe(recipe, out)

    folder = Path(models_in(tmp_path, train).model(row, 0))
    difficulty = trained[0].data.difficulty
    assert difficulty is not None
    assert difficulty.preview == folder / "preview.jsonl"
    asked = read_jsonl(next((tmp_path / "worlds").glob("*/train.jsonl")))
    previewed = [entry.id for entry in read_records(difficulty.preview, PreviewEntry)]
    assert sorted(previewed) == sorted(sample.id for sample in asked)


def test_a_row_of_sft_chooses_by_no_preview() -> None:
    data = {"world": WORLD, "difficulty": {"preview": "preview.jsonl"}}
    with pytest.raises(ValidationError, match="only rows of kind grpo"):
        TableRow.model_validate({"row": "filter", "train": TRAIN | {"data": data}, "evaluate": [MEASUREMENT]})
