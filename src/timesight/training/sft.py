"""Supervised fine-tuning on gold replies; the loss is taken on the reply only, its end token included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from timesight.model.policy import Policy
from timesight.model.vision import FeatureStore, encode_videos
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.tasks import TASKS, TaskRegistry
from timesight.training.batches import zero_loss
from timesight.training.dataset import Item, PromptItem, readable
from timesight.training.losses import sft_loss
from timesight.training.metrics import MetricsLog
from timesight.training.settings import SftRecipe
from timesight.video import Quarantine


class Sft:
    """Cross-entropy of the gold replies of a batch, averaged as the recipe's ``loss_average`` says."""

    num_iterations = 1

    def __init__(
        self,
        policy: Policy,
        recipe: SftRecipe,
        quarantine: Quarantine,
        metrics: MetricsLog,
        store: FeatureStore | None = None,
        tasks: TaskRegistry = TASKS,
    ) -> None:
        self._policy = policy
        self._recipe = recipe
        self._quarantine = quarantine
        self._metrics = metrics
        self._store = store
        self._tasks = tasks

    def collect(self, step: int, micro_batches: Sequence[Sequence[Item]]) -> list[list[PromptItem]]:
        """The readable prompts."""
        return [readable(items, self._quarantine, self._metrics) for items in micro_batches]

    def loss(self, batch: list[PromptItem]) -> Tensor:
        """Of one micro-batch."""
        policy = self._policy
        if not batch:
            return zero_loss(policy)
        tokenizer = policy.processor.tokenizer
        golds = [self._tasks.of(item.sample).gold(item.sample, item.think) for item in batch]
        replies = [[*tokenizer.encode(gold, add_special_tokens=False), tokenizer.eos_token_id] for gold in golds]
        tree = build_tree(policy, [item.encoded for item in batch], share=False).with_replies(replies)
        tree = tree.with_features(encode_videos(policy, tree.patches, tree.grid_thw, self._store))
        logps, _ = completion_logprobs(policy, tree)
        return sft_loss(logps, tree.leaves.mask, self._recipe.loss_average)

    def state_dict(self) -> dict[str, Any]:
        """Nothing but weights and optimizer."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""
