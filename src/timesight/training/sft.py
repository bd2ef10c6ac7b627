"""Supervised fine-tuning on gold replies; the loss is taken on the reply only, its end token included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from timesight.model.policy import Policy
from timesight.model.vision import FeatureStore
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.tasks import TASKS, TaskRegistry
from timesight.training.batches import zero_loss
from timesight.training.dataset import Item, PromptItem, readable
from timesight.training.losses import replies_weight, sft_loss
from timesight.training.metrics import MetricsLog
from timesight.training.settings import SftRecipe
from timesight.video import Quarantine


@dataclass(frozen=True, eq=False)
class GoldBatch:
    """One micro-batch of prompts with their gold replies."""

    items: list[PromptItem]
    replies: list[list[int]]  # token ids, the end token included
    weight_per_pass: float  # see ``sft_loss``


class Sft:
    """Cross-entropy of the gold replies of a step, averaged as the recipe's ``loss_average`` says.

    Args:
        policy: Learns.
        recipe: How.
        accelerator: Of the run.
        metrics: Where it reports.
        quarantine: Where broken videos go.
        store: A frozen tower's features on disk.
        tasks: Of the samples.
    """

    num_iterations = 1

    def __init__(
        self,
        policy: Policy,
        recipe: SftRecipe,
        accelerator: Accelerator,
        metrics: MetricsLog,
        quarantine: Quarantine,
        store: FeatureStore | None = None,
        tasks: TaskRegistry = TASKS,
    ) -> None:
        self._policy, self._average = policy, recipe.loss_average
        self._accelerator, self._metrics, self._quarantine = accelerator, metrics, quarantine
        self._store, self._tasks = store, tasks

    def collect(self, step: int, micro_batches: Sequence[Sequence[Item]]) -> list[GoldBatch]:
        """The readable prompts of each micro-batch, with their gold replies."""
        batches = [readable(items, self._quarantine, self._metrics) for items in micro_batches]
        replies = [[self._gold_ids(item) for item in batch] for batch in batches]
        mine = sum(replies_weight(map(len, of_batch), self._average) for of_batch in replies)
        total = self._accelerator.reduce(torch.tensor(mine, device=self._policy.device), "sum")
        per_pass = float(total) / (len(batches) * self._accelerator.num_processes)
        return [GoldBatch(*batch, per_pass) for batch in zip(batches, replies, strict=True)]

    def loss(self, batch: GoldBatch) -> Tensor:
        """Of one micro-batch; also reports ``loss/TASK``, the mean of the task's replies, in nats per token."""
        policy = self._policy
        if not batch.items:
            return zero_loss(policy)
        tree = build_tree(policy, [item.encoded for item in batch.items]).with_replies(batch.replies)
        tree = tree.with_features(tree.vision(policy, self._store))
        logps, _ = completion_logprobs(policy, tree)
        mask = tree.leaves.mask
        for item, nats in zip(batch.items, -(logps.detach() * mask).sum(1) / mask.sum(1), strict=True):
            self._metrics.log_metrics(**{f"loss/{item.sample.task}": float(nats)})
        return sft_loss(logps, mask, self._average, batch.weight_per_pass)

    def state_dict(self) -> dict[str, Any]:
        """Nothing but weights and optimizer."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take up."""

    def _gold_ids(self, item: PromptItem) -> list[int]:
        tokenizer = self._policy.processor.tokenizer
        gold = self._tasks.of(item.sample).gold(item.sample, item.think)
        return [*tokenizer.encode(gold, add_special_tokens=False), tokenizer.eos_token_id]
