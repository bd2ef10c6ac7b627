"""Prompts on one video share it, in sampling and in training, and get what they would get alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest
import torch

from timesight.data import read_jsonl
from timesight.generate import past
from timesight.generate.base import Completion, Sampling
from timesight.generate.decode import sample_replies
from timesight.generate.local import LocalGenerator
from timesight.model import tree_attention
from timesight.model.encode import EncodedPrompt, encode_like, encode_prompt, encode_prompts, rope_positions
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.tasks import TASKS
from timesight.types import TextPart, VideoPart
from timesight.video import FrameReader, Wanted


@pytest.fixture
def policy(new_model: Path) -> Policy:
    return load_policy(new_model, dtype="float32")


@pytest.fixture
def prompts(policy: Policy, full_world: Path) -> list[Prompt]:
    return ask(policy, full_world)


def ask(policy: Policy, full_world: Path) -> list[Prompt]:
    """Questions on four videos of different lengths: three, one, five and two of them."""
    reader = FrameReader(policy.default_budget, policy.factor)
    asked = [s for s in read_jsonl(full_world / "train.jsonl") if s.task != "object_tracking"]
    videos = [list(same) for _, same in groupby(sorted(asked, key=lambda s: str(s.video.path)), lambda s: s.video)]
    *_, two, three, five = sorted(videos, key=len)
    chosen = [*three[:3], *videos[0][:1], *five[:5], *two[:2]]
    assert len(chosen) == 11
    return [
        Prompt(TASKS[sample.task].prompt(sample, think=bool(number % 2)), [reader.read(Wanted(sample.video))])
        for number, sample in enumerate(chosen)
    ]


def plain(policy: Policy, prompts: Sequence[Prompt]) -> list[EncodedPrompt]:
    return [encode_prompt(policy, prompt) for prompt in prompts]


def test_an_encoding_taken_over_is_the_encoding(policy: Policy, prompts: list[Prompt]) -> None:
    for one, other in zip(encode_prompts(policy, prompts), plain(policy, prompts), strict=True):
        assert torch.equal(one.input_ids, other.input_ids)
        assert torch.equal(one.token_types, other.token_types)
        assert torch.equal(one.patches, other.patches)
        assert torch.equal(one.grid_thw, other.grid_thw)


def test_roots_and_questions_are_the_prompts_cut_in_two(policy: Policy, prompts: list[Prompt]) -> None:
    tree = build_tree(policy, encode_prompts(policy, prompts))
    roots, questions = tree.levels
    assert questions.parents.tolist() == [0] * 3 + [1] + [2] * 5 + [3] * 2
    whole = plain(policy, prompts)
    assert tree.prompt_lengths == [len(prompt) for prompt in whole]
    positions = rope_positions(policy, whole)
    for number, (prompt, parent) in enumerate(zip(whole, questions.parents.tolist(), strict=True)):
        in_root, own = roots.mask[parent].bool(), questions.mask[number].bool()
        ids = torch.cat([roots.input_ids[parent, in_root], questions.input_ids[number, own]])
        assert torch.equal(ids, prompt.input_ids)
        standing = torch.cat(
            [roots.position_ids[:, parent, in_root], questions.position_ids[:, number, own]], dim=1
        )
        assert torch.equal(standing, positions[:, number, -len(prompt) :])
        assert int(questions.next_position[number]) == int(positions[:, number, -len(prompt) :].max()) + 1
        assert bool((questions.input_ids[number, own] != policy.processor.video_token_id).all())


def test_sharing_changes_no_reply(policy: Policy, prompts: list[Prompt]) -> None:
    greedy = Sampling(max_new_tokens=10)
    shared = sample_replies(policy, build_tree(policy, encode_prompts(policy, prompts)), 1, greedy)
    for reply, prompt in zip(shared, plain(policy, prompts), strict=True):
        (alone,) = sample_replies(policy, build_tree(policy, [prompt]), 1, greedy)
        assert reply.token_ids == alone.token_ids
        torch.testing.assert_close(torch.tensor(reply.logprobs), torch.tensor(alone.logprobs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("saves_memory", [False, True])
def test_groups_on_shared_videos_are_sampled_from_the_scored_distribution(
    policy: Policy, prompts: list[Prompt], static: bool, saves_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three levels: roots, questions and groups that end at different lengths."""
    if (
        saves_memory
    ):  # no empty slots: the video with five questions comes several times; rows are extended one by one
        monkeypatch.setattr(past, "MAX_SLOTS_PER_ROW", 1)
        monkeypatch.setattr(tree_attention, "MAX_GATHERED", 1)
    policy.__dict__["end_ids"] = frozenset(range(10, policy.model.config.get_text_config().vocab_size, 7))
    tree = build_tree(policy, encode_prompts(policy, prompts))
    torch.manual_seed(0)
    replies = sample_replies(policy, tree, 3, Sampling(temperature=1.0, max_new_tokens=16), static=static)
    assert len({len(reply.token_ids) for reply in replies}) > 4
    alone = build_tree(policy, plain(policy, prompts)).with_replies([reply.token_ids for reply in replies])
    with torch.no_grad():
        logps, _ = completion_logprobs(policy, alone)
    for row, reply in zip(logps, replies, strict=True):
        torch.testing.assert_close(row[: len(reply.logprobs)], torch.tensor(reply.logprobs), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [{"cpu"}, set()])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_tree_of_three_levels_equals_plain_rows(
    policy: Policy, prompts: list[Prompt], devices: set[str], frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Log-probs and every gradient, with replies of unequal lengths, one of them empty."""
    monkeypatch.setattr(tree_attention, "MERGING_DEVICES", devices)
    if frozen:
        policy.freeze("tower", "merger")
    rng = torch.Generator().manual_seed(0)
    replies = [torch.randint(20, 90, (n % 7,), generator=rng).tolist() for n in range(2 * len(prompts))]
    results = []
    for encoded, packed in ((encode_prompts(policy, prompts), True), (plain(policy, prompts), False)):
        policy.model.zero_grad()
        tree = build_tree(policy, encoded).with_replies(replies)
        logps, entropy = completion_logprobs(policy, tree, temperature=0.8, packed=packed)
        (logps * torch.linspace(-1, 1, logps.numel()).view_as(logps)).sum().backward()
        grads = {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}
        results.append((len(tree.levels), logps.detach(), entropy, grads))
    (levels, logps, entropy, grads), (plain_levels, plain_logps, plain_entropy, plain_grads) = results
    assert (levels, plain_levels) == (3, 2)
    torch.testing.assert_close(logps, plain_logps, atol=1e-5, rtol=0)
    torch.testing.assert_close(entropy, plain_entropy, atol=1e-5, rtol=0)
    assert grads.keys() == plain_grads.keys()
    for name, grad in plain_grads.items():
        assert (grads[name] - grad).norm() <= 1e-4 * grad.norm() + 1e-9, name


def test_a_generator_gives_every_prompt_its_own_reply(full_world: Path) -> None:
    exact = load_policy(dtype="float32")
    prompts = ask(exact, full_world)
    answers = [LocalGenerator(exact, share=s).answer(prompts, Sampling(max_new_tokens=40)) for s in (True, False)]
    replies = [[(a.text, a.token_ids) for a in mine if isinstance(a, Completion)] for mine in answers]
    assert replies[0] == replies[1]
    assert len(replies[0]) == len(prompts)
    assert len({text for text, _ in replies[0]}) > 3


def test_prompts_that_differ_before_their_videos_end_share_nothing(policy: Policy, prompts: list[Prompt]) -> None:
    video = next(part for part in prompts[0].parts if isinstance(part, VideoPart))
    early = Prompt([TextPart("Look: "), video, TextPart("What?")], prompts[0].frames)
    with pytest.raises(ValueError, match="differ before the end of the last video"):
        encode_like(policy, early, encode_prompt(policy, prompts[0]))
    assert len(build_tree(policy, encode_prompts(policy, [prompts[0], early])).levels) == 1


def test_prompts_without_a_video_are_answered(policy: Policy) -> None:
    words = [Prompt([TextPart(text)], []) for text in ("a red circle", "a blue square", "when")]
    answers = LocalGenerator(policy).answer(words, Sampling(max_new_tokens=4))
    assert all(isinstance(answer, Completion) for answer in answers)
