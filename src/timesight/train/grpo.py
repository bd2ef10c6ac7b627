"""Group relative policy optimisation on video prompts (paper, section 3.1).

For each prompt: encode the video once, sample a group of replies from one prefill, reward them, and take
one step on the clipped objective. ``prompt_loss`` is the whole algorithm.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import TrainerCallback

from timesight.policy.encode import collate
from timesight.policy.load import Policy
from timesight.policy.logprobs import completion_logprobs
from timesight.policy.vision import encode_vision
from timesight.train.dataset import Item, PromptItem
from timesight.train.loss import grpo_loss
from timesight.train.recipe import GrpoRecipe
from timesight.train.rollout import Rollout, make_rollout
from timesight.train.trainer import PromptTrainer, synced_seconds

COMPLETIONS_DIR = "completions"


class GrpoTrainer(PromptTrainer):
    """Samples from the policy it trains; one update for each batch of replies."""

    recipe: GrpoRecipe

    def __init__(
        self,
        policy: Policy,
        recipe: GrpoRecipe,
        out: Path,
        dataset: Dataset[Item],
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        super().__init__(policy, recipe, out, dataset, callbacks)
        self._reference = _frozen_copy(policy) if recipe.grpo.beta > 0 else None
        self._kept_step = -1

    def prompt_loss(self, items: list[PromptItem]) -> Tensor:
        """Sample, reward, and the clipped objective of one batch."""
        policy, settings = self.policy, self.recipe.grpo
        begin = synced_seconds(policy.device)
        prompts = collate(policy, [item.encoded for item in items])
        with policy.precision():
            features = encode_vision(policy, prompts)
        encoded = synced_seconds(policy.device)
        rollout = make_rollout(policy, items, prompts, features, settings)
        sampled = synced_seconds(policy.device)
        logps, entropy = completion_logprobs(
            policy, prompts, rollout.completions, features=features, temperature=settings.temperature
        )
        parts = grpo_loss(
            logps,
            old_logps=logps.detach(),  # one update a batch: the policy that sampled is the one that learns
            advantages=rollout.advantages,
            mask=rollout.completions.mask,
            epsilon=settings.epsilon,
            beta=settings.beta,
            ref_logps=self._reference_logps(prompts, rollout),
        )
        self.note(
            **rollout.stats(),
            kl=parts.kl,
            clip_share=parts.clip_share,
            entropy=float(entropy.sum() / rollout.completions.mask.sum()),
            encode_s=encoded - begin,
            sample_s=sampled - encoded,
            forward_s=synced_seconds(policy.device) - sampled,
        )
        self._keep(items, rollout)
        return parts.loss

    def _reference_logps(self, prompts: Any, rollout: Rollout) -> Tensor | None:
        if self._reference is None:
            return None
        with torch.no_grad():
            logps, _ = completion_logprobs(
                self._reference, prompts, rollout.completions, temperature=self.recipe.grpo.temperature
            )
        return logps

    def _keep(self, items: Sequence[PromptItem], rollout: Rollout) -> None:
        """Write the replies of this step, so that a reader can see what is being rewarded."""
        folder = Path(self.args.output_dir) / COMPLETIONS_DIR
        folder.mkdir(exist_ok=True)
        group = self.recipe.grpo.num_generations
        step = self.state.global_step + 1
        mode = "a" if step == self._kept_step else "w"  # accumulation adds; a step taken again starts over
        self._kept_step = step
        with (folder / f"step-{step:06d}.jsonl").open(mode, encoding="utf-8") as out:
            for row, (text, parts) in enumerate(zip(rollout.sampled.texts, rollout.parts, strict=True)):
                record = {
                    "id": items[row // group].sample.id,
                    "reply": text,
                    "rewards": dict(parts),
                    "advantage": round(float(rollout.advantages[row]), 4),
                }
                out.write(json.dumps(record) + "\n")


def _frozen_copy(policy: Policy) -> Policy:
    model = copy.deepcopy(policy.model).eval().requires_grad_(False)
    return Policy(model, policy.processor, policy.name, policy.autocast_bf16)
