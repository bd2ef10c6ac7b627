"""Sampling and log-probabilities: one distribution, the same in generation and in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from timesight.data import read_jsonl
from timesight.generate.base import Completion, Sampling
from timesight.generate.decode import sample_replies
from timesight.infer.prompts import encode_sample
from timesight.model.encode import EncodedPrompt, encode_prompt
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import PrefixTree, build_tree
from timesight.tasks import TASKS
from timesight.types import Sample
from timesight.video import FrameReader, Frames, Wanted


@pytest.fixture
def policy(new_model: Path) -> Policy:
    return load_policy(new_model, dtype="float32")


@pytest.fixture
def samples(world: Path) -> list[Sample]:
    """Four questions on videos of different lengths."""
    unique = {sample.video.path: sample for sample in read_jsonl(world / "train.jsonl")}
    return list(unique.values())[:4]


def encode(policy: Policy, samples: list[Sample]) -> list[EncodedPrompt]:
    reader = FrameReader(policy.default_budget, policy.factor)
    return [encode_sample(policy, sample, False, reader) for sample in samples]


def generate(
    policy: Policy, tree: PrefixTree, num_generations: int = 1, max_new_tokens: int = 256, temperature: float = 1.0
) -> list[Completion]:
    sampling = Sampling(temperature=temperature, max_new_tokens=max_new_tokens)
    return sample_replies(policy, tree, num_generations, sampling)


def score(policy: Policy, tree: PrefixTree, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    with torch.no_grad():
        return completion_logprobs(policy, tree.with_replies(rows))[0]


def ids_of(replies: list[Completion]) -> list[tuple[int, ...]]:
    return [reply.token_ids for reply in replies]


def assert_scored_alike(replies: list[Completion], logps: torch.Tensor) -> None:
    for row, reply in zip(logps, replies, strict=True):
        torch.testing.assert_close(row[: len(reply.logprobs)], torch.tensor(reply.logprobs), atol=1e-4, rtol=1e-4)


def test_generation_and_training_agree(policy: Policy, samples: list[Sample]) -> None:
    prompts = build_tree(policy, encode(policy, samples))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, num_generations=3, max_new_tokens=12)
    assert_scored_alike(sampled, score(policy, prompts, ids_of(sampled)))


def test_batching_changes_nothing(policy: Policy, samples: list[Sample]) -> None:
    encoded = encode(policy, samples)
    together = generate(policy, build_tree(policy, encoded), temperature=0, max_new_tokens=8)
    for index, prompt in enumerate(encoded):
        alone = generate(policy, build_tree(policy, [prompt]), temperature=0, max_new_tokens=8)
        assert alone[0].token_ids == together[index].token_ids
        torch.testing.assert_close(
            torch.tensor(alone[0].logprobs), torch.tensor(together[index].logprobs), atol=1e-4, rtol=1e-4
        )


def test_greedy_equals_the_librarys_own_generate(policy: Policy, samples: list[Sample]) -> None:
    encoded = encode(policy, samples)[0]
    ours = generate(policy, build_tree(policy, [encoded]), temperature=0, max_new_tokens=10)
    seconds = {} if encoded.seconds_per_grid is None else {"second_per_grid_ts": encoded.seconds_per_grid}
    banned = policy.banned_mask.nonzero().flatten().tolist()
    theirs = policy.model.generate(
        input_ids=encoded.input_ids[None],
        mm_token_type_ids=encoded.token_types[None],
        attention_mask=torch.ones_like(encoded.input_ids)[None],
        pixel_values_videos=encoded.patches,
        video_grid_thw=encoded.grid_thw,
        max_new_tokens=10,
        do_sample=False,
        suppress_tokens=banned,
        **seconds,
    )
    assert tuple(theirs[0, len(encoded) :].tolist()) == ours[0].token_ids


def test_a_group_shares_nothing_after_its_prompt(policy: Policy, samples: list[Sample]) -> None:
    prompts = build_tree(policy, encode(policy, samples[:1]))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, num_generations=8, max_new_tokens=6)
    assert len(set(ids_of(sampled))) > 1
    alone = score(policy, prompts, [sampled[5].token_ids])
    together = score(policy, prompts, ids_of(sampled))
    torch.testing.assert_close(together[5], alone[0, : together.shape[1]], atol=1e-4, rtol=1e-4)


def test_banned_tokens_are_never_sampled(policy: Policy, samples: list[Sample]) -> None:
    prompts = build_tree(policy, encode(policy, samples))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, num_generations=16, max_new_tokens=40)
    drawn = {token for ids in ids_of(sampled) for token in ids}
    banned = set(policy.banned_mask.nonzero().flatten().tolist())
    assert policy.processor.video_token_id in banned
    assert not policy.end_ids & banned
    assert not drawn & banned


def test_probabilities_sum_to_one_over_what_can_be_sampled(policy: Policy, samples: list[Sample]) -> None:
    prompts = build_tree(policy, encode(policy, samples[:1]))
    allowed = (~policy.banned_mask).nonzero().flatten().tolist()
    logps = score(policy, prompts, [[token] for token in allowed])
    assert float(logps[:, 0].exp().sum()) == pytest.approx(1.0, abs=1e-4)


def test_temperature_is_part_of_the_distribution(policy: Policy, samples: list[Sample]) -> None:
    prompts = build_tree(policy, encode(policy, samples[:1]))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, temperature=0.5, max_new_tokens=5)
    with torch.no_grad():
        logps, _ = completion_logprobs(policy, prompts.with_replies(ids_of(sampled)), temperature=0.5)
    assert_scored_alike(sampled, logps)


def test_truncation_is_told_from_an_end(policy: Policy, samples: list[Sample]) -> None:
    prompts = build_tree(policy, encode(policy, samples[:1]))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, num_generations=64, max_new_tokens=20)
    for reply in sampled:
        assert reply.truncated == (reply.token_ids[-1] not in policy.end_ids)
        assert len(reply.token_ids) == 20 or not reply.truncated


def with_other_pixels(frames: Frames) -> Frames:
    pixels = np.random.default_rng(0).integers(0, 255, frames.pixels.shape).astype(np.uint8)
    return Frames(pixels, frames.times_s, frames.window_s, frames.duration_s)


def test_the_video_reaches_the_training_logprobs(policy: Policy, samples: list[Sample]) -> None:
    task = TASKS[samples[0].task]
    frames = FrameReader(policy.default_budget, policy.factor).read(Wanted(samples[0].video))
    tokens = policy.processor.tokenizer.encode(task.gold(samples[0]))
    logps = [
        score(
            policy, build_tree(policy, [encode_prompt(policy, Prompt(task.prompt(samples[0]), [shown]))]), [tokens]
        )
        for shown in (frames, with_other_pixels(frames))
    ]
    assert (logps[0] - logps[1]).abs().max() > 1e-4


def test_the_videos_time_reaches_the_training_logprobs(policy: Policy, samples: list[Sample]) -> None:
    """The same pictures at another pace are another video: time positions enter the log-probs."""
    task = TASKS[samples[0].task]
    frames = FrameReader(policy.default_budget, policy.factor).read(Wanted(samples[0].video))
    slow = Frames(frames.pixels, frames.times_s * 3, (0.0, frames.window_s[1] * 3), frames.duration_s * 3)
    tokens = policy.processor.tokenizer.encode(task.gold(samples[0]))
    logps = [
        score(
            policy, build_tree(policy, [encode_prompt(policy, Prompt(task.prompt(samples[0]), [shown]))]), [tokens]
        )
        for shown in (frames, slow)
    ]
    assert (logps[0] - logps[1]).abs().max() > 1e-5


@pytest.mark.parametrize("reason", [None, "its attention is another"])
def test_caches_stay_right_while_replies_end(
    policy: Policy, samples: list[Sample], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seventh of the tokens end a reply: rows are dropped all along the way."""
    monkeypatch.setattr(Policy, "packing_unsupported_reason", reason)
    prompts = build_tree(policy, encode(policy, samples))
    policy.__dict__["end_ids"] = frozenset(range(10, policy.model.config.get_text_config().vocab_size, 7))
    torch.manual_seed(1)
    sampled = generate(policy, prompts, num_generations=6, max_new_tokens=24)
    assert len({len(ids) for ids in ids_of(sampled)}) > 6
    assert_scored_alike(sampled, score(policy, prompts, ids_of(sampled)))
