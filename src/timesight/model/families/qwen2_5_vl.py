"""Qwen2.5-VL: time positions count seconds; most layers of the vision tower attend within windows."""

from __future__ import annotations

from typing import Any

from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from timesight.model.families.base import Family
from timesight.model.families.qwen2_vl import QWEN2_7B
from timesight.model.families.tiny_configs import (
    CHAT_TEMPLATE,
    TEXT_SIZES,
    VISION_CONFIG,
    text_config,
    token_ids,
    video_limits,
)
from timesight.model.positions import use_authors_positions

_VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
_PUBLISHED: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-VL-3B-Instruct": {
        "text_config": {
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
        },
        "vision_config": _VISION | {"out_hidden_size": 2048},
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "text_config": QWEN2_7B,
        "vision_config": _VISION | {"out_hidden_size": 3584},
        "tie_word_embeddings": False,
    },
}


def new_tiny(tokenizer: PreTrainedTokenizerFast, size: str) -> tuple[Any, Any]:
    """A small untrained model and its processor."""
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=14),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=14, **video_limits(28)),
        chat_template=CHAT_TEMPLATE,
    )
    return Qwen2_5_VLForConditionalGeneration(_tiny_config(tokenizer, size)), processor


def _tiny_config(tokenizer: PreTrainedTokenizerFast, size: str) -> Qwen2_5_VLConfig:
    return Qwen2_5_VLConfig(
        text_config=text_config(tokenizer, size, mrope_section=[8, 4, 4]),
        vision_config=VISION_CONFIG
        | {
            "patch_size": 14,
            "tokens_per_second": 2,
            "window_size": 112,
            "fullatt_block_indexes": [2],
            "out_hidden_size": TEXT_SIZES[size]["hidden_size"],
        },
        tie_word_embeddings=True,
        **token_ids(tokenizer),
    )


FAMILY = Family(
    model_type="qwen2_5_vl",
    packs=True,
    install_positions=use_authors_positions,
    published={name: Qwen2_5_VLConfig(**shape) for name, shape in _PUBLISHED.items()},
    new_tiny=new_tiny,
)
