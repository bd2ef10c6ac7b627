"""What the tiny models of all families have in common: sizes, and settings of text models and vision towers."""

from __future__ import annotations

from typing import Any, Literal

from transformers import PreTrainedTokenizerFast

Size = Literal["tiny", "small"]  # 2.7 and 6 million parameters
END = "<|im_end|>"
INITIALIZER_RANGE = 0.05  # the families' 0.02 suits widths of thousands; narrow layers would start almost silent
VISION_CONFIG = {
    "depth": 3,
    "initializer_range": INITIALIZER_RANGE,
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_heads": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
TEXT_SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6},
    "small": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 8},
}

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content -%}
{% if part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>
{%- elif part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""


def video_limits(factor: int) -> dict[str, Any]:
    """Limits of video processors: pixels of a frame, of sides divisible by ``factor``, frames, all pixels."""
    token = factor * factor
    size = {"shortest_edge": token, "longest_edge": 6 * token}
    return {"size": size, "max_frames": 80, "total_pixels": 96 * token}


def token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Ids of the vision tokens, under the names that configurations have for them."""
    convert = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": convert("<|image_pad|>"),
        "video_token_id": convert("<|video_pad|>"),
        "vision_start_token_id": convert("<|vision_start|>"),
        "vision_end_token_id": convert("<|vision_end|>"),
    }


def text_config(tokenizer: PreTrainedTokenizerFast, size: str, **rope: Any) -> dict[str, Any]:
    """Settings of the text model; ``rope`` joins its rotary positions."""
    return {
        "vocab_size": len(tokenizer),
        **TEXT_SIZES[size],
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "initializer_range": INITIALIZER_RANGE,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, **rope},
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids(END),
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
