"""The GRPO trainer on replies that are given, so that what an update does can be compared exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from timesight.artifacts import METRICS_FILE
from timesight.data import read_jsonl
from timesight.data.jsonl import write_jsonl
from timesight.errors import SampleError, TrainingError
from timesight.generate.base import Completion, Sampling
from timesight.generate.local import LocalGenerator
from timesight.infer.answer import InferenceConfig
from timesight.model import load as load_module
from timesight.model.encode import EncodedPrompt
from timesight.model.load import load_policy
from timesight.model.policy import frozen_copy
from timesight.tasks import TASKS
from timesight.training import grpo as grpo_module
from timesight.training import run as run_module
from timesight.training.build import require_plain_texts
from timesight.training.dataset import PromptDataset
from timesight.training.empty_batch import zero_loss
from timesight.training.loop import REWARD
from timesight.training.run import run_recipe
from timesight.training.samples import load_validation
from timesight.training.schedule import ScheduleEntry
from timesight.training.settings import GrpoRecipe, ValidationSettings
from timesight.training.validate import validate
from timesight.video import FrameBudget

REPLIES = (  # of different lengths, one truncated
    "<answer>0.0 to 1.0</answer>",
    "<answer>1.0 to 3.5</answer>",
    "the",
    "<answer>0.5 to 6.0</answer> the the the",
)


def given_replies(
    self: LocalGenerator, prompts: list[EncodedPrompt], num_generations: int, sampling: Sampling
) -> list[list[Completion]]:
    """The same four replies to every prompt but in each prompt's own share: longer prompts get shorter ones."""
    tokenizer, groups = self.policy.processor.tokenizer, []
    for prompt in prompts:
        groups.append([])
        for text in REPLIES:
            row = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
            ids = tuple(row[: 3 + len(prompt) % 13])
            reason = "stop" if ids[-1] in self.policy.end_ids else "length"
            groups[-1].append(Completion(text, ids, finish_reason=reason))
    return groups


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalGenerator, "generate", given_replies)


def run(world: Path, out: Path, train: dict[str, Any], **settings: Any) -> dict[str, torch.Tensor]:
    """Weights after a run in float32 on given replies."""
    recipe = GrpoRecipe.model_validate(
        {
            "kind": "grpo",
            "data": {"jsonl": world / "train.jsonl"},
            "video": {"min_pixels": 784, "max_pixels": 4704, "max_frames": 16},
            "train": {"max_steps": 1, "learning_rate": 1e-4, "max_grad_norm": 1e9} | train,
            "grpo": {"num_generations": 4, "max_completion_length": 24, "beta": 0.0} | settings,
        }
    )
    return dict(load_policy(run_recipe(recipe, out).checkpoint).model.state_dict())


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / METRICS_FILE).read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures("given")
def test_dapo_weighs_every_token_of_a_step_alike(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a step is split into passes, dapo's gradient is the same; bnpo's is not."""
    monkeypatch.setattr(load_module, "_multiplies_bf16", lambda: False)
    splits = {"whole": {"batch_size": 4}, "parts": {"batch_size": 1, "gradient_accumulation_steps": 4}}
    norms, apart = {}, {}
    for loss_type in ("dapo", "bnpo"):
        for name, split in splits.items():
            out = tmp_path / loss_type / name
            weights = run(world, out, split, loss_type=loss_type)
            norms[loss_type, name] = metrics(out)[0]["grad_norm"]
            if name == "whole":
                whole = weights
        apart[loss_type] = max(float((weights[key] - tensor).abs().max()) for key, tensor in whole.items())
        same = [torch.allclose(weights[key], tensor, atol=2e-5, rtol=1e-3) for key, tensor in whole.items()]
        assert all(same) == (loss_type == "dapo")
    assert norms["dapo", "parts"] == pytest.approx(norms["dapo", "whole"], rel=1e-3)
    assert apart["bnpo"] > 2 * apart["dapo"]


@pytest.mark.slow
def test_entries_without_spread_are_replaced(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some questions get the same reply again and again: with dynamic sampling others take their places."""

    def replies(
        self: LocalGenerator, prompts: list[EncodedPrompt], num_generations: int, sampling: Sampling
    ) -> list[list[Completion]]:
        groups = given_replies(self, prompts, num_generations, sampling)
        return [
            [group[0]] * len(group) if len(prompt) % 5 in (1, 4) else group
            for prompt, group in zip(prompts, groups, strict=True)
        ]

    monkeypatch.setattr(LocalGenerator, "generate", replies)
    train = {"max_steps": 2, "batch_size": 2, "gradient_accumulation_steps": 3}
    alike = {}
    for attempts in (0, 1, 8):
        run(world, tmp_path / f"{attempts}", train, dynamic_sampling=attempts)
        entries = metrics(tmp_path / f"{attempts}")
        alike[attempts] = sum(entry["frac_reward_zero_std"] for entry in entries) / 2
        replaced = sum(entry.get("num_replaced", 0) for entry in entries)
        assert replaced == pytest.approx(12 * (alike[0] - alike[attempts]))
        lines = (tmp_path / f"{attempts}/completions/step-000002.jsonl").read_text().splitlines()
        assert len(lines) == 6 * 4  # what was learned from, and not what it took the place of
    assert alike[0] > alike[1] > alike[8] == 0
    run(world, tmp_path / "again", train, dynamic_sampling=8)
    mine, again = (metrics(tmp_path / name) for name in ("8", "again"))
    assert [entry["loss"] for entry in mine] == [entry["loss"] for entry in again]  # as a run that resumes would


@pytest.mark.slow
@pytest.mark.usefixtures("given")
def test_replies_can_be_learned_from_more_than_once(world: Path, tmp_path: Path) -> None:
    run(world, tmp_path, {"max_steps": 4, "batch_size": 2, "save_steps": 2}, num_iterations=2, epsilon=0.001)
    entries = metrics(tmp_path)
    assert [("reward" in entry) for entry in entries] == [True, False, True, False]
    clipped = [entry["clip_low_share"] + entry["clip_high_share"] for entry in entries]
    assert clipped[0] == clipped[2] == 0  # the policy that sampled is the one that learns
    assert min(clipped[1], clipped[3]) > 0
    assert sorted(f.name for f in (tmp_path / "completions").iterdir()) == [
        "step-000001.jsonl",
        "step-000003.jsonl",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("given")
def test_truncated_replies_can_be_left_out(world: Path, tmp_path: Path) -> None:
    run(world, tmp_path / "in", {"batch_size": 4})
    run(world, tmp_path / "out", {"batch_size": 4}, mask_truncated_completions=True)
    assert metrics(tmp_path / "in")[0]["truncated_share"] > 0
    assert metrics(tmp_path / "in")[0]["grad_norm"] != metrics(tmp_path / "out")[0]["grad_norm"]


@pytest.mark.slow
@pytest.mark.usefixtures("given")
def test_without_beta_there_is_no_reference(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(grpo_module, "frozen_copy", lambda policy: made.append(policy) or frozen_copy(policy))
    run(world, tmp_path / "without", {"batch_size": 2})
    assert len(made) == 0
    run(world, tmp_path / "with", {"batch_size": 2}, beta=0.1)
    assert len(made) == 1


@pytest.mark.usefixtures("given")
def test_a_loss_that_is_no_number_stops_the_run(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo_module.Grpo, "loss", lambda self, _: zero_loss(self._policy) * float("nan"))
    with pytest.raises(TrainingError, match="the loss of step 1 is nan"):
        run(world, tmp_path, {"batch_size": 2})
    (batch,) = torch.load(tmp_path / "failed-step-1.process-0.pt", weights_only=False)
    assert len(batch.advantages) == 8


@pytest.mark.usefixtures("given")
def test_a_gradient_that_is_no_number_stops_the_run(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the loss is one: AdamW would turn all weights into NaN."""
    monkeypatch.setattr(grpo_module.Grpo, "loss", lambda self, _: zero_loss(self._policy).sqrt())
    with pytest.raises(TrainingError, match="the gradient norm of step 1 is nan"):
        run(world, tmp_path, {"batch_size": 2})
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_special_token_in_the_data_is_named_before_training(world: Path) -> None:
    samples = read_jsonl(world / "train.jsonl")[:3]
    policy = load_policy()
    require_plain_texts(policy, samples, TASKS)
    samples[1] = samples[1].model_copy(update={"query": "the <|video_pad|> is seen"})
    with pytest.raises(
        SampleError, match=r"temporal_grounding#\d+: its text holds <\|video_pad\|>, a special token"
    ):
        require_plain_texts(policy, samples, TASKS)


def test_micro_batches_go_to_processes_in_turn() -> None:
    schedule = [ScheduleEntry((index,), False) for index in range(11)]
    places = []
    for process in range(2):
        dataset = PromptDataset(
            None,
            [],
            schedule,
            None,
            2,
            num_micro_batches=2,
            process=process,
            num_processes=2,  # type: ignore[arg-type]
        )
        dataset._items = lambda place: [place]  # type: ignore[assignment,return-value,method-assign]
        places.append([dataset.step(0), dataset.step(1)])
    assert places[0] == [[[0, 1], [4, 5]], [[8, 9], []]]
    assert places[1] == [[[2, 3], [6, 7]], [[10], []]]


@pytest.mark.slow
def test_validation_keeps_the_best_checkpoint(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle one of three looks best: it stays, though only two checkpoints are kept."""
    rewards = iter([0.1, 0.9, 0.5, 0.4])
    monkeypatch.setattr(run_module, "validate", lambda *args, **kwargs: {REWARD: next(rewards)})
    recipe = GrpoRecipe.model_validate(
        {
            "kind": "grpo",
            "data": {"jsonl": world / "train.jsonl"},
            "video": {"min_pixels": 784, "max_pixels": 4704, "max_frames": 16},
            "train": {"max_steps": 4, "save_steps": 1},
            "grpo": {"num_generations": 2, "max_completion_length": 4, "beta": 0.0},
            "validation": {"jsonl": world / "test.jsonl", "every_steps": 1},
        }
    )
    result = run_recipe(recipe, tmp_path)
    assert result.best == tmp_path / "checkpoint-2"
    assert result.best.is_dir()
    assert result.checkpoint == tmp_path / "checkpoint-4"
    assert [entry[REWARD] for entry in metrics(tmp_path) if REWARD in entry] == [0.1, 0.9, 0.5, 0.4]


def test_validation_answers_greedily_and_scores(world: Path) -> None:
    samples = read_jsonl(world / "test.jsonl")[:6]
    budget = FrameBudget(min_pixels=784, max_pixels=4704, max_frames=16)
    figures = [
        validate(load_policy(dtype="float32"), samples, InferenceConfig(budget, batch_size=size, max_new_tokens=24))
        for size in (2, 6)
    ]
    assert figures[0] == pytest.approx(figures[1])
    assert 1.0 < figures[0][REWARD] <= 2.0  # the embedded model keeps the form and knows something
    assert figures[0]["validation/temporal_grounding/mIoU"] == pytest.approx(figures[0][REWARD] - 1, abs=0.01)


def test_validation_weighs_rewards_as_training_does_and_claims_none_that_was_not_judged(full_world: Path) -> None:
    everything = read_jsonl(full_world / "test.jsonl")
    budget = FrameBudget(min_pixels=784, max_pixels=4704, max_frames=16)
    config = InferenceConfig(budget, max_new_tokens=24)
    policy = load_policy()
    grounding = [sample for sample in everything if sample.task == "temporal_grounding"][:3]
    both, iou = (validate(policy, grounding, config, reward_weights=weights) for weights in ({}, {"format": 0.0}))
    assert both[REWARD] - iou[REWARD] == pytest.approx(1)  # all replies keep the form
    captions = [sample for sample in everything if sample.task == "captioning"][:2]
    assert REWARD not in validate(policy, captions, config)


@pytest.mark.parametrize(("asked", "expected"), [(3, [0, 1, 3]), (5, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])])
def test_validation_samples_are_thinned_evenly(
    world: Path, tmp_path: Path, asked: int, expected: list[int]
) -> None:
    samples = read_jsonl(world / "test.jsonl")[:5]
    write_jsonl(tmp_path / "held_out.jsonl", samples)
    kept = load_validation(ValidationSettings(jsonl=tmp_path / "held_out.jsonl", num_samples=asked))
    assert [sample.id for sample in kept] == [samples[index].id for index in expected]
