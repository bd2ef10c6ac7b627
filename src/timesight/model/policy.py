"""A policy: a model with its processor, and what follows from them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from timesight.model.families import Family, family_of
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
    wrapped: Any = None  # the model as a trainer on several GPUs has wrapped it: gradients are shared through it
    sharded: bool = False  # no process holds all weights: passes are made under ``gathered``, or by all in step

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
        """The paper's budget, within the limits of the model's own processor."""
        paper, own = FrameBudget(), self.processor.video_processor
        return FrameBudget(
            max_frames=min(paper.max_frames, own.max_frames),
            min_pixels=own.size["shortest_edge"],
            max_pixels=own.size["longest_edge"],
            total_pixels=getattr(own, "total_pixels", paper.total_pixels),  # our tiny models' own setting
        )

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a reply."""
        ids = self.model.generation_config.eos_token_id
        ids = [self.processor.tokenizer.eos_token_id] if ids is None else ids
        return frozenset(ids if isinstance(ids, list) else [ids])

    @cached_property
    def family(self) -> Family:
        """What is known of the model's family."""
        return family_of(self.model.config)

    @property
    def packing_unsupported_reason(self) -> str | None:
        """Why prompts cannot be shared in this policy's passes, or None where they can."""
        return self.family.packing_unsupported_reason(self.model)

    def special_token_in(self, text: str) -> str | None:
        """A special token of the model that ``text`` holds and would be read as, such as the video placeholder."""
        return next((token for token in self._special_tokens if token in text), None)

    @cached_property
    def _special_tokens(self) -> list[str]:
        added = self.processor.tokenizer.added_tokens_decoder.values()
        return [token.content for token in added if token.content.startswith("<|")]

    @cached_property
    def banned_token_ids(self) -> tuple[int, ...]:
        """Tokens that are never sampled; the family's, see ``Family.banned_token_ids``."""
        size = self.model.config.get_text_config().vocab_size
        return self.family.banned_token_ids(self.processor.tokenizer, size, self.end_ids)

    @cached_property
    def banned_mask(self) -> Tensor:
        """(V,) True for ``banned_token_ids``.

        The ban is part of the policy: sampling and log-probs both renormalize over what is left.
        """
        banned = torch.zeros(self.model.config.get_text_config().vocab_size, dtype=torch.bool)
        banned[list(self.banned_token_ids)] = True
        return banned.to(self.device)

    @property
    def needs_autocast(self) -> bool:
        """Whether its passes are in bf16 by autocast alone, and not by their weights."""
        return self.autocast_bf16 and self.model.dtype == torch.float32

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
            if self.family.vision_part(name) in parts:
                parameter.requires_grad_(False)

    @property
    def trains_vision(self) -> bool:
        """Whether any weight of the vision tower is trainable, so that its features change with each step."""
        return any(p.requires_grad for p in self.core.visual.parameters())

    def save(self, out: Path, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write an ordinary Hugging Face folder; with these ``weights``, where the model's own are sharded."""
        self.model.save_pretrained(out, state_dict=weights)
        self.processor.save_pretrained(out)


def frozen_copy(policy: Policy) -> Policy:
    """The policy as it is now, which later updates do not change.

    Under autocast its linear layers are kept in bf16, at half the memory: autocast would turn them into that at
    each pass, so the results are the same to the last bit. A head that is tied to the embeddings stays as it is.
    """
    model = copy.deepcopy(policy.model).eval().requires_grad_(False)
    if policy.autocast_bf16:
        embedding = model.get_input_embeddings().weight
        for module in model.modules():
            if type(module) is nn.Linear and module.weight is not embedding:
                module.to(torch.bfloat16)
    return Policy(model, policy.processor, policy.name, policy.autocast_bf16)
