"""Decoding with fixed shapes gives the eager sampler's replies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from timesight.data import read_jsonl
from timesight.generate.base import Completion, Sampling
from timesight.generate.decode import sample_replies
from timesight.infer.prompts import encode_sample
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.prefix.tree import PrefixTree, build_tree
from timesight.video import FrameReader


@pytest.fixture(scope="module")
def policy(new_model: Path) -> Policy:
    return load_policy(new_model, dtype="float32")


@pytest.fixture(scope="module")
def prompts(policy: Policy, world: Path) -> PrefixTree:
    """Three prompts of different lengths."""
    reader = FrameReader(policy.default_budget, policy.factor)
    encoded = [encode_sample(policy, s, False, reader) for s in read_jsonl(world / "train.jsonl")[:40]]
    by_length = {len(prompt): prompt for prompt in encoded}
    assert len(by_length) >= 3
    return build_tree(policy, [*by_length.values()][:3])


def generate(
    policy: Policy,
    tree: PrefixTree,
    num_generations: int = 1,
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    static: bool | None = None,
) -> list[Completion]:
    sampling = Sampling(temperature=temperature, max_new_tokens=max_new_tokens)
    return sample_replies(policy, tree, num_generations, sampling, static=static)


def assert_same(static: list[Completion], eager: list[Completion]) -> None:
    assert [reply.token_ids for reply in static] == [reply.token_ids for reply in eager]
    assert [reply.text for reply in static] == [reply.text for reply in eager]
    for ours, theirs in zip(static, eager, strict=True):
        torch.testing.assert_close(torch.tensor(ours.logprobs), torch.tensor(theirs.logprobs), atol=1e-5, rtol=1e-5)


def test_greedy_replies_equal_the_eager_ones(policy: Policy, prompts: PrefixTree) -> None:
    eager = generate(policy, prompts, temperature=0, max_new_tokens=24)
    static = generate(policy, prompts, temperature=0, max_new_tokens=24, static=True)
    assert_same(static, eager)


def test_samples_equal_the_eager_ones_for_the_same_random_numbers(
    policy: Policy, prompts: PrefixTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(policy.__dict__, "end_ids", frozenset())  # rows that leave would use other numbers
    torch.manual_seed(3)
    eager = generate(policy, prompts, num_generations=4, max_new_tokens=20, temperature=0.9)
    torch.manual_seed(3)
    static = generate(policy, prompts, num_generations=4, max_new_tokens=20, temperature=0.9, static=True)
    assert_same(static, eager)


def test_rows_are_cut_where_they_end(policy: Policy, prompts: PrefixTree, monkeypatch: pytest.MonkeyPatch) -> None:
    common = [int(i) for i in (~policy.banned_mask).nonzero().flatten()[::3]]
    monkeypatch.setitem(policy.__dict__, "end_ids", frozenset(common))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, num_generations=8, max_new_tokens=60, static=True)
    assert max(len(reply.token_ids) for reply in sampled) < 60
    for reply in sampled:
        ids = reply.token_ids
        assert [token in common for token in ids] == [False] * (len(ids) - 1) + [not reply.truncated]
        assert len(reply.logprobs) == len(ids)
