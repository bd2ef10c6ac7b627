"""Multimodal rotary positions of Qwen2-VL and Qwen2.5-VL, as their weights were trained with.

The families' authors, the ``transformers`` 4 releases that the weights were published with and vLLM begin the
text after a video at the largest position so far plus one. ``transformers`` 5 begins it at the start of the
video plus the longer side of a frame, which puts the question in the middle of the video's own time positions.
Qwen3-VL writes times as text and makes every frame a separate segment; there the two rules agree and the
library's stays.

P tokens of a prompt, N of them in images and videos, S images and videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from torch import Tensor

TEXT, IMAGE, VIDEO = 0, 1, 2  # token types


def use_authors_positions(model: Any) -> None:
    """Make ``model`` compute the authors' positions wherever it computes positions, ``generate`` included."""
    model.model.get_rope_index = MethodType(_get_rope_index, model.model)


def prompt_positions(token_types: Tensor, grids: Tensor, seconds: Tensor, rate: float, merge_size: int) -> Tensor:
    """Positions (3, P) along time, height and width of one prompt.

    Text counts on by one. The tokens of an image or video stand at its start plus their own (time, row, column);
    what comes after it starts at the largest of those plus one.

    Args:
        token_types: (P,) ``TEXT``, ``IMAGE`` or ``VIDEO``.
        grids: (S, 3) patches along time, height and width of each image and video, in order.
        seconds: (S,) from one step in time to the next.
        rate: positions a second.
        merge_size: patches along a side of a token.

    Raises:
        ValueError: If the grids do not have as many tokens as the prompt.
    """
    offsets = [_grid_offsets(grid, step, rate, merge_size) for grid, step in zip(grids, seconds, strict=True)]
    is_text = token_types == TEXT
    if sum(part.shape[1] for part in offsets) != int((~is_text).sum()):
        raise ValueError("the prompt has another number of vision tokens than its images and videos")
    if not offsets:
        return torch.arange(len(token_types)).repeat(3, 1)
    last = (~is_text).nonzero().squeeze(1)[torch.tensor([part.shape[1] for part in offsets]).cumsum(0) - 1]
    advance = is_text.long()  # by how much each token moves the next one on: a video does at its last token
    advance[last] = torch.stack([part.max() + 1 for part in offsets])
    positions = (advance.cumsum(0) - advance).repeat(3, 1)
    positions[:, ~is_text] += torch.cat(offsets, dim=1)
    return positions


def _grid_offsets(grid: Tensor, seconds: Tensor, rate: float, merge_size: int) -> Tensor:
    """(3, N) time, row and column of each token of one image or video, in the order of its tokens."""
    time, height, width = (int(size) for size in grid)
    along_time = (torch.arange(time) * seconds.float() * rate).long()  # the authors' precision, order and rounding
    return torch.cartesian_prod(along_time, torch.arange(height // merge_size), torch.arange(width // merge_size)).T


def _get_rope_index(
    self: Any,
    input_ids: Tensor,
    mm_token_type_ids: Tensor,
    image_grid_thw: Tensor | None = None,
    video_grid_thw: Tensor | None = None,
    second_per_grid_ts: Tensor | None = None,
    attention_mask: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """In place of the model's own: positions (3, B, P), and (B, 1) what to add to P for the next one."""
    config = self.config.vision_config
    rate = getattr(config, "tokens_per_second", 1)  # Qwen2-VL counts frames, not seconds
    timed = hasattr(config, "tokens_per_second") and second_per_grid_ts is not None
    media = {
        IMAGE: _media(image_grid_thw, None),
        VIDEO: _media(video_grid_thw, second_per_grid_ts if timed else None),
    }
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    positions = torch.zeros(3, *input_ids.shape, dtype=torch.long)
    deltas = []
    for row, (types, is_token) in enumerate(zip(mm_token_type_ids.cpu(), mask.cpu().bool(), strict=True)):
        types = types[is_token]
        runs = torch.unique_consecutive(types)
        seen = [next(media[kind]) for kind in runs.tolist() if kind != TEXT]
        grids = torch.stack([grid for grid, _ in seen]) if seen else torch.zeros(0, 3, dtype=torch.long)
        seconds = torch.tensor([step for _, step in seen])
        mine = prompt_positions(types, grids, seconds, rate, config.spatial_merge_size)
        positions[:, row, is_token] = mine
        deltas.append(mine.max() + 1 - len(types))
    return positions.to(input_ids.device), torch.stack(deltas)[:, None].to(input_ids.device)


def _media(grids: Tensor | None, seconds: Any) -> Iterator[tuple[Tensor, float]]:
    """The images or videos of a batch in order, each with its seconds from one step in time to the next."""
    if grids is None:
        return iter(())
    return zip(grids.cpu(), [1.0] * len(grids) if seconds is None else map(float, seconds), strict=True)
