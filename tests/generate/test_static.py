"""Decoding with fixed shapes gives the eager sampler's replies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from timesight.data import read_jsonl
from timesight.generate.decode import generate
from timesight.infer.prompts import encode_sample
from timesight.model.encode import PromptBatch, collate
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.video import FrameReader


@pytest.fixture(scope="module")
def policy(new_model: Path) -> Policy:
    return load_policy(new_model, dtype="float32")


@pytest.fixture(scope="module")
def prompts(policy: Policy, world: Path) -> PromptBatch:
    """Three prompts of different lengths."""
    reader = FrameReader(policy.default_budget, policy.factor)
    encoded = [encode_sample(policy, s, False, reader) for s in read_jsonl(world / "train.jsonl")[:8]]
    by_length = {len(prompt): prompt for prompt in encoded}
    assert len(by_length) >= 3
    return collate(policy, [*by_length.values()][:3])


def test_greedy_replies_equal_the_eager_ones(policy: Policy, prompts: PromptBatch) -> None:
    eager = generate(policy, prompts, temperature=0, max_new_tokens=24)
    static = generate(policy, prompts, temperature=0, max_new_tokens=24, static=True)
    assert static.ids == eager.ids
    assert static.texts == eager.texts
    for ours, theirs in zip(static.logps, eager.logps, strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), atol=1e-5, rtol=1e-5)


def test_samples_equal_the_eager_ones_for_the_same_random_numbers(
    policy: Policy, prompts: PromptBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(policy.__dict__, "end_ids", frozenset())  # rows that leave would use other numbers
    torch.manual_seed(3)
    eager = generate(policy, prompts, num_generations=4, max_new_tokens=20, temperature=0.9)
    torch.manual_seed(3)
    static = generate(policy, prompts, num_generations=4, max_new_tokens=20, temperature=0.9, static=True)
    assert static.ids == eager.ids
    torch.testing.assert_close(torch.tensor(static.logps), torch.tensor(eager.logps), atol=1e-5, rtol=1e-5)


def test_rows_are_cut_where_they_end(policy: Policy, prompts: PromptBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    common = [int(i) for i in (~policy.banned_mask).nonzero().flatten()[::3]]
    monkeypatch.setitem(policy.__dict__, "end_ids", frozenset(common))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, num_generations=8, max_new_tokens=60, static=True)
    assert max(map(len, sampled.ids)) < 60
    for ids, logps, truncated in zip(sampled.ids, sampled.logps, sampled.truncated, strict=True):
        assert [token in common for token in ids] == [False] * (len(ids) - 1) + [not truncated]
        assert len(logps) == len(ids)
