"""Prompts and frames to tensors.

B prompts, P prompt length, N vision patches of a prompt's videos, V its videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from timesight.model.policy import Policy
from timesight.model.prompt import Prompt
from timesight.model.vision import VisionFeatures
from timesight.types import TextPart
from timesight.video import Frames

TICKS_PER_SECOND = 1000  # times reach the processor as frame numbers at this rate, true to a millisecond


@dataclass(frozen=True, eq=False, kw_only=True)
class EncodedPrompt(Prompt):
    """A prompt with its tensors, not padded.

    ``features`` are those of its videos, where the vision tower has run on them already. Prompts that share a video
    hold the same ``patches`` object.
    """

    input_ids: Tensor  # (P,)
    token_types: Tensor  # (P,) 0 text, 1 image, 2 video
    patches: Tensor  # (N, patch_dim)
    grid_thw: Tensor  # (V, 3) patches along time, height, width
    seconds_per_grid: Tensor | None  # (V,) for families with absolute time positions
    features: VisionFeatures | None = None

    def __len__(self) -> int:
        return len(self.input_ids)


def encode_prompt(policy: Policy, prompt: Prompt) -> EncodedPrompt:
    """One prompt as the model's own processor encodes it."""
    frames = prompt.frames
    encoded = policy.processor(
        text=[_chat_text(policy, prompt)],
        videos=[torch.from_numpy(f.pixels).permute(0, 3, 1, 2) for f in frames] or None,
        video_metadata=[video_metadata(f) for f in frames] or None,
        do_sample_frames=False,
        do_resize=False,  # frames were read at their final size, so there is nothing left to cap either
        cap_pixels_per_frame=False,
        return_tensors="pt",
    )
    seconds = encoded.get("second_per_grid_ts")
    return EncodedPrompt(
        parts=prompt.parts,
        frames=frames,
        earlier=prompt.earlier,
        input_ids=encoded["input_ids"][0],
        token_types=encoded["mm_token_type_ids"][0],
        patches=encoded["pixel_values_videos"] if frames else torch.zeros(0, 1),
        grid_thw=encoded["video_grid_thw"] if frames else torch.zeros(0, 3, dtype=torch.long),
        seconds_per_grid=None if seconds is None else torch.as_tensor(seconds, dtype=torch.float64),
    )


def encode_prompts(policy: Policy, prompts: Sequence[Prompt], *, share: bool = True) -> list[EncodedPrompt]:
    """``prompts`` encoded; with ``share``, a video that consecutive prompts show alike is encoded once.

    Prompts that are encoded already stay as they are.
    """
    if not share:
        return [encode_prompt(policy, prompt) for prompt in prompts]
    encoded: list[EncodedPrompt] = []
    for _, same in groupby(prompts, key=_before_last_text):
        first, *others = same
        one = first if isinstance(first, EncodedPrompt) else encode_prompt(policy, first)
        encoded += [one, *(o if isinstance(o, EncodedPrompt) else encode_like(policy, o, one) for o in others)]
    return encoded


def encode_like(policy: Policy, prompt: Prompt, like: EncodedPrompt) -> EncodedPrompt:
    """``encode_prompt`` of a prompt with the same videos as ``like``, whose encoding of them is taken over.

    Raises:
        ValueError: If the two differ before the end of the last video.
    """
    mark = policy.processor.tokenizer.convert_ids_to_tokens(policy.model.config.vision_end_token_id)
    (head, _, tail), (like_head, _, _) = (_chat_text(policy, p).rpartition(mark) for p in (prompt, like))
    if head != like_head:
        raise ValueError("the prompts differ before the end of the last video")
    length = _end_of_videos(policy, like.input_ids)
    # The mark is a separate token, so the text after it is tokenized the same whatever comes before it.
    text = policy.processor.tokenizer(tail, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
    return replace(
        like,
        parts=prompt.parts,
        frames=prompt.frames,
        earlier=prompt.earlier,
        input_ids=torch.cat([like.input_ids[:length], text]),
        token_types=torch.cat([like.token_types[:length], torch.zeros_like(text)]),
    )


def cut_after_videos(policy: Policy, prompt: EncodedPrompt) -> tuple[EncodedPrompt, list[int]]:
    """A prompt up to the end of its last video, or its first token, and the token ids that follow."""
    length = max(1, _end_of_videos(policy, prompt.input_ids))
    before = replace(prompt, input_ids=prompt.input_ids[:length], token_types=prompt.token_types[:length])
    return before, prompt.input_ids[length:].tolist()


def _end_of_videos(policy: Policy, input_ids: Tensor) -> int:
    """Tokens up to the end of the last video; 0 without one."""
    ends = (input_ids == policy.model.config.vision_end_token_id).nonzero()
    return int(ends[-1]) + 1 if len(ends) else 0


def _before_last_text(prompt: Prompt) -> tuple[object, ...]:
    """What prompts that share an encoding have in common: all parts before the last text, and the frames."""
    if prompt.earlier:
        return (id(prompt),)
    parts = [*prompt.parts]
    while parts and isinstance(parts[-1], TextPart):
        parts.pop()
    return (tuple(parts), tuple(map(id, prompt.frames))) if parts else (id(prompt),)


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


def rope_positions(policy: Policy, prompts: Sequence[EncodedPrompt]) -> Tensor:
    """Positions (3, B, P) along time, height and width, padded on the left, as the model itself counts them."""
    longest = max(len(prompt) for prompt in prompts)
    grid_thw = torch.cat([p.grid_thw for p in prompts])
    seconds = [p.seconds_per_grid for p in prompts if p.seconds_per_grid is not None]
    positions: Tensor = policy.core.get_rope_index(
        pad_left([p.input_ids for p in prompts], longest, policy.processor.tokenizer.pad_token_id),
        mm_token_type_ids=pad_left([p.token_types for p in prompts], longest, 0),
        video_grid_thw=grid_thw if len(grid_thw) else None,
        attention_mask=pad_left([torch.ones_like(p.input_ids) for p in prompts], longest, 0),
        **({"second_per_grid_ts": torch.cat(seconds)} if seconds else {}),
    )[0]
    return positions


def pad_left(rows: Sequence[Tensor], length: int, value: int) -> Tensor:
    """Rows (n,) as one tensor (rows, length)."""
    return torch.stack([torch.nn.functional.pad(row, (length - len(row), 0), value=value) for row in rows])
