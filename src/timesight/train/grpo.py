"""Group relative policy optimisation on video prompts (paper, section 3.1).

For each batch of prompts: encode the videos once, sample a group of replies from one prefill, reward them, and
take ``num_iterations`` steps on the clipped objective. ``GrpoTrainer.collect`` and ``GrpoTrainer.objective``
are the whole algorithm.
"""

from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import Dataset
from transformers import TrainerCallback

from timesight.errors import RecipeError, TrainingError
from timesight.model.adapter import adapter_off
from timesight.model.encode import PromptBatch, collate
from timesight.model.policy import Policy
from timesight.model.vision import VisionFeatures
from timesight.prefix.logprobs import completion_logprobs
from timesight.tasks import TASKS
from timesight.train.advantages import Scaling
from timesight.train.dataset import Item, PromptItem
from timesight.train.loss import grpo_loss
from timesight.train.rollout import Rollout, make_rollout, sample_groups
from timesight.train.settings import GrpoRecipe
from timesight.train.trainer import PromptTrainer
from timesight.types import Judge, Sample

COMPLETIONS_DIR = "completions"
LEAST_JUDGED, JUDGED_WINDOW = 20, 200  # replies: before their unscored share says anything; that it is taken of


@dataclass(eq=False)
class Experience:
    """A batch of prompts with rewarded replies, and what is needed to learn from it more than once."""

    prompts: PromptBatch
    features: VisionFeatures | None  # None once a step has made them stale
    rollout: Rollout
    advantages: Tensor  # (B · G,)
    ref_logps: Tensor | None  # (B · G, C)
    old_logps: Tensor | None = None  # (B · G, C), of the policy that sampled


class GrpoTrainer(PromptTrainer):
    """Samples from the policy it trains."""

    recipe: GrpoRecipe

    def __init__(
        self,
        policy: Policy,
        recipe: GrpoRecipe,
        out: Path,
        dataset: Dataset[Item],
        validation: Sequence[Sample],
        callbacks: Sequence[TrainerCallback],
        judge: Judge | None = None,
    ) -> None:
        super().__init__(policy, recipe, out, dataset, validation, callbacks, judge)
        if recipe.grpo.loss_type == "dapo" and self.is_deepspeed_enabled:
            raise RecipeError("loss_type dapo scales gradients after the backward pass; DeepSpeed hides them")
        self._reference = _reference(policy, recipe)
        self._scaling = Scaling(recipe.grpo.scale_rewards)
        self._experiences: deque[Experience | None] = deque(maxlen=recipe.train.accumulation)
        self._step_tokens = 0.0  # learned from since the last optimiser step
        self._kept_step = -1
        self._judged: deque[bool] = deque(maxlen=JUDGED_WINDOW)  # whether the judge scored each of the last replies

    def prompt_loss(self, items: list[PromptItem]) -> Tensor:
        """Sample and reward, then the objective."""
        self._experiences.append(self.collect(items))
        return self.objective(self._experiences[-1])

    def repeat_loss(self) -> Tensor:
        """The objective on replies that were sampled before."""
        self._experiences.rotate(-1)
        return self.objective(self._experiences[-1])

    def collect(self, items: list[PromptItem]) -> Experience | None:
        """Encode, sample and reward."""
        if not items:
            self._rewards_everywhere(None)
            return None
        policy, settings = self.policy, self.recipe.grpo
        prompts = collate(policy, [item.encoded for item in items])
        with self.stage("encode"):
            features = self.encode(prompts)
        with self.stage("sample"):
            sampled = sample_groups(policy, prompts, settings, features)
        with self.stage("reward"):
            rollout = make_rollout(items, sampled, settings, policy.device, self.judge)
            self._require_judgements(rollout)
            advantages = self._scaling(rollout.rewards, rollout.tasks, self._rewards_everywhere(rollout))
        with self.stage("reference"):
            ref_logps = self._reference_logps(prompts, rollout, features)
        self.note(**rollout.stats())
        self._keep(rollout, advantages)
        return Experience(prompts, features, rollout, advantages.flatten().to(policy.device), ref_logps)

    def objective(self, experience: Experience | None) -> Tensor:
        """The clipped objective of one batch, by the policy as it is now."""
        if experience is None:
            return self.zero_loss()
        policy, settings, rollout = self.policy, self.recipe.grpo, experience.rollout
        logps, entropy = completion_logprobs(
            policy,
            experience.prompts,
            rollout.completions,
            features=experience.features,
            temperature=settings.temperature,
        )
        if policy.trains_vision:
            experience.features = None
        if experience.old_logps is None:
            experience.old_logps = logps.detach()
        mask = rollout.learning_mask(settings)
        parts = grpo_loss(logps, experience.old_logps, experience.advantages, mask, settings, experience.ref_logps)
        num_tokens = rollout.completions.mask.sum()
        self.note(
            kl=parts.kl,
            clip_low_share=parts.clip_low_share,
            clip_high_share=parts.clip_high_share,
            entropy=float(entropy.sum() / num_tokens.clamp(min=1)),
            num_tokens=float(experience.prompts.mask.sum() + num_tokens),
        )
        self._step_tokens += float(mask.sum())
        if settings.loss_type == "dapo":  # passes that lost a video weigh as much less
            return parts.loss * len(rollout.items) / self.recipe.train.batch_size
        return parts.loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """One pass; after the last one of a step, dapo's divisor is known and replaces the one of dr_grpo."""
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            if self.recipe.grpo.loss_type == "dapo":
                self._scale_gradients_to_tokens()
            self._step_tokens = 0.0
        return loss

    def _scale_gradients_to_tokens(self) -> None:
        settings, train = self.recipe.grpo, self.recipe.train
        tokens = self.accelerator.reduce(torch.tensor(self._step_tokens, device=self.policy.device), "sum")
        rows = train.batch_size * settings.num_generations * train.accumulation * self.accelerator.num_processes
        factor = rows * settings.max_completion_length / tokens.clamp(min=1)
        for parameter in self.policy.model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)

    def _require_judgements(self, rollout: Rollout) -> None:
        """Raise TrainingError once the judge leaves more unscored than the recipe allows."""
        judge = self.recipe.judge
        if judge is None:
            return
        group = rollout.rewards.shape[1]
        for row, parts in enumerate(rollout.parts):
            if TASKS[rollout.tasks[row // group]].needs_judge:
                self._judged.append(None not in parts.values())
        total, unjudged = len(self._judged), self._judged.count(False)
        if total >= LEAST_JUDGED and unjudged > judge.max_unjudged_share * total:
            raise TrainingError(
                f"the judge left {unjudged} of the last {total} captions unscored, more than "
                f"judge.max_unjudged_share = {judge.max_unjudged_share}: see its warnings, mend it and run the "
                "same command again, which goes on from the newest checkpoint"
            )

    def _rewards_everywhere(self, rollout: Rollout | None) -> dict[str, Any] | None:
        """Rewards and tasks of all processes, where a scale needs them; every process asks, or none goes on."""
        if self.accelerator.num_processes == 1 or self._scaling.kind not in ("batch", "task"):
            return None
        mine = [] if rollout is None else list(zip(rollout.rewards.tolist(), rollout.tasks, strict=True))
        rows = gather_object(mine)
        return {"rewards": torch.tensor([rewards for rewards, _ in rows]), "tasks": [task for _, task in rows]}

    def _reference_logps(self, prompts: PromptBatch, rollout: Rollout, features: VisionFeatures) -> Tensor | None:
        if self._reference is None:
            return None
        shared = None if self.policy.trains_vision else features
        with torch.no_grad(), self._reference() as reference:
            logps, _ = completion_logprobs(
                reference, prompts, rollout.completions, features=shared, temperature=self.recipe.grpo.temperature
            )
        return logps

    def kept(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights and optimiser."""
        return {"reward_scaling": self._scaling.kept()}

    def restore(self, kept: dict[str, Any]) -> None:
        """Take up what ``kept`` gave."""
        self._scaling.restore(kept["reward_scaling"])

    def _keep(self, rollout: Rollout, advantages: Tensor) -> None:
        """Write the replies of this step, so that a reader can see what is being rewarded."""
        folder = Path(self.args.output_dir) / COMPLETIONS_DIR
        folder.mkdir(parents=True, exist_ok=True)
        group = advantages.shape[1]
        step = self.state.global_step + 1
        mode = "a" if step == self._kept_step else "w"  # accumulation adds; a step taken again starts over
        self._kept_step = step
        rank = self.accelerator.process_index
        name = f"step-{step:06d}.jsonl" if rank == 0 else f"step-{step:06d}.process-{rank}.jsonl"
        with (folder / name).open(mode, encoding="utf-8") as out:
            for row, (text, parts) in enumerate(zip(rollout.sampled.texts, rollout.parts, strict=True)):
                record = {
                    "id": rollout.items[row // group].sample.id,
                    "reply": text,
                    "rewards": dict(parts),
                    "advantage": round(float(advantages.flatten()[row]), 4),
                }
                out.write(json.dumps(record) + "\n")


def _reference(policy: Policy, recipe: GrpoRecipe) -> Callable[[], AbstractContextManager[Policy]] | None:
    """How to get at the policy as it was at the start: a frozen copy, or the policy with its adapter off."""
    if recipe.grpo.beta == 0:
        return None
    if recipe.train.lora is not None:
        return lambda: adapter_off(policy)
    model = copy.deepcopy(policy.model).eval().requires_grad_(False)
    frozen = Policy(model, policy.processor, policy.name, policy.autocast_bf16)
    return lambda: nullcontext(frozen)
