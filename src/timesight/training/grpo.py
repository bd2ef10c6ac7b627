"""Group relative policy optimization on video prompts (paper, section 3.1).

``collect`` samples a group of replies to each prompt of a step, rewards them and turns rewards into advantages;
``loss`` is the clipped objective on one micro-batch of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from timesight.artifacts import COMPLETIONS_DIR, CompletionEntry, write_records
from timesight.errors import TrainingError
from timesight.generate.base import Completion, Generator, Sampling
from timesight.model.adapter import adapter_off
from timesight.model.policy import Policy, frozen_copy
from timesight.model.vision import FeatureStore
from timesight.prefix.logprobs import completion_logprobs
from timesight.prefix.tree import PrefixTree, build_tree
from timesight.tasks import TASKS, TaskRegistry
from timesight.training.advantages import AdvantageNormalizer, StepRewards
from timesight.training.dataset import Item, PromptItem, readable
from timesight.training.empty_batch import zero_loss
from timesight.training.look_again import SecondLooks
from timesight.training.losses import LossInputs, find_loss
from timesight.training.metrics import MetricsLog
from timesight.training.rollout import Rollout, Sampler, StepOutcome
from timesight.training.settings import GrpoRecipe
from timesight.training.sharding import full_weights, gathered, shard_frozen
from timesight.types import Judge
from timesight.video import Quarantine

LEAST_JUDGED, JUDGED_WINDOW = 20, 200  # replies: before their unscored share says anything; that it is taken of

Reference = Callable[[], AbstractContextManager[Policy | None]]
Draw = Callable[[Sequence[int], int], list[list[Item]]]  # seed, number of entries


@dataclass(eq=False)
class Experience:
    """One micro-batch of replies with what is learned from them. R replies of up to C tokens."""

    tree: PrefixTree
    mask: Tensor  # (R, C) tokens that are learned from
    advantages: Tensor  # (R,)
    ref_logps: Tensor | None  # (R, C)
    sampling_logps: Tensor | None  # (R, C)
    tokens_per_pass: float = 0.0
    replies_per_pass: float = 0.0
    old_logps: Tensor | None = None  # (R, C), known once the first update has computed them


class Grpo:
    """GRPO as an ``Algorithm`` of the training loop.

    Args:
        policy: The policy to train.
        recipe: The recipe of the run.
        out: The run directory; replies are written to ``completions/``.
        accelerator: Of the run.
        metrics: Where it reports.
        quarantine: Where broken videos go.
        generator: Samples replies.
        reference: From ``reference_of``, before the policy has learned anything; by default there is none.
        judge: For tasks whose rewards take one.
        store: A frozen tower's features on disk.
        draw: Gives the items of so many other entries, for ``dynamic_sampling``.
        second_looks: Makes the prompts of a second turn, for ``train.look_again``.
        tasks: Of the samples.
    """

    def __init__(
        self,
        policy: Policy,
        recipe: GrpoRecipe,
        out: Path,
        accelerator: Accelerator,
        metrics: MetricsLog,
        quarantine: Quarantine,
        generator: Generator,
        reference: Reference = nullcontext,
        judge: Judge | None = None,
        store: FeatureStore | None = None,
        draw: Draw = lambda seed, count: [],
        second_looks: SecondLooks | None = None,
        tasks: TaskRegistry = TASKS,
    ) -> None:
        self.num_iterations = recipe.grpo.num_iterations
        self._policy, self._recipe, self._settings, self._out = policy, recipe, recipe.grpo, out
        self._accelerator, self._metrics, self._quarantine = accelerator, metrics, quarantine
        self._generator, self._store, self._draw, self._tasks = generator, store, draw, tasks
        self._looks_again = second_looks is not None
        sampling = Sampling(
            temperature=recipe.grpo.temperature,
            max_new_tokens=recipe.grpo.max_completion_length,
            suppress_tokens=policy.banned_token_ids,
        )
        grpo = recipe.grpo
        self._sampler = Sampler(
            generator, grpo.num_generations, sampling, grpo.reward_weights, judge, tasks, second_looks
        )
        self._loss = find_loss(recipe.grpo.loss_type, recipe.grpo.loss_options())
        self._reference = reference
        self._normalizer = AdvantageNormalizer(recipe.grpo.scale_rewards)
        self._judged: deque[bool] = deque(maxlen=JUDGED_WINDOW)  # whether the judge scored each of the last replies

    def collect(self, step: int, micro_batches: Sequence[Sequence[Item]]) -> list[Experience | None]:
        """Sample, reward and compare: the whole step at once, then in micro-batches; None for an empty one.

        With second looks, each micro-batch of first turns is followed by one of second turns.
        """
        batches = [readable(items, self._quarantine, self._metrics) for items in micro_batches]
        if self._generator.takes_weights:
            self._push(step - 1)
        with gathered(self._policy):
            rollouts = self._roll_out(batches)
            for attempt in range(self._settings.dynamic_sampling):
                self._replace(rollouts, (self._recipe.seed, step, attempt))
        advantages = self._advantages(step, [rollout for rollout in rollouts if rollout is not None])
        experiences: list[Experience | None] = []
        with self._reference() as reference:
            for rollout in rollouts:
                turns: list[Experience | None] = [None, None]
                if rollout is not None:
                    turns = self._turns(rollout, next(advantages).flatten(), reference)
                experiences += turns[: 2 if self._looks_again else 1]
        self._share_out(experiences)
        return experiences

    def loss(self, batch: Experience | None) -> Tensor:
        """The clipped objective of one micro-batch, by the policy as it is now."""
        if batch is None:
            return zero_loss(self._policy)
        logps, entropy = completion_logprobs(self._policy, batch.tree, temperature=self._settings.temperature)
        if self._policy.trains_vision:  # features hold the graph of this pass
            batch.tree = batch.tree.with_features(None)
        if batch.old_logps is None:
            batch.old_logps = logps.detach()
        output = self._loss(
            LossInputs(
                logps=logps,
                old_logps=batch.old_logps,
                advantages=batch.advantages,
                mask=batch.mask,
                tokens_per_pass=batch.tokens_per_pass,
                replies_per_pass=batch.replies_per_pass,
                max_completion_length=self._settings.max_completion_length,
                ref_logps=batch.ref_logps,
                sampling_logps=batch.sampling_logps,
            )
        )
        num_tokens = batch.tree.leaves.mask.sum()
        self._metrics.log_metrics(
            **output.metrics,
            entropy=float(entropy.sum() / num_tokens.clamp(min=1)),
            num_tokens=float(sum(level.mask.sum() for level in batch.tree.levels)),
        )
        return output.loss

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps besides weights and optimizer."""
        return {"advantages": self._normalizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._normalizer.load_state_dict(state["advantages"])

    # Rollout

    def _push(self, version: int) -> None:
        """Send the current weights to the generator."""
        with self._metrics.stage("push"):
            weights = full_weights(self._accelerator, self._policy)
            self._generator.update_weights(self._policy, version, weights)
            self._accelerator.wait_for_everyone()

    def _roll_out(self, batches: Sequence[Sequence[PromptItem]]) -> list[Rollout | None]:
        """Replies with rewards, sampled for all ``batches`` at once; None for an empty batch."""
        with self._metrics.stage("encode"):
            with_features = [self._with_features(batch, len(batches)) for batch in batches]
        items = [item for batch in with_features for item in batch]
        if not items:
            return [None] * len(batches)
        with self._metrics.stage("sample"):
            completions = self._sampler.sample(items)
            turns = self._sampler.look_again(items, completions, self._with_frozen_features)
        with self._metrics.stage("reward"):
            rollout = self._sampler.rollout(items, completions, turns)
            self._require_judgements(rollout)
        firsts = accumulate(map(len, batches), initial=0)
        return [
            rollout.part(first, len(batch)) if batch else None
            for first, batch in zip(firsts, batches, strict=False)
        ]

    def _with_frozen_features(self, items: Sequence[PromptItem]) -> list[PromptItem]:
        """Prompts of second looks with their features, which serve the update where the tower does not learn."""
        return list(items) if self._policy.trains_vision else self._with_features(items, 1)

    def _with_features(self, items: Sequence[PromptItem], num_batches: int) -> list[PromptItem]:
        """The prompts of a micro-batch with the features of their videos.

        Where the tower learns, they serve the update too if it is a single pass of whole weights over just these
        prompts; else the update computes its own.
        """
        if not items:
            return []
        is_single = num_batches == 1 and not self._settings.dynamic_sampling and not self._policy.sharded
        serves_update = self._policy.trains_vision and is_single
        tree = build_tree(self._policy, [item.encoded for item in items])
        with torch.set_grad_enabled(serves_update):
            tree = tree.with_features(tree.vision(self._policy, self._store))
        return [
            replace(item, encoded=replace(item.encoded, features=features))
            for item, features in zip(items, tree.prompt_features(), strict=True)
        ]

    def _replace(self, rollouts: list[Rollout | None], seed: Sequence[int]) -> None:
        """Put entries drawn by ``seed`` in place of those whose groups all have zero std (DAPO, section 3.2).

        One whose video cannot be read, or that has zero std too, stays out: the old one teaches as much.
        """
        entries = [[] if rollout is None else rollout.entries() for rollout in rollouts]
        flat = [
            (number, n) for number, mine in enumerate(entries) for n, of in enumerate(mine) if not of.has_reward_std
        ]
        if not flat:
            return
        drawn = [readable(items, self._quarantine, self._metrics) for items in self._draw(seed, len(flat))]
        fresh = self._roll_out(drawn)
        for (number, n), rollout in zip(flat, fresh, strict=True):
            if rollout is not None and rollout.has_reward_std:
                entries[number][n] = rollout
                self._metrics.log_metrics(num_replaced=1.0)
        rollouts[:] = [Rollout.join(mine) if mine else None for mine in entries]

    def _advantages(self, step: int, rollouts: Sequence[Rollout]) -> Iterator[Tensor]:
        """(B, G) advantages of each rollout, whose replies are written and reported."""
        outcomes = gather_object([rollout.outcome for rollout in rollouts])  # of all processes
        if not outcomes:
            return iter(())
        outcome = StepOutcome.join(outcomes)
        self._metrics.log_metrics(**outcome.stats())
        everywhere = StepRewards(torch.tensor(outcome.rewards), outcome.tasks)
        if not rollouts:
            self._normalizer.observe(everywhere)
            return iter(())
        rollout = Rollout.join(rollouts)
        advantages = self._normalizer(rollout.rewards, rollout.tasks, everywhere)
        self._write(step, rollout, advantages)
        return iter(torch.split(advantages, [len(mine.items) for mine in rollouts]))

    def _turns(self, rollout: Rollout, advantages: Tensor, reference: Policy | None) -> list[Experience | None]:
        """The first turns, and those after a second look, if any, with the (B · G,) advantages of their replies."""
        first = self._experience(rollout.items, rollout.completions, advantages, reference)
        if not (rows := rollout.second_rows):
            return [first, None]
        turns = [turn for row in rows if (turn := rollout.second_turns[row]) is not None]
        items, completions = [turn.item for turn in turns], [turn.completion for turn in turns]
        return [first, self._experience(items, completions, advantages[rows], reference)]

    def _experience(
        self,
        items: Sequence[PromptItem],
        completions: Sequence[Completion],
        advantages: Tensor,
        reference: Policy | None,
    ) -> Experience:
        """A micro-batch as tensors, with (R,) advantages and the reference's log-probabilities."""
        policy, settings = self._policy, self._settings
        tree = build_tree(policy, [item.encoded for item in items])
        tree = tree.with_replies([c.token_ids for c in completions])
        with self._metrics.stage("reference"):
            ref_logps = None if reference is None else self._reference_logps(tree, reference)
        if policy.trains_vision and not _has_graph(tree):
            tree = tree.with_features(None)
        mask = tree.leaves.mask
        if settings.mask_truncated_completions:
            ended = torch.tensor([not completion.truncated for completion in completions], device=mask.device)
            mask = mask * ended[:, None]
        return Experience(
            tree=tree,
            mask=mask,
            advantages=advantages.to(policy.device),
            ref_logps=ref_logps,
            sampling_logps=_sampling_logps(tree, [c.logprobs for c in completions]),
        )

    def _reference_logps(self, tree: PrefixTree, reference: Policy) -> Tensor:
        if self._policy.trains_vision:  # the reference has a separate tower
            tree = tree.with_features(None)
        with torch.no_grad():
            logps, _ = completion_logprobs(reference, tree, temperature=self._settings.temperature)
        return logps

    def _share_out(self, experiences: Sequence[Experience | None]) -> None:
        """Tell each pass how many tokens and replies the whole step has for one pass, on all processes."""
        learning = [experience for experience in experiences if experience is not None]
        mine = [float(sum(e.mask.sum() for e in learning)), float(sum(len(e.mask) for e in learning))]
        totals = self._accelerator.reduce(torch.tensor(mine, device=self._policy.device), "sum")
        passes = len(experiences) * self._accelerator.num_processes
        for experience in learning:
            experience.tokens_per_pass, experience.replies_per_pass = (totals / passes).tolist()

    def _require_judgements(self, rollout: Rollout) -> None:
        """Raise TrainingError once the judge leaves more unscored than the recipe allows."""
        judge = self._recipe.judge
        if judge is None:
            return
        for row, components in enumerate(rollout.components):
            if self._tasks[rollout.tasks[row // rollout.num_generations]].needs_judge:
                self._judged.append(None not in components.values())
        total, unjudged = len(self._judged), self._judged.count(False)
        if total >= LEAST_JUDGED and unjudged > judge.max_unjudged_share * total:
            raise TrainingError(
                f"the judge left {unjudged} of the last {total} captions unscored, more than "
                f"judge.max_unjudged_share = {judge.max_unjudged_share}: see its warnings, fix it and run the "
                "same command again, which resumes from the newest checkpoint"
            )

    def _write(self, step: int, rollout: Rollout, advantages: Tensor) -> None:
        """Write the replies of this step, so that a reader can see what is being rewarded."""
        folder = self._out / COMPLETIONS_DIR
        rank = self._accelerator.process_index
        name = f"step-{step:06d}.jsonl" if rank == 0 else f"step-{step:06d}.process-{rank}.jsonl"
        rows = zip(
            rollout.completions,
            rollout.second_turns,
            rollout.components,
            advantages.flatten().tolist(),
            strict=True,
        )
        entries = [
            CompletionEntry(
                id=rollout.items[row // rollout.num_generations].sample.id,
                reply=first.text if second is None else second.completion.text,
                first_look=None if second is None else first.text,
                segments=None if second is None else second.item.sample.segments,
                rewards=dict(components),
                advantage=round(advantage, 4),
            )
            for row, (first, second, components, advantage) in enumerate(rows)
        ]
        write_records(folder / name, entries)


def _has_graph(tree: PrefixTree) -> bool:
    return tree.features is not None and any(f.requires_grad for f in tree.features.pooler_output)


def _sampling_logps(tree: PrefixTree, logprobs: Sequence[Sequence[float]]) -> Tensor | None:
    """(R, C) the generator's own log-probabilities, or None where it does not report them."""
    mask = tree.leaves.mask.bool()
    if [len(row) for row in logprobs] != mask.sum(1).tolist():
        return None
    padded = torch.zeros(mask.shape, device=mask.device)
    padded[mask] = torch.tensor([logprob for row in logprobs for logprob in row], device=mask.device)
    return padded


def reference_of(policy: Policy, recipe: GrpoRecipe, accelerator: Accelerator) -> Reference:
    """How to get at the policy as it is now: a frozen copy, or the policy with its adapter off.

    To be called before the weights of a checkpoint are loaded: a run that resumes keeps its first reference.

    Returns:
        Opens the reference, its weights whole on every process; gives None where the recipe has no KL penalty.
    """
    if recipe.grpo.beta == 0:
        return nullcontext
    if recipe.train.lora is None:
        frozen = frozen_copy(policy)
        shard_frozen(accelerator, frozen)
        return lambda: gathered(frozen)
    return lambda: _without_adapter(policy)


@contextmanager
def _without_adapter(policy: Policy) -> Iterator[Policy]:
    with gathered(policy), adapter_off(policy):
        yield replace(policy, wrapped=None)  # whose passes would wait for other processes
