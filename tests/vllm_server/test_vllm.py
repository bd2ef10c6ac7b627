"""A real vLLM server samples for the embedded model: in a call, in an evaluation and in GRPO."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.vllm_server.conftest import Server

from timesight import evaluate
from timesight.data import read_jsonl
from timesight.errors import ModelError
from timesight.generate.base import Sampling
from timesight.generate.local import LocalGenerator, open_generator
from timesight.generate.vllm import VllmGenerator
from timesight.infer.prompts import build_prompt
from timesight.model import load as load_module
from timesight.model.adapter import add_adapter
from timesight.model.encode import EncodedPrompt, encode_prompts
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.tiny import embedded_path
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.training.run import run_recipe
from timesight.training.settings import GrpoRecipe
from timesight.video import FrameBudget, FrameReader

VIDEO = {"min_pixels": 784, "max_pixels": 4704, "max_frames": 16}
SAMPLED = Sampling(temperature=1.0, max_new_tokens=32, seed=3)


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Policy:
    monkeypatch.setattr(load_module, "_multiplies_bf16", lambda: False)  # float32, as the server
    return load_policy(dtype="float32")


@pytest.fixture
def prompts(world: Path, policy: Policy) -> list[EncodedPrompt]:
    return prompts_for(policy, world)


def prompts_for(policy: Policy, world: Path) -> list[EncodedPrompt]:
    samples = read_jsonl(world / "train.jsonl")[:5]
    with FrameReader(FrameBudget(**VIDEO), policy.factor) as reader:
        return encode_prompts(policy, [build_prompt(sample, False, reader) for sample in samples])


def largest_difference(policy: Policy, prompts: list[EncodedPrompt], groups: Any) -> float:
    """Of log-probabilities: the server's, and the policy's own of the same tokens."""
    differences = []
    for prompt, group in zip(prompts, groups, strict=True):
        tree = build_tree(policy, [prompt]).with_replies([reply.token_ids for reply in group])
        with torch.no_grad():
            logps, _ = completion_logprobs(policy, tree)
        for row, reply in zip(logps, group, strict=True):
            differences.append(float((row[: len(reply.logprobs)] - torch.tensor(reply.logprobs)).abs().max()))
    return max(differences)


def test_the_server_samples_from_the_policys_distribution(
    server: Server, policy: Policy, prompts: list[EncodedPrompt]
) -> None:
    generator = VllmGenerator(policy, server.url)
    groups = generator.generate(prompts, 8, SAMPLED)
    assert [len(group) for group in groups] == [8] * 5
    assert len({reply.text for group in groups for reply in group}) > 8
    assert largest_difference(policy, prompts, groups) < 1e-4
    banned = set(policy.banned_token_ids)
    assert not any(banned & set(reply.token_ids) for group in groups for reply in group)
    assert all((reply.token_ids[-1] in policy.end_ids) == (not reply.truncated) for g in groups for reply in g)
    assert generator.generate(prompts, 8, SAMPLED) == groups  # of the same seed
    greedy = LocalGenerator(policy).generate(prompts, 1, Sampling(max_new_tokens=32))
    assert [group[0].token_ids for group in generator.generate(prompts)] == [g[0].token_ids for g in greedy]


def test_a_ban_is_kept(server: Server, policy: Policy, prompts: list[EncodedPrompt]) -> None:
    usual = policy.processor.tokenizer.encode("<answer>", add_special_tokens=False)
    banned = (*policy.banned_token_ids, *usual)
    sampling = Sampling(temperature=1.0, max_new_tokens=8, seed=1, suppress_tokens=banned)
    groups = VllmGenerator(policy, server.url).generate(prompts, 4, sampling)
    assert not any(set(banned) & set(reply.token_ids) for group in groups for reply in group)


def test_pushed_adapters_are_what_samples(
    server: Server, policy: Policy, prompts: list[EncodedPrompt], tmp_path: Path
) -> None:
    generator = VllmGenerator(policy, server.url, pushed_dir=tmp_path, run="test")
    add_adapter(policy, r=8, alpha=16, dropout=0.0)
    torch.manual_seed(0)
    for version in (1, 2):
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter.data.normal_(0, 0.05)
        assert largest_difference(policy, prompts, generator.generate(prompts, 4, SAMPLED)) > 0.05
        generator.update_weights(policy, version)
        assert largest_difference(policy, prompts, generator.generate(prompts, 4, SAMPLED)) < 1e-4
        assert len(list(tmp_path.iterdir())) == 1  # the one before is gone


def test_weights_that_the_server_would_not_load_whole_are_refused(
    server: Server, policy: Policy, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="head is its embeddings"):
        VllmGenerator(policy, server.url, pushed_dir=tmp_path).update_weights(policy, 1)


def test_another_model_is_refused(server: Server, policy: Policy, prompts: list[EncodedPrompt]) -> None:
    ids = prompts[0].input_ids
    other = replace(prompts[0], input_ids=torch.cat([ids[:9], ids[:1], ids[10:]]))
    with pytest.raises(ModelError, match=r"the first other one at 9: .*serve the folder that is trained"):
        VllmGenerator(policy, server.url).generate([other])
    for parameter in policy.model.parameters():
        parameter.data.mul_(1.3)
    with pytest.raises(ModelError, match=r"log-probabilities differ from the policy's by \d"):
        VllmGenerator(policy, server.url).generate(prompts, 1, SAMPLED)


def test_a_server_that_is_not_there(policy: Policy) -> None:
    with pytest.raises(ModelError, match=r"vLLM at http://127.0.0.1:9: "):
        VllmGenerator(policy, "http://127.0.0.1:9/v1", timeout_s=1)


def test_an_evaluation_by_the_server_equals_one_here(server: Server, world: Path, policy: Policy) -> None:
    config = {"budget": FrameBudget(**VIDEO), "max_new_tokens": 32}
    served = open_generator(str(embedded_path()), vllm_url=server.url)
    results = [evaluate(world / "test.jsonl", model, **config) for model in (policy, served)]
    mine, theirs = (result["temporal_grounding"].to_json()["results"] for result in results)
    assert mine == theirs


def grpo(world: Path, out: Path, url: str | None, **train: Any) -> list[dict[str, float]]:
    """The metrics of a run with adapters."""
    recipe = GrpoRecipe.model_validate(
        {
            "kind": "grpo",
            "data": {"jsonl": world / "train.jsonl"},
            "video": VIDEO,
            "train": {"learning_rate": 3e-3, "max_steps": 5, "batch_size": 4, "lora": {"r": 8, "alpha": 16}}
            | train,
            "grpo": {"num_generations": 8, "max_completion_length": 24, "vllm_server_base_url": url, "beta": 0.0},
        }
    )
    run_recipe(recipe, out)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("policy")
def test_grpo_by_the_server_and_what_is_not_pushed(
    server: Server, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = grpo(world, tmp_path / "pushed", server.url)
    assert max(entry["sampler_kl"] for entry in pushed) < 1e-5
    update, seen = VllmGenerator.update_weights, []

    def only_once(self: VllmGenerator, *args: Any) -> None:
        if not seen:
            update(self, *args)
        seen.append(args[1])

    monkeypatch.setattr(VllmGenerator, "update_weights", only_once)
    stale = grpo(world, tmp_path / "stale", server.url)
    assert seen == [0, 1, 2, 3, 4]
    assert stale[0]["sampler_kl"] < 1e-5
    assert stale[-1]["sampler_kl"] > 100 * max(entry["sampler_kl"] for entry in pushed)


@pytest.fixture
def mortal(server: Server) -> Iterator[Server]:
    """The server, which is there again at the end."""
    yield server
    server.wait()


@pytest.mark.usefixtures("policy")
def test_a_server_that_dies_and_comes_back(mortal: Server, world: Path, tmp_path: Path) -> None:
    def interrupt() -> None:
        while not (tmp_path / "metrics.jsonl").exists():
            time.sleep(0.05)
        mortal.kill()
        time.sleep(1)
        mortal.start()

    thread = threading.Thread(target=interrupt)
    thread.start()
    entries = grpo(world, tmp_path, mortal.url)
    thread.join()
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4, 5]
    assert max(entry["sampler_kl"] for entry in entries) < 1e-5
