"""The vision tower, run once for each video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timesight.policy.encode import PromptBatch
from timesight.policy.policy import Policy


def encode_vision(policy: Policy, prompts: PromptBatch) -> Any:
    """Run the vision tower once over all videos of ``prompts``; the family's own output type."""
    return policy.core.get_video_features(prompts.patches, prompts.grid_thw, return_dict=True)


def repeat_vision(features: Any, prompts: PromptBatch, prompt_of: Sequence[int]) -> Any:
    """``features`` laid out for rows that stand for the prompts ``prompt_of``; no video is encoded again."""
    videos = [video for prompt in prompt_of for video in prompts.videos_of[prompt]]
    repeated = type(features)(pooler_output=tuple(features.pooler_output[v] for v in videos))
    if getattr(features, "deepstack_features", None) is not None:
        repeated.deepstack_features = [tuple(layer[v] for v in videos) for layer in features.deepstack_features]
    return repeated
