"""Whole runs, small: what a recipe does to a run directory."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForImageTextToText

from timesight.artifacts import METRICS_FILE
from timesight.data import read_jsonl
from timesight.data.jsonl import write_jsonl
from timesight.data.mixture import Mixture, MixtureSource
from timesight.errors import InputError, SampleError, TrainingError
from timesight.model.load import load_policy, newest_checkpoint
from timesight.tasks import TASKS
from timesight.training.build import load_model
from timesight.training.counts import count_questions
from timesight.training.loop import Callback
from timesight.training.run import run_recipe
from timesight.training.samples import load_mixture, write_worlds
from timesight.training.schedule import QuestionGrouper, make_schedule
from timesight.training.settings import CurriculumSettings, GrpoRecipe, SftRecipe

pytestmark = pytest.mark.slow

VIDEO = {"min_pixels": 784, "max_pixels": 4704, "max_frames": 16}


def grpo(
    jsonl: Path, model: Path | str = "tiny", *, train: dict[str, Any] | None = None, **grpo: Any
) -> GrpoRecipe:
    return GrpoRecipe.model_validate(
        {
            "kind": "grpo",
            "model": str(model),
            "data": {"jsonl": jsonl},
            "video": VIDEO,
            "train": {"max_steps": 3, "batch_size": 2, "save_steps": 2, "learning_rate": 1e-4} | (train or {}),
            "grpo": {"num_generations": 4, "max_completion_length": 16, "beta": 0.0} | grpo,
        }
    )


def sft(jsonl: Path, model: Path | str, **train: Any) -> SftRecipe:
    return SftRecipe.model_validate(
        {
            "kind": "sft",
            "model": str(model),
            "data": {"jsonl": jsonl},
            "video": VIDEO,
            "train": {"max_steps": 3, "batch_size": 4, "learning_rate": 1e-3, "save_steps": 10} | train,
            "think_share": 0.5,
        }
    )


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / METRICS_FILE).read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).state_dict())


def test_a_few_grpo_steps_leave_a_whole_run_directory(world: Path, new_model: Path, tmp_path: Path) -> None:
    result = run_recipe(grpo(world / "train.jsonl", new_model, beta=0.04), tmp_path)
    assert result.checkpoint == tmp_path / "checkpoint-3"
    assert (tmp_path / "recipe.yaml").is_file()
    entries = metrics(tmp_path)
    assert [entry["step"] for entry in entries] == [1, 2, 3]
    for name in (
        "reward",
        "reward/temporal_grounding/iou",
        "reward/temporal_grounding/format",
        "kl",
        "clip_low_share",
        "clip_high_share",
        "entropy",
        "completion_tokens",
        "truncated_share",
        "frac_reward_zero_std",
        "reward_std",
        "sampler_kl",
        "read_s",
        "encode_s",
        "sample_s",
        "reward_s",
        "update_s",
        "tokens_per_s",
        "step_s",
    ):
        assert name in entries[-1]
    replies = [json.loads(line) for line in (tmp_path / "completions/step-000001.jsonl").read_text().splitlines()]
    assert len(replies) == 8
    names = {"version", "id", "reply", "first_look", "segments", "rewards", "advantage"}
    assert set(replies[0]) == names


def test_grpo_makes_the_reward_rise(world: Path, tmp_path: Path) -> None:
    """From the embedded model, on a handful of videos: it must learn them."""
    recipe = grpo(
        world / "train.jsonl",
        train={
            "max_steps": 24,
            "batch_size": 8,
            "learning_rate": 3e-4,
            "freeze": ["tower", "merger"],
            "save_steps": 50,
        },
        num_generations=8,
    )
    run_recipe(recipe, tmp_path)
    rewards = [entry["reward"] for entry in metrics(tmp_path)]
    assert sum(rewards[-6:]) / 6 > sum(rewards[:6]) / 6 + 0.05


def test_the_reference_keeps_the_policy_near(world: Path, tmp_path: Path) -> None:
    jsonl = world / "train.jsonl"
    for name, beta in (("near", 1.0), ("free", 1e-6)):
        run_recipe(grpo(jsonl, train={"max_steps": 12, "learning_rate": 3e-4}, beta=beta), tmp_path / name)
    near, free = (sum(entry["kl"] for entry in metrics(tmp_path / name)[-4:]) for name in ("near", "free"))
    assert 0 < near < free


def test_sft_learns_and_counts_only_the_reply(world: Path, new_model: Path, tmp_path: Path) -> None:
    run_recipe(sft(world / "train.jsonl", new_model, max_steps=12), tmp_path)
    losses = [entry["loss"] for entry in metrics(tmp_path)]
    assert losses[0] == pytest.approx(torch.log(torch.tensor(388.0)).item(), abs=0.6)  # nearly uniform at first
    assert losses[-1] < losses[0] - 1.0
    by_task = [entry["loss/temporal_grounding"] for entry in metrics(tmp_path)]
    assert by_task[-1] < by_task[0] - 1.0


def test_a_frozen_tower_stays(world: Path, new_model: Path, tmp_path: Path) -> None:
    before = weights(new_model)
    result = run_recipe(sft(world / "train.jsonl", new_model, freeze=["tower", "merger"]), tmp_path)
    after = weights(result.checkpoint)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any("visual" in name for name in changed)


class StopAt(Callback):
    def __init__(self, step: int) -> None:
        self._step = step

    def on_step(self, step: int) -> None:
        if step == self._step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {
            "num_iterations": 2,
            "scale_rewards": "task",
            "loss_type": "dapo",
            "train": {"gradient_accumulation_steps": 2},
        },
        {"beta": 0.04},
        {"beta": 0.04, "train": {"lora": {"r": 4, "alpha": 8}, "learning_rate": 1e-2}},
    ],
    ids=["plain", "everything", "reference", "lora"],
)
def test_an_interrupted_run_goes_on_and_ends_as_if_nothing_had_happened(
    world: Path, tmp_path: Path, variant: dict[str, Any]
) -> None:
    train = {"max_steps": 5, "save_steps": 2} | variant.get("train", {})
    settings = {name: value for name, value in variant.items() if name != "train"}
    recipe = grpo(world / "train.jsonl", train=train, **settings)
    run_recipe(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path / "parts", callbacks=[StopAt(3)])
    assert len(metrics(tmp_path / "parts")) == 3
    result = run_recipe(recipe, tmp_path / "parts")
    assert [entry["step"] for entry in metrics(tmp_path / "parts")] == [1, 2, 3, 4, 5]
    start, whole, parts = (
        load_policy(m).model.state_dict() for m in ("tiny", tmp_path / "whole", result.checkpoint)
    )
    assert any(not torch.equal(start[name], whole[name]) for name in start)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-5, rtol=1e-4)
    kls = [[entry.get("kl") for entry in metrics(tmp_path / run)] for run in ("whole", "parts")]
    assert kls[0] == pytest.approx(kls[1], rel=0.05, abs=1e-7)  # the reference is still the first one


def test_a_line_of_metrics_torn_by_a_kill_is_written_again(world: Path, tmp_path: Path) -> None:
    recipe = grpo(world / "train.jsonl", train={"max_steps": 3, "save_steps": 1})
    run_recipe(recipe, tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-3")
    whole = (tmp_path / METRICS_FILE).read_bytes()
    (tmp_path / METRICS_FILE).write_bytes(whole[:-20])
    run_recipe(recipe, tmp_path)
    assert [entry["step"] for entry in metrics(tmp_path)] == [1, 2, 3]


def test_a_checkpoint_torn_by_a_kill_is_passed_over(world: Path, tmp_path: Path) -> None:
    recipe = grpo(world / "train.jsonl", train={"max_steps": 3, "save_steps": 1})
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path, callbacks=[StopAt(2)])
    torn = tmp_path / "checkpoint-2"
    (torn / "model.safetensors").write_bytes(b"half of it")
    assert load_policy(tmp_path).name == str(tmp_path)  # from checkpoint-1
    assert run_recipe(recipe, tmp_path).checkpoint == tmp_path / "checkpoint-3"
    assert [entry["step"] for entry in metrics(tmp_path)] == [1, 2, 3]


def test_whatever_file_of_a_checkpoint_is_cut_off_the_one_before_is_used(
    world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    recipe = grpo(world / "train.jsonl", train={"max_steps": 2, "save_steps": 1})
    run_recipe(recipe, run)
    files = [file for file in (run / "checkpoint-2").rglob("*") if file.is_file() and file.stat().st_size > 1]
    assert len(files) > 8
    assert newest_checkpoint(run) == run / "checkpoint-2"
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        assert newest_checkpoint(run) == run / "checkpoint-1"
        assert "checkpoint-2 is skipped" in caplog.text
        caplog.clear()
        file.unlink()
        assert newest_checkpoint(run) == run / "checkpoint-1"
        file.write_bytes(whole)
    (run / "checkpoint-2" / "model.safetensors").write_bytes(b"")
    assert run_recipe(recipe, run).checkpoint == run / "checkpoint-2"
    assert newest_checkpoint(run) == run / "checkpoint-2"


@pytest.mark.parametrize("what_fails", ["safetensors.torch.save_file", "torch.save", "pathlib.Path.rename"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_last_good_one(
    world: Path, tmp_path: Path, what_fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk in the middle of a run is a warning, and at its end an error; what was saved before stays."""
    recipe = grpo(world / "train.jsonl", train={"max_steps": 3, "save_steps": 1})

    class FillDisk(Callback):
        def on_step(self, step: int) -> None:
            if step == 1:
                monkeypatch.setattr(what_fails, no_space)
                monkeypatch.setattr("transformers.modeling_utils.safe_save_file", no_space, raising=False)

    def no_space(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TrainingError, match=r"the last checkpoint could not be written \(no space left on device"):
        run_recipe(recipe, tmp_path, callbacks=[FillDisk()])
    assert "the checkpoint of step 2 could not be written" in caplog.text
    assert [folder.name for folder in tmp_path.glob("*checkpoint-*")] == ["checkpoint-1"]
    monkeypatch.undo()
    assert run_recipe(recipe, tmp_path).checkpoint == tmp_path / "checkpoint-3"


def test_other_samples_do_not_enter_a_run(world: Path, tmp_path: Path) -> None:
    lines = (world / "train.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        record["video"] = str(world / record["video"])
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    recipe = grpo(data, train={"max_steps": 1})
    run_recipe(recipe, tmp_path / "run")
    records[3]["spans"] = [[0.0, 1.0]]
    data.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(InputError, match=r"data\.jsonl: holds other samples than when the run"):
        run_recipe(recipe, tmp_path / "run")


def test_sources_that_are_parts_of_one_file_are_told_apart(full_world: Path, tmp_path: Path) -> None:
    samples = read_jsonl(full_world / "train.jsonl")
    data = tmp_path / "data.jsonl"
    write_jsonl(data, samples)
    parts = [{"jsonl": data, "tasks": [task]} for task in ("temporal_grounding", "multiple_choice")]
    recipe = SftRecipe.model_validate(
        {"kind": "sft", "data": {"sources": parts}, "train": {"max_steps": 1}, "video": VIDEO}
    )
    run_recipe(recipe, tmp_path / "run")
    at = next(index for index, sample in enumerate(samples) if sample.task == "temporal_grounding")
    samples[at] = samples[at].model_copy(update={"spans": ((0.0, 1.0),)})
    write_jsonl(data, samples)
    with pytest.raises(InputError, match=r"data\.jsonl: holds other samples than when the run"):
        run_recipe(recipe, tmp_path / "run")


def test_a_new_model_is_of_the_recipe_that_makes_it(world: Path, tmp_path: Path) -> None:
    """Not of one that was there before, or of one that a kill cut off while it was written."""
    content = {
        "kind": "sft",
        "model": "new:qwen3_vl",
        "data": {"jsonl": world / "train.jsonl"},
        "video": VIDEO,
        "train": {"max_steps": 1},
    }
    embeddings = []
    for seed in (0, 1):
        recipe = SftRecipe.model_validate(content | {"seed": seed})
        policy = load_model(recipe, tmp_path, read_jsonl(world / "train.jsonl"))
        embeddings.append(policy.model.get_input_embeddings().weight.detach().clone())
        del policy  # which maps the file of its weights
        (tmp_path / "start" / "model.safetensors").write_bytes(b"half")
    assert not torch.equal(*embeddings)


def test_a_run_of_the_old_trainer_is_not_gone_on_with(world: Path, tmp_path: Path) -> None:
    recipe = grpo(world / "train.jsonl", train={"max_steps": 3, "save_steps": 1})
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path, callbacks=[StopAt(2)])
    for state in tmp_path.glob("checkpoint-*/training_state.json"):
        state.rename(state.with_name("trainer_state.json"))
    with pytest.raises(InputError, match=r"checkpoint-2 was written by the trainer of timesight 0.1"):
        run_recipe(recipe, tmp_path)
    assert load_policy(tmp_path).name == str(tmp_path)  # its model loads as before


def test_weights_are_in_a_checkpoint_once(world: Path, tmp_path: Path) -> None:
    result = run_recipe(grpo(world / "train.jsonl", train={"max_steps": 1}), tmp_path)
    assert [file.parent for file in result.checkpoint.rglob("*.safetensors")] == [result.checkpoint]
    assert {file.name for file in (result.checkpoint / "state").iterdir()} == {
        "optimizer.bin",
        "random_states_0.pkl",
        "custom_checkpoint_0.pkl",
        "custom_checkpoint_1.pkl",
    }


def test_a_finished_run_is_not_run_again(world: Path, tmp_path: Path) -> None:
    recipe = grpo(world / "train.jsonl", train={"max_steps": 2})
    first = run_recipe(recipe, tmp_path)
    stamp = (tmp_path / METRICS_FILE).stat().st_mtime_ns
    assert run_recipe(recipe, tmp_path).checkpoint == first.checkpoint
    assert (tmp_path / METRICS_FILE).stat().st_mtime_ns == stamp


def test_another_recipe_does_not_enter_a_run(world: Path, tmp_path: Path) -> None:
    run_recipe(grpo(world / "train.jsonl", train={"max_steps": 1}), tmp_path)
    with pytest.raises(
        InputError, match=r"another recipe \(train\.max_steps was 1 and is 2\): choose another --out"
    ):
        run_recipe(grpo(world / "train.jsonl", train={"max_steps": 2}), tmp_path)


def test_a_start_that_failed_does_not_block_its_folder(world: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        run_recipe(grpo(world / "misspelt.jsonl"), tmp_path)
    run_recipe(grpo(world / "train.jsonl", train={"max_steps": 1}), tmp_path)


def broken_world(world: Path, out: Path, share: float) -> Path:
    """The synthetic world's samples, some of them pointing at a file that is no video."""
    (out / "bad.mp4").write_text("not a video")
    records = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    for index, record in enumerate(records):
        path = world / record["video"]
        record["video"] = str(out / f"bad{index}.mp4") if index < share * len(records) else str(path)
    file = out / "samples.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def test_broken_videos_are_set_aside_named_and_counted(world: Path, tmp_path: Path) -> None:
    jsonl = broken_world(world, tmp_path, share=0.2)
    result = run_recipe(
        grpo(jsonl, train={"max_steps": 8, "batch_size": 4, "max_broken_share": 0.9}), tmp_path / "run"
    )
    lines = (tmp_path / "run/quarantine.jsonl").read_text().splitlines()
    assert result.num_quarantined == len(lines) > 0
    assert json.loads(lines[0])["reason"] == "no such file"
    assert sum(entry["num_broken"] for entry in metrics(tmp_path / "run")) >= len(lines)


def test_too_many_broken_videos_end_the_run(world: Path, tmp_path: Path) -> None:
    jsonl = broken_world(world, tmp_path, share=0.9)
    with pytest.raises(TrainingError, match=r"of \d+ videos cannot be read, more than the 10% allowed"):
        run_recipe(grpo(jsonl, train={"max_steps": 40, "batch_size": 4}), tmp_path / "run")


def test_odd_samples_are_left_out_and_counted(world: Path, tmp_path: Path) -> None:
    records = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    for record in records:
        record["video"] = str(world / record["video"])
    records[0]["spans"] = [[5, 1]]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    result = run_recipe(grpo(tmp_path / "s.jsonl", train={"max_steps": 1}), tmp_path / "run")
    assert (result.num_problems, result.num_samples) == (1, len(records) - 1)


def test_a_recipe_can_bring_its_own_world(tmp_path: Path) -> None:
    recipe = SftRecipe.model_validate({"kind": "sft", "data": {"world": {"num_videos": 3, "label_noise": 1.0}}})
    written: list[None] = []
    for _ in range(2):
        write_worlds(recipe.data, tmp_path, lambda: written.append(None))
        assert len(written) == 3
    samples = load_mixture(recipe.data, tmp_path).samples
    assert samples == load_mixture(recipe.data, tmp_path).samples != []


def test_a_recipe_can_mix_worlds_and_files(world: Path, tmp_path: Path) -> None:
    sources: list[dict[str, Any]] = [
        {"jsonl": world / "train.jsonl", "weight": 0.5},
        {"world": {"num_videos": 2, "split": "a"}, "limit": 1},
        {"world": {"num_videos": 2, "split": "b", "tasks": ["quality_assessment"]}, "weight": 2},
    ]
    recipe = SftRecipe.model_validate({"kind": "sft", "data": {"sources": sources}})
    mixture = load_mixture(recipe.data, tmp_path).usable(0)
    assert sum(sample.id.startswith("world/a-") for sample in mixture.samples) == 1
    tasks = {sample.task for sample in mixture.samples if sample.id.startswith("world/b-")}
    assert tasks <= {"quality_assessment"}
    twice = SftRecipe.model_validate({"kind": "sft", "data": {"sources": sources[:1] * 2}})
    with pytest.raises(SampleError, match="is in two sources of this recipe"):
        load_mixture(twice.data, tmp_path)
    with pytest.raises(ValidationError, match="several worlds with the same split"):
        SftRecipe.model_validate({"kind": "sft", "data": {"sources": sources[1:2] * 2}})


def test_a_source_can_be_of_some_tasks_only(full_world: Path, tmp_path: Path) -> None:
    chosen = {"jsonl": full_world / "train.jsonl", "tasks": ["open_qa", "captioning"]}
    recipe = SftRecipe.model_validate({"kind": "sft", "data": chosen})
    assert {sample.task for sample in load_mixture(recipe.data, tmp_path).samples} == {"open_qa", "captioning"}
    plain = {"jsonl": full_world / "train.jsonl", "tasks": ["multiple_choice"], "evidence": False}
    ungrounded = SftRecipe.model_validate({"kind": "sft", "data": plain})
    asked = load_mixture(ungrounded.data, tmp_path).samples
    assert count_questions(ungrounded)[0] == len(asked)
    grounded = [sample for sample in read_jsonl(full_world / "train.jsonl") if sample.task == "grounded_qa"]
    assert {sample.id for sample in grounded} < {sample.id for sample in asked}
    unknown = SftRecipe.model_validate({"kind": "sft", "data": chosen | {"tasks": ["tracking"]}})
    with pytest.raises(SampleError, match="holds no sample of the task tracking; it has captioning"):
        load_mixture(unknown.data, tmp_path)
    with pytest.raises(ValidationError, match=r"a world has world\.tasks"):
        SftRecipe.model_validate({"kind": "sft", "data": {"world": {"num_videos": 2}, "tasks": ["open_qa"]}})


def test_the_schedule_is_seeded_and_lets_hard_samples_in_late(world: Path) -> None:
    samples = read_jsonl(world / "train.jsonl")
    mixture = Mixture([MixtureSource(samples)])
    shape: dict[str, Any] = {"think_share": 0.5, "think_first": 0.1, "batch_size": 2}
    shape["curriculum"] = CurriculumSettings(share=0.5)
    one = make_schedule(QuestionGrouper(mixture), 200, seed=1, **shape)
    assert one == make_schedule(QuestionGrouper(mixture), 200, seed=1, **shape)
    assert one != make_schedule(QuestionGrouper(mixture), 200, seed=2, **shape)
    lengths = [len(TASKS[samples[turn.samples[0]].task].gold(samples[turn.samples[0]], think=True)) for turn in one]
    assert max(lengths[:20]) < max(lengths[100:])
    assert all(turn.think for turn in one[:20])
    assert 50 < sum(turn.think for turn in one[20:]) < 130
    assert all(a.think == b.think for a, b in zip(one[::2], one[1::2], strict=True))
    late = [turn.samples[0] for turn in one[100 : 100 + min(100, len(samples))]]
    assert len(set(late)) == len(late)  # a whole epoch before anything comes twice
