"""A model without its weights: how many of them there are, by part, and how wide and deep it is.

Enough to say what a run will need before anything is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from timesight.errors import InputError
from timesight.model.families import FAMILIES, family_of
from timesight.model.load import base_folder
from timesight.model.tiny import EMBEDDED, NEW


@dataclass(frozen=True)
class ModelShape:
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
    pixels_per_token: int  # of one frame
    frames_per_token: int

    @property
    def total(self) -> int:
        """All weights."""
        return self.text_linear + self.embeddings + self.tower + self.merger + self.other

    @property
    def reference_bytes(self) -> int:
        """Of a frozen copy: linear layers in bf16, token embeddings in float32."""
        token_embeddings = self.vocabulary * self.hidden
        return 2 * (self.total - token_embeddings) + 4 * token_embeddings


def model_shape(name: str) -> ModelShape:
    """The shape of a model folder, a run directory or a hub id. Raises InputError."""
    config = _config(name)
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config)
    text, vision = config.get_text_config(), config.vision_config
    linear = [m for m in model.model.language_model.modules() if isinstance(m, nn.Linear)]
    family = family_of(config)
    weights = {"tower": 0, "merger": 0}
    for parameter, weight in model.model.visual.named_parameters():
        weights[family.vision_part(parameter)] += weight.numel()
    embeddings = sum(p.numel() for p in {model.get_input_embeddings().weight, model.lm_head.weight})
    text_linear = sum(m.weight.numel() for m in linear)
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    vision_hidden = getattr(vision, "embed_dim", None) or vision.hidden_size
    return ModelShape(
        name=name,
        text_linear=text_linear,
        lora_sites=sum(m.in_features + m.out_features for m in linear),
        embeddings=embeddings,
        **weights,
        other=sum(p.numel() for p in model.parameters()) - text_linear - embeddings - sum(weights.values()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        kv_width=2 * text.num_key_value_heads * head_dim,
        vocabulary=text.vocab_size,
        vision_layers=vision.depth,
        vision_hidden=vision_hidden,
        vision_intermediate=getattr(vision, "intermediate_size", 4 * vision_hidden),
        patches_per_token=vision.spatial_merge_size**2,
        pixels_per_token=family.pixels_per_token(vision),
        frames_per_token=family.frames_per_token(vision),
    )


def _config(name: str) -> Any:
    for family in FAMILIES.values():
        if name in family.published:
            return family.published[name]
    if name.startswith(NEW):
        raise InputError(f"{name} does not exist before its run: --set model={EMBEDDED} names one of its size")
    folder = base_folder(name)
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the configuration of {name}: {str(error).strip().splitlines()[0]}") from None
