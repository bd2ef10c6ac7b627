"""Positions follow the authors' rule: an oracle that walks the tokens, and examples counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from timesight.generate.base import Sampling
from timesight.generate.decode import sample_replies
from timesight.model.encode import EncodedPrompt, encode_prompt, rope_positions
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.positions import prompt_positions, use_authors_positions
from timesight.model.prompt import Exchange, Prompt
from timesight.prefix.tree import build_tree
from timesight.types import PromptPart, TextPart, Video, VideoPart
from timesight.video import Frames

MERGE = 2


def authors_positions(
    types: list[int], grids: list[tuple[int, int, int]], seconds: list[float], rate: float
) -> list[list[int]]:
    """Token by token: text at the largest position so far plus one, a grid's tokens offset from there."""
    positions: list[list[int]] = []
    place, video = 0, 0
    while place < len(types):
        start = 1 + max((max(p) for p in positions), default=-1)
        if types[place] == 0:
            positions.append([start] * 3)
            place += 1
            continue
        time, height, width = grids[video]
        for t in range(time):
            along = int(np.float32(np.float32(t) * np.float32(seconds[video])) * np.float32(rate))
            for h in range(height // MERGE):
                for w in range(width // MERGE):
                    positions.append([start + along, start + h, start + w])
        place += time * (height // MERGE) * (width // MERGE)
        video += 1
    return positions


@st.composite
def prompts(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int, int]], list[float]]:
    grids = draw(
        st.lists(st.tuples(st.integers(1, 6), st.sampled_from([2, 4, 8]), st.sampled_from([2, 6])), max_size=3)
    )
    types = [0] * draw(st.integers(1, 4))
    for time, height, width in grids:
        types += [2] * (time * height * width // MERGE**2) + [0] * draw(st.integers(1, 5))
    seconds = [draw(st.floats(0.05, 8.0)) for _ in grids]
    return types, grids, seconds


@given(prompts(), st.sampled_from([1, 2, 25]))
def test_positions_equal_the_authors_rule(
    prompt: tuple[list[int], list[tuple[int, int, int]], list[float]], rate: int
) -> None:
    types, grids, seconds = prompt
    ours = prompt_positions(
        torch.tensor(types), torch.tensor(grids).reshape(-1, 3), torch.tensor(seconds), rate, MERGE
    )
    assert ours.T.tolist() == authors_positions(types, grids, seconds, rate)


def test_three_prompts_counted_by_hand() -> None:
    """Two words, a video of 3 steps at 2 positions a step and 1 × 2 tokens, two words."""

    def positions(types: list[int], grids: list[list[int]], seconds: list[float]) -> list[list[int]]:
        rows: list[list[int]] = prompt_positions(
            torch.tensor(types), torch.tensor(grids), torch.tensor(seconds), 2, MERGE
        ).tolist()
        return rows

    assert positions([0, 0, *[2] * 6, 0, 0], [[3, 2, 4]], [1.0]) == [
        [0, 1, 2, 2, 4, 4, 6, 6, 7, 8],  # time: the text continues after the last time
        [0, 1, 2, 2, 2, 2, 2, 2, 7, 8],  # rows
        [0, 1, 2, 3, 2, 3, 2, 3, 7, 8],  # columns
    ]
    # A short video of wide frames: columns reach further than times.
    assert positions([0, 2, 2, 2, 0], [[1, 2, 6]], [1.0])[2] == [0, 1, 2, 3, 4]
    # Two videos: the second one starts after the last time of the first.
    assert positions([0, 2, 2, 0, 2, 2, 0], [[2, 2, 2], [2, 2, 2]], [4.0, 0.5])[0] == [0, 1, 9, 10, 11, 12, 13]


def test_a_prompt_without_its_videos_is_refused() -> None:
    with pytest.raises(ValueError, match="vision tokens"):
        prompt_positions(torch.tensor([0, 2, 2]), torch.tensor([[1, 2, 2]]), torch.tensor([1.0]), 2, MERGE)


def encode(
    policy: Policy, seconds: float = 20.0, videos: int = 1, earlier: tuple[Exchange, ...] = ()
) -> EncodedPrompt:
    count, side = int(2 * seconds), 2 * policy.factor
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    frames = Frames(pixels, np.arange(count) / 2.0, (0.0, seconds), seconds)
    parts: list[PromptPart] = [VideoPart(Video(path=Path("noise"))) for _ in range(videos)]
    return encode_prompt(
        policy, Prompt([*parts, TextPart("when does the red circle appear?")], [frames] * videos, earlier)
    )


def oracle(policy: Policy, encoded: EncodedPrompt) -> list[list[int]]:
    """The authors' rule on what the model is given; a frame of Qwen3-VL is a separate grid."""
    grids, seconds = encoded.grid_thw, encoded.seconds_per_grid
    if seconds is None:
        grids = grids.repeat_interleave(grids[:, 0], dim=0)
        grids[:, 0] = 1
        seconds = torch.ones(len(grids))
    rows = [(int(t), int(h), int(w)) for t, h, w in grids]
    return authors_positions(encoded.token_types.tolist(), rows, seconds.tolist(), 2)


@pytest.fixture(scope="module")
def policy(new_model: Path) -> Policy:
    return load_policy(new_model, dtype="float32")


def test_prompts_of_both_families_have_the_authors_positions(policy: Policy) -> None:
    chat = (Exchange("what happens?", "a circle appears"), Exchange("and then?", "it leaves"))
    prompts = [encode(policy), encode(policy, 3.0, 2), encode(policy, 6.0, 1, chat)]
    positions = rope_positions(policy, prompts)
    for row, prompt in enumerate(prompts):
        assert positions[:, row, -len(prompt) :].T.tolist() == oracle(policy, prompt)


def test_generate_of_the_library_follows(policy: Policy) -> None:
    """``generate`` makes its own positions, and later ones from the saved deltas: greedy replies are equal."""
    encoded = encode(policy)
    (ours,) = sample_replies(policy, build_tree(policy, [encoded]), 1, Sampling(max_new_tokens=12))
    seconds = {} if encoded.seconds_per_grid is None else {"second_per_grid_ts": encoded.seconds_per_grid}
    theirs = policy.model.generate(
        input_ids=encoded.input_ids[None],
        mm_token_type_ids=encoded.token_types[None],
        attention_mask=torch.ones_like(encoded.input_ids)[None],
        pixel_values_videos=encoded.patches,
        video_grid_thw=encoded.grid_thw,
        max_new_tokens=12,
        do_sample=False,
        suppress_tokens=policy.banned_mask.nonzero().flatten().tolist(),
        **seconds,
    )
    assert tuple(theirs[0, len(encoded) :].tolist()) == ours.token_ids
    text = max(max(p) for p in oracle(policy, encoded)) + 1
    assert int(policy.core.rope_deltas) == text - len(encoded)


def test_a_saved_model_given_our_positions_scores_the_same(policy: Policy, new_model: Path) -> None:
    stock = AutoModelForImageTextToText.from_pretrained(new_model, dtype=torch.float32)
    encoded = encode(policy)
    tree = build_tree(policy, [encoded])
    (prompts,) = tree.levels
    arguments = {
        "input_ids": prompts.input_ids,
        "attention_mask": prompts.mask,
        "position_ids": prompts.position_ids,
        "pixel_values_videos": tree.patches,
        "video_grid_thw": tree.grid_thw,
        "mm_token_type_ids": encoded.token_types[None],
    }
    with torch.no_grad():
        torch.testing.assert_close(
            policy.model(**arguments).logits[0, -1], stock(**arguments).logits[0, -1], atol=1e-5, rtol=1e-5
        )


def test_qwen2_vl_counts_steps_not_seconds() -> None:
    config = Qwen2VLConfig(
        text_config={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
        | {"intermediate_size": 32, "vocab_size": 32, "rope_parameters": {"mrope_section": [4, 2, 2]}},
        vision_config={"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2},
    )
    model = Qwen2VLForConditionalGeneration(config)
    use_authors_positions(model)
    types = torch.tensor([[0, *[2] * 5, 0], [1, 1, 0, 0, 0, 0, 0]])  # a video; and an image
    positions, deltas = model.model.get_rope_index(
        torch.zeros_like(types),
        mm_token_type_ids=types,
        image_grid_thw=torch.tensor([[1, 2, 4]]),
        video_grid_thw=torch.tensor([[5, 2, 2]]),
        second_per_grid_ts=torch.tensor([4.0]),
    )
    assert positions[0].tolist() == [[0, 1, 2, 3, 4, 5, 6], [0, 0, 2, 3, 4, 5, 6]]
    assert deltas.tolist() == [[0], [0]]
