"""Questions about one video go on from one prefill of it, and are answered as if each had been asked alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest
import torch

from timesight.data import read_jsonl
from timesight.generate.base import Answered
from timesight.generate.decode import generate, generate_answers
from timesight.generate.local import PolicyAnswerer
from timesight.model.encode import EncodedPrompt, collate, encode_like, encode_prompt, rope_positions
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.prefix.questions import encode_prompts, lay_out
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
    shared = [encoded for group in encode_prompts(policy, prompts) for encoded in group]
    for one, other in zip(shared, plain(policy, prompts), strict=True):
        assert torch.equal(one.input_ids, other.input_ids)
        assert torch.equal(one.token_types, other.token_types)
        assert torch.equal(one.patches, other.patches)
        assert torch.equal(one.grid_thw, other.grid_thw)


def test_a_prefix_and_its_questions_are_the_prompts_cut_in_two(policy: Policy, prompts: list[Prompt]) -> None:
    groups = encode_prompts(policy, prompts)
    assert [len(group) for group in groups] == [3, 1, 5, 2]
    questions = lay_out(policy, groups)
    assert (questions.group, len(set(questions.rows))) == (5, 11)
    whole = plain(policy, prompts)
    positions = rope_positions(policy, whole)
    for row, number in enumerate(questions.rows):
        prompt, length = whole[number], len(whole[number])
        prefix = questions.prefixes
        has_token, own = prefix.mask[row // 5].bool(), ~questions.padding[row]
        ids = torch.cat([prefix.input_ids[row // 5, has_token], questions.ids[row, own]])
        assert torch.equal(ids, prompt.input_ids)
        standing = torch.cat(
            [prefix.position_ids[:, row // 5, has_token], questions.position_ids[:, row, own]], dim=1
        )
        assert torch.equal(standing, positions[:, number, -length:])
        assert int(questions.next_position[row]) == int(positions[:, number, -length:].max()) + 1
        assert bool((questions.ids[row, own] != policy.processor.video_token_id).all())


def test_sharing_changes_no_reply(policy: Policy, prompts: list[Prompt]) -> None:
    shared = generate_answers(policy, lay_out(policy, encode_prompts(policy, prompts)), max_new_tokens=10)
    for number, prompt in enumerate(plain(policy, prompts)):
        alone = generate(policy, collate(policy, [prompt]), temperature=0, max_new_tokens=10)
        assert shared.ids[number] == alone.ids[0]
        torch.testing.assert_close(
            torch.tensor(shared.logps[number]), torch.tensor(alone.logps[0]), atol=1e-4, rtol=1e-4
        )


def test_an_answerer_gives_every_prompt_its_own_reply(full_world: Path) -> None:
    exact = load_policy(dtype="float32")
    prompts = ask(exact, full_world)
    answers = [
        PolicyAnswerer(exact, share=s).answer(prompts, temperature=0, max_new_tokens=40) for s in (True, False)
    ]
    assert answers[0] == answers[1]
    replies = [answer for answer in answers[0] if isinstance(answer, Answered)]
    assert len(replies) == len(prompts)
    assert len({reply.text for reply in replies}) > 3


def test_prompts_that_differ_before_their_videos_end_share_nothing(policy: Policy, prompts: list[Prompt]) -> None:
    video = next(part for part in prompts[0].parts if isinstance(part, VideoPart))
    early = [TextPart("Look: "), video, TextPart("What?")]
    one = encode_prompt(policy, prompts[0])
    with pytest.raises(ValueError, match="differ before the end of the last video"):
        encode_like(policy, early, one, prompts[0].parts)
    groups = encode_prompts(policy, [prompts[0], Prompt(early, prompts[0].frames)])
    assert [len(group) for group in groups] == [1, 1]


def test_prompts_without_a_video_are_answered(policy: Policy) -> None:
    words = [Prompt([TextPart(text)], []) for text in ("a red circle", "a blue square", "when")]
    answers = PolicyAnswerer(policy).answer(words, temperature=0, max_new_tokens=4)
    assert all(isinstance(answer, Answered) for answer in answers)
