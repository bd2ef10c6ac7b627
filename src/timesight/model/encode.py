"""Prompts and frames to tensors.

B prompts, P padded prompt length, N vision patches of the whole batch, V videos of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.types import Part, TextPart
from timesight.video import Frames

TICKS_PER_SECOND = 1000  # times reach the processor as frame numbers at this rate, true to a millisecond


@dataclass(frozen=True, eq=False)
class EncodedPrompt:
    """One prompt with its videos, not padded."""

    input_ids: Tensor  # (P,)
    token_types: Tensor  # (P,) 0 text, 1 image, 2 video
    patches: Tensor  # (N, patch_dim)
    grid_thw: Tensor  # (V, 3) patches along time, height, width
    seconds_per_grid: Tensor | None  # (V,) for families with absolute time positions

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts padded on the left, with explicit positions."""

    input_ids: Tensor  # (B, P)
    mask: Tensor  # (B, P) 1 where there is a token
    token_types: Tensor  # (B, P)
    position_ids: Tensor  # (3, B, P)
    patches: Tensor  # (N, patch_dim)
    grid_thw: Tensor  # (V, 3)
    videos_of: tuple[tuple[int, ...], ...]  # the videos of each prompt

    @property
    def next_position(self) -> Tensor:
        """(B,) position of the first token after each prompt: the largest so far plus one."""
        return self.position_ids.amax(dim=(0, 2)) + 1


def encode_prompt(policy: Policy, prompt: Prompt) -> EncodedPrompt:
    """One prompt as the model's own processor encodes it."""
    text = _chat_text(policy, prompt)
    frames = prompt.frames
    encoded = policy.processor(
        text=[text],
        videos=[torch.from_numpy(f.pixels).permute(0, 3, 1, 2) for f in frames] or None,
        video_metadata=[video_metadata(f) for f in frames] or None,
        do_sample_frames=False,
        do_resize=False,  # frames were read at their final size, so there is nothing left to cap either
        cap_pixels_per_frame=False,
        return_tensors="pt",
    )
    seconds = encoded.get("second_per_grid_ts")
    return EncodedPrompt(
        input_ids=encoded["input_ids"][0],
        token_types=encoded["mm_token_type_ids"][0],
        patches=encoded["pixel_values_videos"] if frames else torch.zeros(0, 1),
        grid_thw=encoded["video_grid_thw"] if frames else torch.zeros(0, 3, dtype=torch.long),
        seconds_per_grid=None if seconds is None else torch.as_tensor(seconds, dtype=torch.float64),
    )


def encode_like(
    policy: Policy, parts: Sequence[Part], like: EncodedPrompt, like_parts: Sequence[Part]
) -> EncodedPrompt:
    """``encode_prompt`` of ``parts`` with the same videos as ``like``, whose encoding of them is taken over.

    The two may differ in the text after the last video only; elsewhere they must not.
    """
    mark = policy.processor.tokenizer.convert_ids_to_tokens(policy.model.config.vision_end_token_id)
    (head, _, tail), (like_head, _, _) = (
        _chat_text(policy, Prompt(p, ())).rpartition(mark) for p in (parts, like_parts)
    )
    if head != like_head:
        raise ValueError("the prompts differ before the end of the last video")
    length = int((like.input_ids == policy.model.config.vision_end_token_id).nonzero()[-1]) + 1
    # The mark is a token of its own, so the text after it is the same tokens whatever stands before.
    text = policy.processor.tokenizer(tail, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
    return replace(
        like,
        input_ids=torch.cat([like.input_ids[:length], text]),
        token_types=torch.cat([like.token_types[:length], torch.zeros_like(text)]),
    )


def _chat_text(policy: Policy, prompt: Prompt) -> str:
    conversation = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "video"}
                for part in message.parts
            ],
        }
        for message in prompt.messages()
    ]
    text: str = policy.processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    return text


def video_metadata(frames: Frames) -> dict[str, Any]:
    """The frames' real times, written as numbers of frames of a video at TICKS_PER_SECOND."""
    length_s = frames.window_s[1] - frames.window_s[0]
    return {
        "fps": TICKS_PER_SECOND,
        "frames_indices": [round(t * TICKS_PER_SECOND) for t in frames.times_s.tolist()],
        "total_num_frames": length_s * TICKS_PER_SECOND,
        "duration": length_s,
    }


def collate(policy: Policy, prompts: Sequence[EncodedPrompt]) -> PromptBatch:
    """Pad ``prompts`` on the left and place them on the policy's device."""
    longest = max(len(prompt) for prompt in prompts)
    first = 0
    videos_of = []
    for prompt in prompts:
        videos_of.append(tuple(range(first, first + len(prompt.grid_thw))))
        first += len(prompt.grid_thw)
    to = policy.device
    return PromptBatch(
        input_ids=_pad_left([p.input_ids for p in prompts], longest, policy.processor.tokenizer.pad_token_id).to(
            to
        ),
        mask=_pad_left([torch.ones_like(p.input_ids) for p in prompts], longest, 0).to(to),
        token_types=_pad_left([p.token_types for p in prompts], longest, 0).to(to),
        position_ids=rope_positions(policy, prompts).to(to),
        patches=torch.cat([p.patches for p in prompts if len(p.patches)] or [torch.zeros(0, 1)]).to(to),
        grid_thw=torch.cat([p.grid_thw for p in prompts]).to(to),
        videos_of=tuple(videos_of),
    )


def rope_positions(policy: Policy, prompts: Sequence[EncodedPrompt]) -> Tensor:
    """Positions (3, B, P) along time, height and width, padded on the left, as the model itself counts them."""
    longest = max(len(prompt) for prompt in prompts)
    grid_thw = torch.cat([p.grid_thw for p in prompts])
    seconds = [p.seconds_per_grid for p in prompts if p.seconds_per_grid is not None]
    positions: Tensor = policy.core.get_rope_index(
        _pad_left([p.input_ids for p in prompts], longest, policy.processor.tokenizer.pad_token_id),
        mm_token_type_ids=_pad_left([p.token_types for p in prompts], longest, 0),
        video_grid_thw=grid_thw if len(grid_thw) else None,
        attention_mask=_pad_left([torch.ones_like(p.input_ids) for p in prompts], longest, 0),
        **({"second_per_grid_ts": torch.cat(seconds)} if seconds else {}),
    )[0]
    return positions


def _pad_left(rows: Sequence[Tensor], length: int, value: int) -> Tensor:
    return torch.stack([torch.nn.functional.pad(row, (length - len(row), 0), value=value) for row in rows])
