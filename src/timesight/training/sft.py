"""Supervised fine-tuning on gold replies with their end tokens, and where a recipe says so on the prompt too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from timesight.model.encode import EncodedPrompt, cut_after_videos
from timesight.model.policy import Policy
from timesight.model.vision import FeatureStore
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import build_tree
from timesight.tasks import TASKS, TaskRegistry
from timesight.training.dataset import Item, PromptItem, readable
from timesight.training.empty_batch import zero_loss
from timesight.training.losses import replies_weight, sft_loss
from timesight.training.metrics import MetricsLog
from timesight.training.settings import SftRecipe
from timesight.video import Quarantine


@dataclass(frozen=True, eq=False)
class GoldBatch:
    """One micro-batch of prompts, with the token ids that follow and are learned."""

    tasks: list[str]
    prompts: list[EncodedPrompt]
    targets: list[list[int]]
    weight_per_pass: float  # see ``sft_loss``


class Sft:
    """Cross-entropy of the gold replies of a step, averaged as the recipe's ``loss_average`` says.

    Args:
        policy: The policy to train.
        recipe: The recipe of the run.
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
        self._policy, self._recipe = policy, recipe
        self._accelerator, self._metrics, self._quarantine = accelerator, metrics, quarantine
        self._store, self._tasks = store, tasks

    def collect(self, step: int, micro_batches: Sequence[Sequence[Item]]) -> list[GoldBatch]:
        """The readable prompts of each micro-batch, with their gold replies."""
        batches = [readable(items, self._quarantine, self._metrics) for items in micro_batches]
        learned = [[self._target(item) for item in batch] for batch in batches]
        lengths = [len(target) for batch in learned for _, target in batch]
        mine = replies_weight(lengths, self._recipe.loss_average)
        total = self._accelerator.reduce(torch.tensor(mine, device=self._policy.device), "sum")
        per_pass = float(total) / (len(batches) * self._accelerator.num_processes)
        return [
            GoldBatch([item.sample.task for item in items], [p for p, _ in batch], [t for _, t in batch], per_pass)
            for items, batch in zip(batches, learned, strict=True)
        ]

    def loss(self, batch: GoldBatch) -> Tensor:
        """Of one micro-batch; also reports ``loss/TASK``, the mean of the task's replies, in nats per token."""
        policy = self._policy
        if not batch.prompts:
            return zero_loss(policy)
        tree = build_tree(policy, batch.prompts).with_replies(batch.targets)
        tree = tree.with_features(tree.vision(policy, self._store))
        logps, _ = completion_logprobs(policy, tree, suppress_banned=self._recipe.completion_only_loss)
        mask = tree.leaves.mask
        nats = (-(logps.detach() * mask).sum(1) / mask.sum(1)).tolist()  # all at once: a GPU is waited for once
        for task, of_reply in zip(batch.tasks, nats, strict=True):
            self._metrics.log_metrics(**{f"loss/{task}": of_reply})
        return sft_loss(logps, mask, self._recipe.loss_average, batch.weight_per_pass)

    def state_dict(self) -> dict[str, Any]:
        """Nothing but weights and optimizer."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _target(self, item: PromptItem) -> tuple[EncodedPrompt, list[int]]:
        """What is given, and the token ids that are learned."""
        tokenizer = self._policy.processor.tokenizer
        gold = self._tasks.of(item.sample).gold(item.sample, item.think)
        reply = [*tokenizer.encode(gold, add_special_tokens=False), tokenizer.eos_token_id]
        if self._recipe.completion_only_loss:
            return item.encoded, reply
        before, text = cut_after_videos(self._policy, item.encoded)
        return before, [*text, *reply]
