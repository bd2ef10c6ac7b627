"""Qwen3-VL: times are written into the prompt as text, and features enter several layers (deepstack).

Every frame is a separate segment after its time, so the positions of ``transformers`` are the authors'.
"""

from __future__ import annotations

from typing import Any

from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from timesight.model.families.base import Family
from timesight.model.families.tiny_configs import (
    CHAT_TEMPLATE,
    TEXT_SIZES,
    VISION_CONFIG,
    text_config,
    token_ids,
    video_limits,
)


def new_tiny(tokenizer: PreTrainedTokenizerFast, size: str) -> tuple[Any, Any]:
    """A small untrained model and its processor."""
    video_processor = Qwen3VLVideoProcessor(patch_size=16, **video_limits(32))
    processor = Qwen3VLProcessor(
        # The image class's own mean and std are Qwen2-VL's; published Qwen3-VL folders state one pair for both.
        image_processor=Qwen2VLImageProcessor(
            patch_size=16, image_mean=video_processor.image_mean, image_std=video_processor.image_std
        ),
        tokenizer=tokenizer,
        video_processor=video_processor,
        chat_template=CHAT_TEMPLATE,
    )
    return Qwen3VLForConditionalGeneration(_tiny_config(tokenizer, size)), processor


def _tiny_config(tokenizer: PreTrainedTokenizerFast, size: str) -> Qwen3VLConfig:
    return Qwen3VLConfig(
        text_config=text_config(tokenizer, size, mrope_section=[8, 4, 4], mrope_interleaved=True)
        | {"head_dim": 32},
        vision_config=VISION_CONFIG
        | {
            "patch_size": 16,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [1],
            "out_hidden_size": TEXT_SIZES[size]["hidden_size"],
        },
        tie_word_embeddings=True,
        **token_ids(tokenizer),
    )


FAMILY = Family(model_type="qwen3_vl", packs=True, new_tiny=new_tiny)
