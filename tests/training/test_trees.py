"""Questions on one video are asked together: in the schedule, and in an update that equals asking them apart."""

from __future__ import annotations

import functools
import json
import logging
from collections import Counter
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from timesight.artifacts import METRICS_FILE
from timesight.data import read_jsonl
from timesight.data.mixture import Mixture, MixtureSource
from timesight.infer.prompts import shown_frames
from timesight.model import load as load_module
from timesight.model.load import load_policy
from timesight.prefix.tree import PrefixTree, build_tree
from timesight.tasks import TASKS
from timesight.training import grpo as grpo_module
from timesight.training import sft as sft_module
from timesight.training.recipe import load_recipe
from timesight.training.run import run_recipe
from timesight.training.schedule import QuestionGrouper, make_schedule
from timesight.training.settings import CurriculumSettings, GrpoRecipe, SftRecipe
from timesight.types import Sample


def samples(questions: list[int]) -> list[Sample]:
    """So many grounding questions on each of several videos."""
    task = TASKS["temporal_grounding"]
    return [
        task.Sample.model_validate(
            {
                "id": f"v{video}-{n}",
                "task": task.name,
                "video": Path(f"v{video}.mp4"),
                "query": "x",
                "spans": [(0, n + 1)],
                "meta": {"duration_s": float(7 * n % 10)},
            }
        )
        for video, count in enumerate(questions)
        for n in range(count)
    ]


@given(
    questions=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    weight=st.sampled_from([0.5, 1.0, 2.0]),
    cap=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_every_question_comes_as_often_as_its_weight_says(
    questions: list[int], weight: float, cap: int, seed: int
) -> None:
    questions = questions * 2  # an even number, so that halves are whole
    mixture = Mixture([MixtureSource(samples(questions), weight)])
    grouper = QuestionGrouper(mixture, cap)
    grouped = list(islice(grouper.entries(seed), grouper.num_entries(2, seed)))
    assert Counter(chain.from_iterable(grouped)) == Counter(dict.fromkeys(range(sum(questions)), int(2 * weight)))
    for entry in grouped:
        assert 1 <= len(entry) <= cap
        assert len({mixture.samples[index].video for index in entry}) == 1
        assert len(set(entry)) == len(entry)
    if cap == 1:
        assert [index for (index,) in grouped] == [*chain.from_iterable(islice(mixture.epochs(seed), 2))]


@pytest.mark.parametrize("epochs", [0.25, 0.5, 1.5])
def test_part_of_an_epoch_shares_videos_as_a_whole_one_does(epochs: float) -> None:
    grouper = QuestionGrouper(Mixture([MixtureSource(samples([4] * 20))]), 4)
    assert grouper.num_entries(epochs, 0) == 20 * epochs


def test_videos_with_many_questions_do_not_come_first() -> None:
    """Every video has its place in the epoch by chance, however many questions it has."""
    mixture = Mixture([MixtureSource(samples([1] * 20 + [8] * 20))])
    places: dict[int, list[int]] = {1: [], 8: []}
    for seed in range(40):
        for place, entry in enumerate(islice(QuestionGrouper(mixture, 8).entries(seed), 40)):
            places[len(entry)].append(place)
    means = {size: sum(mine) / len(mine) for size, mine in places.items()}
    assert means[1] == pytest.approx(means[8], abs=1.5)


def test_a_curriculum_joins_what_is_as_easy() -> None:
    mixture = Mixture([MixtureSource(samples([6] * 30))])
    schedule = make_schedule(
        QuestionGrouper(mixture, 3),
        60,
        seed=0,
        think_share=0.0,
        curriculum=CurriculumSettings(by="meta.duration_s", share=0.5),
    )
    durations = [[mixture.samples[index].meta["duration_s"] for index in entry.samples] for entry in schedule]
    assert {len(entry.samples) for entry in schedule[:6]} == {1}  # one question of six is among the easiest
    assert max(chain.from_iterable(durations[:6])) == 0.0
    assert {len(entry.samples) for entry in schedule[30:]} == {3}


def test_tasks_with_frames_of_their_own_are_asked_apart(
    full_world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = read_jsonl(full_world / "train.jsonl")
    mixture = Mixture([MixtureSource(world)])
    grouper = QuestionGrouper(mixture, 8)
    entries = list(islice(grouper.entries(0), grouper.num_entries(1, 0)))
    for entry in entries:
        assert len({shown_frames(world[index]) for index in entry}) == 1
    tracking = [index for index, sample in enumerate(world) if sample.task == "object_tracking"]
    assert all((index,) in entries for index in tracking)
    assert grouper.num_apart == len(tracking) > 0
    with caplog.at_level(logging.WARNING, logger="timesight"):
        run_recipe(recipe("sft", full_world, questions_per_video=4), tmp_path)
    assert f"{len(tracking)} of {len(world)} questions ask for other frames" in caplog.text


def recipe(kind: str, world: Path, think: bool = False, **train: Any) -> SftRecipe | GrpoRecipe:
    settings: dict[str, Any] = {
        "kind": kind,
        "data": {"jsonl": world / "train.jsonl"},
        "video": {"min_pixels": 784, "max_pixels": 4704, "max_frames": 8},
        "train": {"max_steps": 1, "learning_rate": 1e-4, "batch_size": 3, "questions_per_video": 4} | train,
    }
    if kind == "sft":
        return SftRecipe.model_validate(settings | {"think_share": float(think)})
    grpo = {"num_generations": 3, "max_completion_length": 12, "beta": 0.1}
    judge = {"kind": "world"}
    return GrpoRecipe.model_validate(settings | {"think": think, "grpo": grpo, "judge": judge})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "think", "train"),
    [
        ("sft", True, {}),
        ("sft", False, {"lora": {"r": 4, "alpha": 8}}),
        ("grpo", True, {"gradient_accumulation_steps": 2}),
        ("grpo", False, {"freeze": ["tower", "merger"]}),
        ("grpo", False, {"lora": {"r": 4, "alpha": 8}}),
    ],
)
def test_a_step_on_trees_is_the_step_on_rows(
    kind: str, think: bool, train: dict[str, Any], full_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same questions and replies, in float32: one loss, one gradient."""
    monkeypatch.setattr(load_module, "_multiplies_bf16", lambda: False)
    module = sft_module if kind == "sft" else grpo_module
    seen: list[PrefixTree] = []

    def remember(*args: Any, share: bool | None) -> PrefixTree:
        seen.append(build_tree(*args, share=share))
        return seen[-1]

    entries, weights = {}, {}
    for name, share in (("tree", None), ("rows", False)):
        monkeypatch.setattr(module, "build_tree", functools.partial(remember, share=share))
        run = run_recipe(recipe(kind, full_world, think, **train), tmp_path / name)
        entries[name] = json.loads((tmp_path / name / METRICS_FILE).read_text().splitlines()[0])
        weights[name] = load_policy(run.checkpoint, dtype="float32").model.state_dict()
    assert {len(tree.levels) for tree in seen} == {1, 2}
    assert entries["tree"]["num_prompts"] > 3
    for metric in ("loss", "grad_norm", "kl", "reward", "sampler_kl"):
        if metric in entries["rows"]:
            assert entries["tree"][metric] == pytest.approx(entries["rows"][metric], rel=1e-4, abs=1e-6), metric
    if kind == "grpo":
        assert entries["tree"]["num_tokens"] < 0.9 * entries["rows"]["num_tokens"]
    for key, tensor in weights["rows"].items():
        torch.testing.assert_close(weights["tree"][key], tensor, atol=2e-5, rtol=1e-3)


@pytest.mark.slow
def test_a_step_of_videos_resumes_where_it_was(full_world: Path, tmp_path: Path) -> None:
    whole = recipe("sft", full_world, max_steps=3, save_steps=1)
    run_recipe(whole, tmp_path / "whole")
    run_recipe(whole, tmp_path / "again")
    lines = [(tmp_path / name / METRICS_FILE).read_text().splitlines() for name in ("whole", "again")]
    asked = [[json.loads(line)["num_prompts"] for line in each] for each in lines]
    assert asked[0] == asked[1]
    assert max(asked[0]) > 3


def test_questions_per_video_is_a_cap() -> None:
    assert load_recipe("tiny/grpo", ["train.questions_per_video=4"]).train.questions_per_video == 4
