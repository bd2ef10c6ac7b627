"""LoRA: packed equals plain, the reference is the model without its adapter, and merging changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from timesight.data import read_jsonl
from timesight.errors import InputError
from timesight.generate.base import Sampling
from timesight.generate.decode import sample_replies
from timesight.infer.prompts import encode_sample
from timesight.model import load
from timesight.model.adapter import adapter_off, add_adapter, merge_adapter
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import PrefixTree, build_tree
from timesight.video import FrameReader


def batch(policy: Policy, world: Path) -> PrefixTree:
    samples = read_jsonl(world / "train.jsonl")[:2]
    reader = FrameReader(policy.default_budget, policy.factor)
    prompts = build_tree(policy, [encode_sample(policy, s, False, reader) for s in samples])
    return prompts.with_replies([[20, 21, 22], [23], [24, 25], [26]])


def logps(policy: Policy, world: Path) -> torch.Tensor:
    with torch.no_grad():
        return completion_logprobs(policy, batch(policy, world))[0]


@pytest.fixture
def adapted(new_model: Path) -> Policy:
    """A policy whose adapter has learned something: B is no longer zero."""
    policy = load_policy(new_model, dtype="float32")
    add_adapter(policy, r=4, alpha=8, dropout=0.0)
    torch.manual_seed(0)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return policy


def test_only_the_adapter_learns(adapted: Policy) -> None:
    learning = [name for name, p in adapted.model.named_parameters() if p.requires_grad]
    assert learning
    assert all("lora_" in name and "language_model" in name for name in learning)
    assert not adapted.trains_vision


def test_packed_equals_plain_with_an_adapter(adapted: Policy, world: Path) -> None:
    results = []
    for packed in (False, True):
        adapted.model.zero_grad()
        values, _ = completion_logprobs(adapted, batch(adapted, world), packed=packed)
        (values * torch.linspace(-1, 1, values.numel()).view_as(values)).sum().backward()
        grads = {n: p.grad.clone() for n, p in adapted.model.named_parameters() if p.grad is not None}
        results.append((values.detach(), grads))
    (plain, plain_grads), (packed_values, packed_grads) = results
    torch.testing.assert_close(packed_values, plain, atol=1e-5, rtol=0)
    for name, grad in plain_grads.items():
        assert (packed_grads[name] - grad).norm() <= 1e-4 * grad.norm() + 1e-9, name


def test_without_its_adapter_a_policy_is_what_it_was(adapted: Policy, new_model: Path, world: Path) -> None:
    before = logps(load_policy(new_model, dtype="float32"), world)
    assert (logps(adapted, world) - before).abs().max() > 1e-3
    with adapter_off(adapted) as reference:
        torch.testing.assert_close(logps(reference, world), before)


def test_an_adapter_in_float32_learns_under_autocast_and_samples_without(new_model: Path, world: Path) -> None:
    """As on GPUs: a bf16 base, whose decoding step can be captured because nothing is cast for it."""
    policy = load_policy(new_model, dtype="bfloat16")
    policy.autocast_bf16 = True
    add_adapter(policy, r=4, alpha=8, dropout=0.0)
    layers = [module for module in policy.model.modules() if isinstance(module, BaseTunerLayer)]
    assert layers
    assert not policy.needs_autocast
    seen: set[tuple[bool, bool]] = set()
    for layer in layers:
        layer.register_forward_pre_hook(
            lambda module, args: seen.add((module.cast_input_dtype_enabled, torch.is_autocast_enabled("cpu")))
        )
    tree = batch(policy, world)
    prompts = PrefixTree(tree.levels[:1], tree.patches, tree.grid_thw, tree.videos_of)
    sampled = sample_replies(policy, prompts, 2, Sampling(temperature=1.0, max_new_tokens=6), static=True)
    assert seen == {(True, False)}
    seen.clear()
    values, _ = completion_logprobs(policy, prompts.with_replies([reply.token_ids for reply in sampled]))
    values.sum().backward()
    assert seen == {(False, True)}
    for row, reply in zip(values, sampled, strict=True):
        torch.testing.assert_close(
            row[: len(reply.logprobs)].detach(), torch.tensor(reply.logprobs), atol=0.1, rtol=0.05
        )


def test_loaded_and_merged_it_is_the_same_model(adapted: Policy, world: Path, tmp_path: Path) -> None:
    adapted.save(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    expected = logps(adapted, world)
    loaded = load_policy(tmp_path / "adapter", dtype="float32")
    torch.testing.assert_close(logps(loaded, world), expected, atol=1e-4, rtol=1e-4)
    merge_adapter(tmp_path / "adapter", tmp_path / "merged")
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    merged = load_policy(tmp_path / "merged", dtype="float32")
    torch.testing.assert_close(logps(merged, world), expected, atol=1e-4, rtol=1e-4)


def test_a_base_model_that_has_moved_is_named(adapted: Policy, tmp_path: Path) -> None:
    adapted.save(tmp_path)
    file = tmp_path / "adapter_config.json"
    config = json.loads(file.read_text()) | {"base_model_name_or_path": str(tmp_path / "gone")}
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"gone, which is not there"):
        load_policy(tmp_path)


def test_merging_what_is_no_adapter(new_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no adapter"):
        merge_adapter(new_model, tmp_path / "out")


def test_four_bit_weights_learn_through_an_adapter(new_model: Path, world: Path) -> None:
    policy = load_policy(new_model, quantize="4bit")
    add_adapter(policy, r=4, alpha=8, dropout=0.0)
    values, _ = completion_logprobs(policy, batch(policy, world))
    values.sum().backward()
    grads = [p.grad for n, p in policy.model.named_parameters() if "lora_B" in n]
    assert grads
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_four_bit_weights_say_what_they_need(new_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(InputError, match=r"pip install 'timesight\[qlora\]'"):
        load_policy(new_model, quantize="4bit")
