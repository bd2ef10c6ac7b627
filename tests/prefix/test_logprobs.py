"""Packed equals plain: log-probs and every gradient, for both families, both kernels, odd lengths included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoConfig,
    AutoProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from timesight.data import read_jsonl
from timesight.generate.base import Sampling
from timesight.generate.decode import sample_replies
from timesight.infer.prompts import encode_sample
from timesight.model import tree_attention
from timesight.model.load import as_policy, load_policy
from timesight.model.policy import Policy
from timesight.prefix import logprobs
from timesight.prefix.layout import pack
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import PrefixTree, build_tree
from timesight.video import FrameReader

# Three groups of four: unequal, empty, a single token, all of one length.
REPLIES = [
    [20, 21, 22],
    [23],
    [],
    [20, 21, 22, 23, 24, 25, 26, 27, 28, 29],
    *[[30, 31]] * 4,
    [21],
    [22],
    [23],
    [24],
]


@pytest.fixture
def policy(new_model: Path) -> Policy:
    return load_policy(new_model, dtype="float32")


@pytest.fixture
def prompts(policy: Policy, world: Path) -> PrefixTree:
    """Prompts of three videos of different lengths."""
    unique = {sample.video.path: sample for sample in read_jsonl(world / "train.jsonl")}
    reader = FrameReader(policy.default_budget, policy.factor)
    encoded = [encode_sample(policy, sample, False, reader) for sample in unique.values()]
    of_length = {len(prompt): prompt for prompt in encoded}
    return build_tree(policy, list(of_length.values())[:3])


def gradients(
    policy: Policy, prompts: PrefixTree, packed: bool, rows: list[list[int]] = REPLIES
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    policy.model.zero_grad()
    logps, entropy = completion_logprobs(policy, prompts.with_replies(rows), temperature=0.8, packed=packed)
    weights = torch.linspace(-1, 1, logps.numel()).view_as(logps)  # a loss that tells every token from every other
    (logps * weights).sum().backward()
    grads = {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}
    return logps.detach(), entropy, grads


def assert_same(policy: Policy, prompts: PrefixTree) -> None:
    logps, entropy, grads = gradients(policy, prompts, packed=False)
    packed_logps, packed_entropy, packed_grads = gradients(policy, prompts, packed=True)
    torch.testing.assert_close(packed_logps, logps, atol=1e-5, rtol=0)
    torch.testing.assert_close(packed_entropy, entropy, atol=1e-5, rtol=0)
    assert grads.keys() == packed_grads.keys()
    for name, grad in grads.items():
        assert (packed_grads[name] - grad).norm() <= 1e-4 * grad.norm() + 1e-9, name


@pytest.mark.parametrize("devices", [{"cpu"}, set()])
@pytest.mark.parametrize("frozen", [False, True])
def test_packed_equals_plain(
    policy: Policy, prompts: PrefixTree, devices: set[str], frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_attention, "MERGING_DEVICES", devices)
    if frozen:
        policy.freeze("tower", "merger")
    assert_same(policy, prompts)


def test_packed_equals_plain_for_qwen2_vl(new_model: Path, world: Path) -> None:
    """The oldest family, on random weights; it shares the processor of Qwen2.5-VL."""
    if new_model.name != "qwen2_5_vl":
        pytest.skip("one family's processor will do")
    newer = AutoConfig.from_pretrained(new_model)
    ids = {name: getattr(newer, name) for name in ("image_token_id", "video_token_id", "vision_start_token_id")}
    config = Qwen2VLConfig(
        text_config=newer.text_config.to_dict() | {"model_type": "qwen2_vl_text"},
        vision_config={"depth": 2, "embed_dim": 64, "hidden_size": 192, "num_heads": 4},
        **ids,
    )
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(config)
    policy = as_policy(model, AutoProcessor.from_pretrained(new_model), "qwen2_vl")
    samples = list({s.video.path: s for s in read_jsonl(world / "train.jsonl")}.values())[:3]
    reader = FrameReader(policy.default_budget, policy.factor)
    assert_same(policy, build_tree(policy, [encode_sample(policy, s, False, reader) for s in samples]))


def test_another_family_takes_the_plain_path(new_model: Path, world: Path, tmp_path: Path) -> None:
    """A mixture of experts, which we have not tried packed rows on: it loads, samples and scores all the same."""
    if new_model.name != "qwen3_vl":
        pytest.skip("one family's processor will do")
    dense = AutoConfig.from_pretrained(new_model)
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
    text = {k: v for k, v in dense.text_config.to_dict().items() if k not in ("model_type", "architectures")}
    vision = {k: v for k, v in dense.vision_config.to_dict().items() if k not in ("model_type", "architectures")}
    ids = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    config = Qwen3VLMoeConfig(
        text_config=text | experts, vision_config=vision, **{name: getattr(dense, name) for name in ids}
    )
    torch.manual_seed(0)
    Qwen3VLMoeForConditionalGeneration(config).save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(new_model).save_pretrained(tmp_path)
    policy = load_policy(tmp_path, dtype="float32")
    assert "not known to take packed rows" in (policy.packing_unsupported_reason or "")
    reader = FrameReader(policy.default_budget, policy.factor)
    samples = read_jsonl(world / "train.jsonl")[:2]
    prompts = build_tree(policy, [encode_sample(policy, s, False, reader) for s in samples])
    replies = sample_replies(policy, prompts, 2, Sampling(temperature=1.0, max_new_tokens=5))
    with torch.no_grad():
        logps, _ = completion_logprobs(policy, prompts.with_replies([reply.token_ids for reply in replies]))
    for row, reply in zip(logps, replies, strict=True):
        torch.testing.assert_close(row[: len(reply.logprobs)], torch.tensor(reply.logprobs), atol=1e-4, rtol=1e-4)


def test_with_gradient_checkpointing(policy: Policy, prompts: PrefixTree) -> None:
    *_, stored = gradients(policy, prompts, packed=True)
    policy.model.gradient_checkpointing_enable()
    policy.model.train()
    *_, recomputed = gradients(policy, prompts, packed=True)
    for name, grad in stored.items():
        torch.testing.assert_close(recomputed[name], grad)


def test_vocabulary_in_chunks(policy: Policy, prompts: PrefixTree, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _, grads = gradients(policy, prompts, packed=True)
    elements = 3 * policy.model.config.get_text_config().vocab_size
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", (elements, elements))
    chunked, _, chunked_grads = gradients(policy, prompts, packed=True)
    torch.testing.assert_close(chunked, whole)
    for name, grad in grads.items():
        torch.testing.assert_close(chunked_grads[name], grad)


def test_full_logits_never_exist(policy: Policy, prompts: PrefixTree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that spans the vocabulary has more rows than a chunk, forward and backward."""
    vocabulary = policy.model.config.get_text_config().vocab_size
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", (5 * vocabulary, 5 * vocabulary))

    class Watch(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.ndim > 1 and out.shape[-1] == vocabulary:
                self.most = max(self.most, out.numel() // vocabulary)
            return out

    hidden = policy.model.config.get_text_config().hidden_size
    for packed in (True, False):
        with Watch() as watch:
            gradients(policy, prompts, packed=packed)
        assert watch.most in (5, hidden)  # a product of the gradient has the head's shape, transposed


def test_vision_is_computed_once(policy: Policy, prompts: PrefixTree) -> None:
    calls = []
    policy.core.visual.register_forward_hook(lambda *args: calls.append(len(args[1][0])))
    tree = prompts.with_features(prompts.vision(policy)).with_replies(REPLIES)
    for packed in (True, False):
        completion_logprobs(policy, tree, packed=packed)
    assert calls == [len(prompts.patches)]


def test_the_row_holds_each_token_once(policy: Policy, prompts: PrefixTree) -> None:
    row = pack(prompts.with_replies(REPLIES), pad_id=0)
    num_tokens = int(prompts.leaves.mask.sum()) + sum(map(len, REPLIES))
    assert row.input_ids.shape[1] - num_tokens in range(64)
    assert len(row.predicted_by) == sum(map(len, REPLIES))
    assert len(row.predicting) == 3 + sum(max(0, len(reply) - 1) for reply in REPLIES)


def test_replies_to_one_prompt_do_not_see_each_other(policy: Policy, prompts: PrefixTree) -> None:
    with torch.no_grad():
        first, _ = completion_logprobs(policy, prompts.with_replies(REPLIES))
        others = [REPLIES[0], [40, 41, 42], [43], [44] * 10, *REPLIES[4:]]
        second, _ = completion_logprobs(policy, prompts.with_replies(others))
    torch.testing.assert_close(first[0], second[0])
    torch.testing.assert_close(first[4:], second[4:])


def test_a_model_that_cannot_share_says_why(policy: Policy) -> None:
    assert policy.packing_unsupported_reason is None
    policy.model.config.get_text_config().layer_types = ["sliding_attention", "full_attention"]
    assert "window" in (policy.packing_unsupported_reason or "")


def test_replies_that_do_not_fit_the_prompts(prompts: PrefixTree) -> None:
    with pytest.raises(ValueError, match="4 replies cannot be split evenly over 3 prompts"):
        prompts.with_replies([[1], [2], [3], [4]])
