"""Sampling and log-probabilities: one distribution, the same in generation and in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from timesight.data import read_jsonl
from timesight.generate import decode as decode_module
from timesight.generate.decode import generate
from timesight.infer.prompts import encode_sample
from timesight.model.encode import EncodedPrompt, PromptBatch, collate, encode_prompt
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.prefix.layout import Completions
from timesight.prefix.logprobs import completion_logprobs
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


def score(policy: Policy, prompts: PromptBatch, rows: list[list[int]], group: int) -> torch.Tensor:
    with torch.no_grad():
        return completion_logprobs(policy, prompts, Completions.of(rows, len(rows) // group, policy.device))[0]


def test_generation_and_training_agree(policy: Policy, samples: list[Sample]) -> None:
    prompts = collate(policy, encode(policy, samples))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, num_generations=3, max_new_tokens=12)
    logps = score(policy, prompts, sampled.ids, 3)
    for row, seen in zip(logps, sampled.logps, strict=True):
        torch.testing.assert_close(row[: len(seen)], torch.tensor(seen), atol=1e-4, rtol=1e-4)


def test_batching_changes_nothing(policy: Policy, samples: list[Sample]) -> None:
    encoded = encode(policy, samples)
    together = generate(policy, collate(policy, encoded), temperature=0, max_new_tokens=8)
    for index, prompt in enumerate(encoded):
        alone = generate(policy, collate(policy, [prompt]), temperature=0, max_new_tokens=8)
        assert alone.ids[0] == together.ids[index]
        torch.testing.assert_close(
            torch.tensor(alone.logps[0]), torch.tensor(together.logps[index]), atol=1e-4, rtol=1e-4
        )


def test_greedy_equals_the_librarys_own_generate(policy: Policy, samples: list[Sample]) -> None:
    encoded = encode(policy, samples)[0]
    ours = generate(policy, collate(policy, [encoded]), temperature=0, max_new_tokens=10)
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
    assert theirs[0, len(encoded) :].tolist() == ours.ids[0]


def test_a_group_shares_nothing_after_its_prompt(policy: Policy, samples: list[Sample]) -> None:
    prompts = collate(policy, encode(policy, samples[:1]))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, num_generations=8, max_new_tokens=6)
    assert len({tuple(ids) for ids in sampled.ids[:8]}) > 1
    alone = score(policy, prompts, [sampled.ids[5]], 1)
    together = score(policy, prompts, sampled.ids[:8], 8)
    torch.testing.assert_close(together[5], alone[0, : together.shape[1]], atol=1e-4, rtol=1e-4)


def test_banned_tokens_are_never_sampled(policy: Policy, samples: list[Sample]) -> None:
    prompts = collate(policy, encode(policy, samples))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, num_generations=16, max_new_tokens=40)
    drawn = {token for ids in sampled.ids for token in ids}
    banned = set(policy.banned_mask.nonzero().flatten().tolist())
    assert policy.processor.video_token_id in banned
    assert not policy.end_ids & banned
    assert not drawn & banned


def test_probabilities_sum_to_one_over_what_can_be_sampled(policy: Policy, samples: list[Sample]) -> None:
    prompts = collate(policy, encode(policy, samples[:1]))
    allowed = (~policy.banned_mask).nonzero().flatten().tolist()
    logps = score(policy, prompts, [[token] for token in allowed], len(allowed))
    assert float(logps[:, 0].exp().sum()) == pytest.approx(1.0, abs=1e-4)


def test_temperature_is_part_of_the_distribution(policy: Policy, samples: list[Sample]) -> None:
    prompts = collate(policy, encode(policy, samples[:1]))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, temperature=0.5, max_new_tokens=5)
    completions = Completions.of(sampled.ids, 1, policy.device)
    with torch.no_grad():
        logps, _ = completion_logprobs(policy, prompts, completions, temperature=0.5)
    torch.testing.assert_close(logps[0], torch.tensor(sampled.logps[0]), atol=1e-4, rtol=1e-4)


def test_truncation_is_told_from_an_end(policy: Policy, samples: list[Sample]) -> None:
    prompts = collate(policy, encode(policy, samples[:1]))
    torch.manual_seed(0)
    sampled = generate(policy, prompts, num_generations=64, max_new_tokens=20)
    for ids, truncated in zip(sampled.ids, sampled.truncated, strict=True):
        assert truncated == (ids[-1] not in policy.end_ids)
        assert len(ids) == 20 or not truncated


def with_other_pixels(frames: Frames) -> Frames:
    pixels = np.random.default_rng(0).integers(0, 255, frames.pixels.shape).astype(np.uint8)
    return Frames(pixels, frames.times_s, frames.window_s, frames.duration_s)


def test_the_video_reaches_the_training_logprobs(policy: Policy, samples: list[Sample]) -> None:
    task = TASKS[samples[0].task]
    frames = FrameReader(policy.default_budget, policy.factor).read(Wanted(samples[0].video))
    tokens = policy.processor.tokenizer.encode(task.gold(samples[0]))
    logps = [
        score(
            policy, collate(policy, [encode_prompt(policy, Prompt(task.prompt(samples[0]), [shown]))]), [tokens], 1
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
            policy, collate(policy, [encode_prompt(policy, Prompt(task.prompt(samples[0]), [shown]))]), [tokens], 1
        )
        for shown in (frames, slow)
    ]
    assert (logps[0] - logps[1]).abs().max() > 1e-5


@pytest.mark.parametrize("reason", [None, "its attention is another"])
def test_caches_stay_right_while_replies_end(
    policy: Policy, samples: list[Sample], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seventh of the tokens end a reply: slots are dropped, filled and dropped again, all along the way."""
    monkeypatch.setattr(decode_module, "whole_prompt_reason", lambda policy: reason)
    prompts = collate(policy, encode(policy, samples))
    policy.__dict__["end_ids"] = frozenset(range(10, policy.model.config.get_text_config().vocab_size, 7))
    torch.manual_seed(1)
    sampled = generate(policy, prompts, num_generations=6, max_new_tokens=24)
    assert len({len(ids) for ids in sampled.ids}) > 6
    logps = score(policy, prompts, sampled.ids, 6)
    for row, seen in zip(logps, sampled.logps, strict=True):
        torch.testing.assert_close(row[: len(seen)], torch.tensor(seen), atol=1e-4, rtol=1e-4)
