"""New, untrained models of a few million parameters, in the Qwen-VL families' own architectures.

They are ordinary Hugging Face folders: config, weights, own small tokenizer, own chat template, real
processor. The embedded default model starts as one of these and is trained by ``timesight sft tiny/pretrain``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.trainer_utils import get_last_checkpoint

Family = Literal["qwen2_5_vl", "qwen3_vl"]
Size = Literal["tiny", "small"]
EMBEDDED = "tiny"

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
CONTROL_TOKENS = (PAD, START, END, *VISION)
VOCAB_SIZE = 512
INITIALIZER_RANGE = 0.05  # the families' 0.02 suits widths of thousands; narrow layers would start almost silent
VISION_CONFIG = {  # what both families' towers share
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
# What a token may span: a tag; a single digit, so that times are read and written digit by digit; a word or
# punctuation with the space before it, and the space after it where a digit follows.
PIECES = r" ?</?\p{L}+>|\d| ?\p{L}+(?: (?=\d))?| ?[^\s\p{L}\d<]+(?: (?=\d))?|<|\s+"

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

MIN_PIXELS = 28 * 28
MAX_PIXELS = 84 * 56


def embedded_path() -> Path:
    """Folder of the embedded pretrained model."""
    return Path(str(files("timesight.model") / "embedded"))


def embed(trained: str | Path) -> None:
    """Make the newest checkpoint of the run directory ``trained`` the embedded model, weights in bfloat16."""
    checkpoint = get_last_checkpoint(str(trained))
    target = embedded_path()
    shutil.rmtree(target, ignore_errors=True)
    AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.bfloat16).save_pretrained(target)
    AutoProcessor.from_pretrained(checkpoint).save_pretrained(target)


def create(out: Path, family: Family, seed: int, texts: Iterable[str], size: Size = "tiny") -> None:
    """Write a new model of ``family`` with random weights of ``seed`` to ``out``.

    ``tiny`` has 2.7 million parameters, ``small`` 6 million. The tokenizer is learned from ``texts``;
    any other text still encodes, byte by byte.
    """
    tokenizer = _tokenizer(texts)
    torch.manual_seed(seed)
    if family == "qwen2_5_vl":
        model: Any = Qwen2_5_VLForConditionalGeneration(_qwen2_5_config(tokenizer, size))
        processor: Any = Qwen2_5_VLProcessor(
            image_processor=Qwen2VLImageProcessor(patch_size=14),
            tokenizer=tokenizer,
            video_processor=Qwen2VLVideoProcessor(patch_size=14, size=_video_size(28)),
            chat_template=CHAT_TEMPLATE,
        )
    else:
        model = Qwen3VLForConditionalGeneration(_qwen3_config(tokenizer, size))
        video_processor = Qwen3VLVideoProcessor(patch_size=16, size=_video_size(32))
        processor = Qwen3VLProcessor(
            # The image class's own mean and std are Qwen2-VL's; published Qwen3-VL folders state one pair for both.
            image_processor=Qwen2VLImageProcessor(
                patch_size=16, image_mean=video_processor.image_mean, image_std=video_processor.image_std
            ),
            tokenizer=tokenizer,
            video_processor=video_processor,
            chat_template=CHAT_TEMPLATE,
        )
    model.generation_config.update(
        eos_token_id=tokenizer.convert_tokens_to_ids(END), pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    processor.save_pretrained(out)


def _video_size(factor: int) -> dict[str, int]:
    return {"shortest_edge": factor * factor, "longest_edge": 6 * factor * factor}


def _tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE inside ``PIECES``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START, *VISION],
        padding_side="left",
        model_max_length=32768,
    )


def _token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    convert = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": convert("<|image_pad|>"),
        "video_token_id": convert("<|video_pad|>"),
        "vision_start_token_id": convert("<|vision_start|>"),
        "vision_end_token_id": convert("<|vision_end|>"),
    }


def _text_config(tokenizer: PreTrainedTokenizerFast, size: Size, **rope: Any) -> dict[str, Any]:
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


def _qwen2_5_config(tokenizer: PreTrainedTokenizerFast, size: Size) -> Qwen2_5_VLConfig:
    return Qwen2_5_VLConfig(
        text_config=_text_config(tokenizer, size, mrope_section=[8, 4, 4]),
        vision_config=VISION_CONFIG
        | {
            "patch_size": 14,
            "tokens_per_second": 2,
            "window_size": 112,
            "fullatt_block_indexes": [2],
            "out_hidden_size": TEXT_SIZES[size]["hidden_size"],
        },
        tie_word_embeddings=True,
        **_token_ids(tokenizer),
    )


def _qwen3_config(tokenizer: PreTrainedTokenizerFast, size: Size) -> Qwen3VLConfig:
    return Qwen3VLConfig(
        text_config=_text_config(tokenizer, size, mrope_section=[8, 4, 4], mrope_interleaved=True)
        | {"head_dim": 32},
        vision_config=VISION_CONFIG
        | {
            "patch_size": 16,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [1],
            "out_hidden_size": TEXT_SIZES[size]["hidden_size"],
        },
        tie_word_embeddings=True,
        **_token_ids(tokenizer),
    )
