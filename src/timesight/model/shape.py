"""A model without its weights: how many of them there are, by part, and how wide and deep it is.

Enough to say what a run will need before anything is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, Qwen2_5_VLConfig

from timesight.errors import InputError
from timesight.model.load import base_folder

_QWEN2_5_VISION = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
# Published shapes of the models that shipped recipes name, so that planning needs no network.
KNOWN: dict[str, dict[str, Any]] = {
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
        "vision_config": _QWEN2_5_VISION | {"out_hidden_size": 2048},
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "text_config": {
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
        "vision_config": _QWEN2_5_VISION | {"out_hidden_size": 3584},
        "tie_word_embeddings": False,
    },
}


@dataclass(frozen=True)
class Outline:
    """Numbers of weights, and the sizes that activations depend on."""

    name: str
    text_linear: int  # weights of the language model's linear layers
    lora_sites: int  # sum over those layers of inputs + outputs: adapter weights per unit of rank
    embeddings: int  # token embeddings, and the vocabulary head where it is not tied to them
    tower: int
    merger: int
    other: int
    layers: int
    hidden: int
    intermediate: int
    kv_width: int  # keys and values of one token and layer
    vocabulary: int
    vision_layers: int
    vision_hidden: int
    vision_intermediate: int
    patches_per_token: int

    @property
    def total(self) -> int:
        """All weights."""
        return self.text_linear + self.embeddings + self.tower + self.merger + self.other


def outline(name: str) -> Outline:
    """The outline of a model folder, a run directory or a hub id. Raises InputError."""
    config = _config(name)
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config)
    text, vision = config.get_text_config(), config.vision_config
    linear = [m for m in model.model.language_model.modules() if isinstance(m, nn.Linear)]
    visual = dict(model.model.visual.named_parameters())
    merger = sum(p.numel() for name, p in visual.items() if "merger" in name)
    tower = sum(p.numel() for p in visual.values()) - merger
    embeddings = sum(p.numel() for p in {model.get_input_embeddings().weight, model.lm_head.weight})
    text_linear = sum(m.weight.numel() for m in linear)
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Outline(
        name=name,
        text_linear=text_linear,
        lora_sites=sum(m.in_features + m.out_features for m in linear),
        embeddings=embeddings,
        tower=tower,
        merger=merger,
        other=sum(p.numel() for p in model.parameters()) - text_linear - embeddings - tower - merger,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        kv_width=2 * text.num_key_value_heads * head_dim,
        vocabulary=text.vocab_size,
        vision_layers=vision.depth,
        vision_hidden=getattr(vision, "embed_dim", None) or vision.hidden_size,
        vision_intermediate=getattr(vision, "intermediate_size", 4 * vision.hidden_size),
        patches_per_token=vision.spatial_merge_size**2,
    )


def _config(name: str) -> Any:
    if name in KNOWN:
        return Qwen2_5_VLConfig(**KNOWN[name])
    folder = base_folder(name)
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the configuration of {name}: {str(error).strip().splitlines()[0]}") from None
