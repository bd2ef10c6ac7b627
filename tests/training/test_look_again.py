"""Second looks as second turns of GRPO."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from timesight.artifacts import METRICS_FILE, CompletionEntry, read_records
from timesight.data import read_jsonl
from timesight.errors import RecipeError
from timesight.generate.base import Completion, Sampling
from timesight.generate.local import LocalGenerator
from timesight.infer.clue import ClueSettings, choose_segments, second_look
from timesight.model import load as load_module
from timesight.model.encode import EncodedPrompt, encode_prompt
from timesight.model.load import load_policy
from timesight.tasks import TASKS
from timesight.tasks.evidence import spans_of_reply
from timesight.training import grpo as grpo_module
from timesight.training.dataset import PromptItem, read_items
from timesight.training.grpo import Experience
from timesight.training.look_again import SecondLooks
from timesight.training.preview import preview
from timesight.training.recipe import load_recipe
from timesight.training.run import run_recipe
from timesight.training.settings import GrpoRecipe
from timesight.types import VideoPart
from timesight.video import FrameBudget, FrameReader

FIRST = (
    "<answer>0.5 to 1.2</answer>",
    "<answer>0.6 to 1.3</answer>",  # the same segment, on the grid
    "<answer>2.0 to 2.5</answer>",
    "no span",
)
SECOND = "<answer>1.0 to 1.5</answer>"
BUDGET = FrameBudget(min_pixels=784, max_pixels=4704, max_frames=16)


def completion(generator: LocalGenerator, text: str) -> Completion:
    tokenizer = generator.policy.processor.tokenizer
    ids = (*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id)
    return Completion(text, ids, finish_reason="stop")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replies of ``FIRST`` to first prompts, and ``SECOND`` to second ones."""

    def generate(
        self: LocalGenerator, prompts: Sequence[EncodedPrompt], num_generations: int, sampling: Sampling
    ) -> list[list[Completion]]:
        texts = FIRST if num_generations == len(FIRST) else (SECOND,)
        return [[completion(self, text) for text in texts] for _ in prompts]

    monkeypatch.setattr(LocalGenerator, "generate", generate)


def recipe_of(world: Path, judge: dict[str, Any] | None = None, **train: Any) -> GrpoRecipe:
    return GrpoRecipe.model_validate(
        {
            "kind": "grpo",
            "data": {"jsonl": world / "train.jsonl"},
            "video": BUDGET.model_dump(),
            "reading": {"workers": 0},
            "train": {"max_steps": 1, "look_again": True, "max_grad_norm": 1e9, "learning_rate": 1e-4} | train,
            "grpo": {"num_generations": 4, "max_completion_length": 24, "beta": 0.0},
            "judge": judge,
        }
    )


def test_second_prompts_are_those_of_clue_perception(world: Path) -> None:
    policy = load_policy("tiny")
    samples = read_jsonl(world / "train.jsonl")[:3]
    with FrameReader(BUDGET, policy.factor) as reader:
        looks = SecondLooks(policy, reader, ClueSettings())
        items = [item for sample in samples for item in read_items(policy, [sample], False, reader)]
        asked = [item for item in items if isinstance(item, PromptItem) for _ in FIRST]
        replies = [completion(LocalGenerator(policy), text) for _ in items for text in FIRST]
        found = looks.prompts(asked, replies)
        for item, reply, second in zip(asked, replies, found, strict=True):
            segments = choose_segments(spans_of_reply(reply.text), item.encoded.frames[0].window_s, looks.settings)
            if not segments:
                assert second is None
                continue
            assert second is not None
            prompt = second_look(item.encoded, segments, reader)
            expected = encode_prompt(policy, prompt)
            assert torch.equal(second.encoded.input_ids, expected.input_ids)
            assert torch.equal(second.encoded.patches, expected.patches)
            assert [type(part) for part in second.encoded.parts].count(VideoPart) == len(segments)
    assert found[3] is None
    assert found[0] is not None
    assert found[1] is not None
    assert found[2] is not None
    assert found[0].encoded.patches is found[1].encoded.patches  # read and encoded once


@pytest.mark.usefixtures("given")
def test_both_turns_learn_from_what_the_second_earned(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Experience | None] = []
    share_out = grpo_module.Grpo._share_out

    def spy(self: grpo_module.Grpo, experiences: Sequence[Experience | None]) -> None:
        seen.extend(experiences)
        share_out(self, experiences)

    monkeypatch.setattr(grpo_module.Grpo, "_share_out", spy)
    recipe = recipe_of(world, batch_size=2)
    run_recipe(recipe, tmp_path)
    first, second = seen
    assert first is not None
    assert second is not None
    assert len(first.advantages) == 8
    assert len(second.advantages) == 6
    assert first.replies_per_pass == second.replies_per_pass == 14 / 2  # each turn counts as a reply
    entries = list(read_records(tmp_path / "completions/step-000001.jsonl", CompletionEntry))
    tokenizer = load_policy("tiny").processor.tokenizer
    by_id = {sample.id: sample for sample in read_jsonl(world / "train.jsonl")}
    for n, entry in enumerate(entries):
        sample = by_id[entry.id]
        final = "no span" if n % 4 == 3 else SECOND
        assert entry.reply == final
        assert entry.first_look == (None if n % 4 == 3 else FIRST[n % 4])
        (row,) = TASKS.of(sample).rewards([final], [sample])
        assert entry.rewards == row
    # The two replies on the same segment come first, then the third; a reply's tokens weigh what it earned.
    rows = [row for prompt in (0, 4) for row in (prompt, prompt + 1, prompt + 2)]
    assert torch.equal(second.advantages, first.advantages[rows])
    said = tokenizer.batch_decode(second.tree.leaves.input_ids)
    assert all(SECOND in text for text in said)
    assert len(second.tree.levels[0].input_ids) == 4  # two segments a prompt, each there once


@pytest.mark.usefixtures("given")
def test_micro_batches_do_not_change_the_update(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "_multiplies_bf16", lambda: False)  # float32 on every machine
    weights = []
    for name, train in (("one", {"batch_size": 2}), ("two", {"gradient_accumulation_steps": 2})):
        result = run_recipe(recipe_of(world, **train), tmp_path / name)
        weights.append(load_policy(result.checkpoint, dtype="float32").model.state_dict())
    start = load_policy("tiny", dtype="float32").model.state_dict()
    moved = torch.cat([(weights[0][name] - start[name]).flatten() for name in start]).norm()
    apart = torch.cat([(weights[0][name] - weights[1][name]).flatten() for name in start]).norm()
    assert apart < moved / 1000


@pytest.mark.slow
def test_all_tasks_can_be_trained_and_previewed(full_world: Path, tmp_path: Path) -> None:
    recipe = recipe_of(full_world, {"kind": "world"}, batch_size=3, max_steps=2)
    run_recipe(recipe, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / METRICS_FILE).read_text().splitlines()]
    assert any(0 < row.get("looked_again_share", 0.0) <= 1 for row in rows)
    previews = preview(recipe, tmp_path / "preview", num_prompts=4)
    assert all(row.num_prompts for row in previews)


def test_a_recipe_that_cannot_look_again_is_refused() -> None:
    with pytest.raises(RecipeError, match="look_again is for GRPO"):
        load_recipe("charades/sft", ["train.look_again=true"])
    with pytest.raises(RecipeError, match="a server does not sample second looks"):
        load_recipe("tiny/grpo", ["train.look_again=true", "grpo.vllm_server_base_url=http://127.0.0.1:1/v1"])
    with pytest.raises(RecipeError, match=r"with train\.look_again use dapo"):
        load_recipe("tiny/look_again", ["grpo.loss_type=bnpo"])
