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

from timesight.video import FrameBudget


@dataclass(eq=False)
class Policy:
    """A video language model and its processor.

    ``autocast_bf16`` runs matrix products in bf16 while weights stay in their own type.
    """

    model: Any
    processor: Any
    name: str
    autocast_bf16: bool = False
    wrapped: Any = None  # the model as a trainer on several cards has wrapped it: gradients are shared through it

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

    def __call__(self, **inputs: Any) -> Any:
        """A forward pass of the model, through its wrapping where there is one."""
        return (self.model if self.wrapped is None else self.wrapped)(**inputs)

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
