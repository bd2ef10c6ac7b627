"""A policy: model, processor and what the rest of the house must know about their family."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig
from transformers.trainer_utils import get_last_checkpoint

from timesight.errors import InputError
from timesight.policy.speed import speed_up
from timesight.policy.tiny import EMBEDDED, embedded_path
from timesight.video import FrameBudget

ADAPTER_FILE = "adapter_config.json"
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@dataclass(eq=False)
class Policy:
    """A video language model and its processor.

    ``autocast_bf16`` runs matrix products in bf16 while weights stay in their own type.
    """

    model: Any
    processor: Any
    name: str
    autocast_bf16: bool = False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.model.device)

    @cached_property
    def factor(self) -> int:
        """Frame sides are multiples of this many pixels: patch size times merge size."""
        return int(self.processor.video_processor.patch_size * self.processor.video_processor.merge_size)

    @cached_property
    def default_budget(self) -> FrameBudget:
        """The paper's budget, within the frame size that the model's own processor asks for."""
        size = self.processor.video_processor.size
        return FrameBudget(min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"])

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a reply."""
        ids = self.model.generation_config.eos_token_id
        ids = [self.processor.tokenizer.eos_token_id] if ids is None else ids
        return frozenset(ids if isinstance(ids, list) else [ids])

    @cached_property
    def banned_mask(self) -> Tensor:
        """(V,) True where a token never belongs in a reply: vision and control tokens, ids without a token.

        The ban is part of the policy: sampling and log-probs both renormalise over what is left. Qwen's
        ``<think>``-like added tokens are ordinary text and stay.
        """
        tokenizer = self.processor.tokenizer
        size = self.model.config.get_text_config().vocab_size
        banned = torch.zeros(size, dtype=torch.bool)
        banned[len(tokenizer) :] = True
        special = {int(i) for i in tokenizer.all_special_ids}
        special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.content.startswith("<|")}
        banned[sorted(special - self.end_ids)] = True
        return banned.to(self.device)

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """The arithmetic every forward pass of this policy runs in."""
        if not self.autocast_bf16:
            yield
            return
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            yield

    @property
    def core(self) -> Any:
        """The model below the vocabulary head."""
        return self.model.model

    def freeze(self, *parts: str) -> None:
        """Leave ``parts`` of the vision tower as they are: ``tower``, and ``merger``, which leads to the text."""
        for name, parameter in self.core.visual.named_parameters():
            part = "merger" if "merger" in name else "tower"
            if part in parts:
                parameter.requires_grad_(False)

    @property
    def trains_vision(self) -> bool:
        """Whether any weight of the vision tower learns, so that its features must be computed anew each step."""
        return any(p.requires_grad for p in self.core.visual.parameters())

    def save(self, out: Path) -> None:
        """Write an ordinary Hugging Face folder."""
        self.model.save_pretrained(out)
        self.processor.save_pretrained(out)


def load_policy(path: str | Path = EMBEDDED, *, device: str | None = None, dtype: str = "auto") -> Policy:
    """Load a Qwen-VL model from a folder, a run directory or hub id; without a path, the embedded tiny model.

    ``dtype``: ``float32``, ``bfloat16`` or ``auto``: on GPUs the checkpoint's own type, on CPUs float32
    weights with bf16 matrix products where the processor has instructions for them. Raises InputError.
    """
    where = _resolve(path)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_cpu = device.startswith("cpu")
    kind: Any = {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(
        dtype, torch.float32 if on_cpu else "auto"
    )
    try:
        config = AutoConfig.from_pretrained(where)
        if config.model_type not in FAMILIES:
            raise InputError(f"{path} is a {config.model_type} model; supported: {', '.join(FAMILIES)}")
        model = AutoModelForImageTextToText.from_pretrained(where, config=config, dtype=kind)
        processor = AutoProcessor.from_pretrained(where)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"cannot load a model from {path}: {first_line}") from None
    return as_policy(model.to(device), processor, str(path), autocast_bf16=dtype == "auto" and on_cpu)


def _resolve(path: str | Path) -> str | Path:
    """The folder to load: the embedded model by name, a run directory by its newest checkpoint."""
    if str(path) == EMBEDDED:
        return embedded_path()
    folder = Path(path)
    if folder.is_file():
        raise InputError(f"{path} is a file: a model is a folder or a hub id")
    if folder.is_dir() and not (folder / "config.json").exists():
        newest = get_last_checkpoint(str(folder))
        if newest is None:
            raise InputError(f"{path} holds no model: neither config.json nor a checkpoint")
        return str(newest)
    looks_local = str(path).startswith((".", "/", "~")) or str(path).count("/") > 1
    if looks_local and not folder.exists():
        raise InputError(f"no model at {path}: there is no such folder")
    return path


def as_policy(model: Any, processor: Any, name: str, *, autocast_bf16: bool = False) -> Policy:
    """Wrap a model and processor that are already in memory."""
    if model.generation_config is None:
        model.generation_config = GenerationConfig()
    speed_up(model)
    bf16_is_fast = model.device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return Policy(model, processor, name, autocast_bf16=autocast_bf16 and bf16_is_fast)
