"""The loss of supervised fine-tuning, next to the model's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from timesight.data import read_jsonl
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.tasks import TASKS
from timesight.training.dataset import PromptItem, read_items
from timesight.training.settings import SftRecipe
from timesight.training.sft import Sft
from timesight.video import FrameBudget, FrameReader, Quarantine

BUDGET = FrameBudget(min_pixels=784, max_pixels=784, max_frames=8)


@pytest.fixture
def policy(new_model: Path) -> Policy:
    return load_policy(str(new_model), dtype="float32")  # bf16 rounds too coarsely to compare


@pytest.fixture
def items(policy: Policy, world: Path) -> Iterator[list[PromptItem]]:
    samples = read_jsonl(world / "train.jsonl")
    same = [sample for sample in samples if sample.video.path == samples[0].video.path][:2]
    with FrameReader(BUDGET, policy.factor) as reader:
        found = [*read_items(policy, same, False, reader), *read_items(policy, samples[-1:], True, reader)]
        yield [item for item in found if isinstance(item, PromptItem)]


def loss(policy: Policy, items: list[PromptItem], folder: Path, *, completion_only: bool) -> float:
    recipe = SftRecipe.model_validate(
        {"kind": "sft", "data": {"jsonl": "none.jsonl"}, "completion_only_loss": completion_only}
    )
    one: Any = SimpleNamespace(reduce=lambda tensor, how: tensor, num_processes=1)
    metrics: Any = SimpleNamespace(log_metrics=lambda **values: None)
    sft = Sft(policy, recipe, one, metrics, Quarantine(folder / "quarantine.jsonl", 1.0))
    (batch,) = sft.collect(1, [items])
    return float(sft.loss(batch).detach())


def own_loss(policy: Policy, item: PromptItem, *, completion_only: bool) -> tuple[float, int]:
    """Cross-entropy of the tokens that are learned, from the model's own logits, and their number."""
    tokenizer, encoded = policy.processor.tokenizer, item.encoded
    reply = tokenizer.encode(TASKS.of(item.sample).gold(item.sample, item.think), add_special_tokens=False)
    ends = (encoded.input_ids == policy.model.config.vision_end_token_id).nonzero()
    first = len(encoded) if completion_only else int(ends[-1]) + 1
    ids = torch.cat([encoded.input_ids, torch.tensor([*reply, tokenizer.eos_token_id])])[None]
    types = torch.nn.functional.pad(encoded.token_types, (0, ids.shape[1] - len(encoded)))[None]
    seconds = encoded.seconds_per_grid
    with torch.no_grad():
        output = policy.model(
            input_ids=ids,
            mm_token_type_ids=types,
            pixel_values_videos=encoded.patches,
            video_grid_thw=encoded.grid_thw,
            **({} if seconds is None else {"second_per_grid_ts": seconds}),
        )
    logits = output.logits[0, first - 1 : -1].float()
    if completion_only:
        logits[:, policy.banned_mask] = -torch.inf  # a reply never has them
    nats = torch.nn.functional.cross_entropy(logits, ids[0, first:], reduction="sum")
    return float(nats), ids.shape[1] - first


@pytest.mark.parametrize("completion_only", [True, False])
def test_the_loss_is_the_models_own(
    policy: Policy, items: list[PromptItem], tmp_path: Path, completion_only: bool
) -> None:
    nats, counts = zip(*(own_loss(policy, item, completion_only=completion_only) for item in items), strict=True)
    mean = sum(nats) / sum(counts)
    assert loss(policy, items, tmp_path, completion_only=completion_only) == pytest.approx(mean, rel=1e-4)
