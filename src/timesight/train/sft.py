"""Supervised fine-tuning on gold replies; the loss is taken on the reply only, its end token included."""

from __future__ import annotations

from torch import Tensor

from timesight.model.encode import collate
from timesight.prefix.layout import Completions
from timesight.prefix.logprobs import completion_logprobs
from timesight.tasks import TASKS
from timesight.train.dataset import PromptItem
from timesight.train.loss import sft_loss
from timesight.train.settings import SftRecipe
from timesight.train.trainer import PromptTrainer


class SftTrainer(PromptTrainer):
    """Cross-entropy of the gold replies of a batch, averaged as the recipe's ``loss_average`` says."""

    recipe: SftRecipe

    def prompt_loss(self, items: list[PromptItem]) -> Tensor:
        """The loss of one batch."""
        if not items:
            return self.zero_loss()
        policy = self.policy
        tokenizer = policy.processor.tokenizer
        golds = [TASKS[item.sample.task].gold(item.sample, item.think) for item in items]
        replies = [[*tokenizer.encode(gold, add_special_tokens=False), tokenizer.eos_token_id] for gold in golds]
        prompts = collate(policy, [item.encoded for item in items])
        completions = Completions.of(replies, len(items), policy.device)
        logps, _ = completion_logprobs(policy, prompts, completions, features=self.encode(prompts))
        return sft_loss(logps, completions.mask, self.recipe.loss_average)
