from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from timesight.data import read_jsonl
from timesight.infer.prompts import encode_sample
from timesight.model.load import load_policy
from timesight.model.policy import frozen_copy
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.video import FrameReader


@pytest.mark.parametrize("autocast", [True, False])
def test_a_frozen_copy_gives_the_same_results_and_stays(new_model: Path, world: Path, autocast: bool) -> None:
    """To the last bit, in half the memory: autocast turns weights into bf16 at each pass anyway."""
    policy = load_policy(new_model, dtype="float32")
    policy.autocast_bf16 = autocast
    reader = FrameReader(policy.default_budget, policy.factor)
    prompts = [encode_sample(policy, sample, False, reader) for sample in read_jsonl(world / "train.jsonl")[:2]]
    tree = build_tree(policy, prompts).with_replies([[20, 21, 22], [23, 24]])
    with torch.no_grad():
        expected, _ = completion_logprobs(policy, tree)
        frozen = frozen_copy(policy)
        for parameter in policy.model.parameters():
            parameter.zero_()
        for packed in (True, None):
            actual, _ = completion_logprobs(frozen, tree, packed=packed)
            assert torch.equal(actual, expected)
    linear = [module for module in frozen.model.modules() if type(module) is nn.Linear]
    in_bf16 = [module.weight.dtype == torch.bfloat16 for module in linear]
    tied = policy.model.lm_head.weight is policy.model.get_input_embeddings().weight
    assert sum(in_bf16) == (len(linear) - tied if autocast else 0)
    assert not any(parameter.requires_grad for parameter in frozen.model.parameters())
