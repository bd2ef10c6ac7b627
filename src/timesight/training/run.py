"""From a recipe to a trained model in a run directory.

A run directory holds ``recipe.yaml``, ``data.json`` (digests of the samples), ``metrics.jsonl``,
``completions/``, ``quarantine.jsonl`` and ``checkpoint-N/``, each an ordinary Hugging Face folder. Running the same
recipe there again resumes from the newest checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import set_seed

from timesight.artifacts import METRICS_FILE, QUARANTINE_FILE
from timesight.data.mixture import Mixture
from timesight.model.adapter import add_adapter
from timesight.model.policy import Policy
from timesight.model.processes import this_process
from timesight.model.vision import FeatureStore
from timesight.tasks import TaskRegistry
from timesight.tasks.custom import custom_tasks
from timesight.training.build import (
    clue_of,
    judge_for,
    load_model,
    make_dataset,
    make_feature_store,
    make_generator,
    make_grouper,
    require_plain_texts,
    second_looks_of,
    validation_config,
)
from timesight.training.checkpoint import TrainingState, checkpoint_folder
from timesight.training.difficulty import by_difficulty
from timesight.training.grpo import Draw, Grpo, Reference, reference_of
from timesight.training.loop import Algorithm, Callback, TrainingLoop, Validate, make_accelerator
from timesight.training.metrics import MetricsLog
from timesight.training.recipe import load_recipe
from timesight.training.run_dir import init_run_dir, locked, require_same_samples
from timesight.training.samples import load_mixture, load_validation
from timesight.training.schedule import num_steps
from timesight.training.settings import GrpoRecipe, SftRecipe
from timesight.training.sft import Sft
from timesight.training.sharding import load_whole
from timesight.training.validate import validate
from timesight.training.watch import Watch
from timesight.types import Judge, Sample
from timesight.video import FrameReader, Quarantine

LOGGER = logging.getLogger("timesight")


@dataclass(frozen=True)
class RunResult:
    """Where the trained model is, and what was left out of training."""

    checkpoint: Path
    best: Path | None  # by reward on the validation samples, where there are any
    num_steps: int
    num_samples: int
    num_problems: int
    num_quarantined: int


def train(
    recipe: str | Path | SftRecipe | GrpoRecipe,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Train by a recipe, SFT or GRPO as it says; an interrupted run resumes.

    Args:
        recipe: Name of a shipped recipe, a YAML file, or a recipe.
        out: Run directory.
        overrides: Keys of the recipe, such as ``train.learning_rate=1e-6``; for one that is read.
        callbacks: Notified of progress.

    Returns:
        Where the checkpoint is, and what was left out.

    Raises:
        RecipeError: If the recipe has an unknown key or a value that cannot be used.
        InputError: If ``out`` holds results of another recipe, or data or a model cannot be read.
        TrainingError: If the run cannot continue.
    """
    if isinstance(recipe, (str, Path)):
        recipe = load_recipe(recipe, overrides)
    return run_recipe(recipe, Path(out), callbacks=callbacks)


def run_recipe(recipe: SftRecipe | GrpoRecipe, out: Path, *, callbacks: Sequence[Callback] = ()) -> RunResult:
    """Train as ``recipe`` says in the run directory ``out``, resuming what is there.

    Raises InputError when ``out`` holds results of another recipe, and whatever reading data and models raises.
    """
    tasks = custom_tasks(recipe.tasks)
    with this_process().main_process_first():
        init_run_dir(recipe, out)
    with locked(out):
        return _train_in(out, recipe, tasks, callbacks)


def _train_in(
    out: Path, recipe: SftRecipe | GrpoRecipe, tasks: TaskRegistry, callbacks: Sequence[Callback]
) -> RunResult:
    with this_process().main_process_first():
        everything = load_mixture(recipe.data, out, tasks=tasks)
        mixture, kept = everything.usable(recipe.seed), None
        if recipe.data.difficulty is not None:
            kept = by_difficulty(mixture, recipe.data.difficulty)
            LOGGER.warning("data.difficulty keeps %d of %d samples", len(kept.samples), len(mixture.samples))
        require_same_samples(everything, kept, [source.name for source in recipe.data.all_sources], out)
    mixture = kept or mixture
    validation = load_validation(recipe.validation, tasks)
    judge = judge_for(recipe, [*mixture.samples, *validation], out, tasks)
    set_seed(recipe.seed)
    load_whole()
    policy = load_model(recipe, out, mixture.samples, tasks)
    require_plain_texts(policy, [*mixture.samples, *validation], tasks)
    if (idle := idle_gpus()) > 0:
        LOGGER.warning(
            "%d more GPUs are idle; to use them: accelerate launch --num_processes %d -m timesight train …",
            idle,
            idle + 1,
        )
    policy.freeze(*recipe.train.freeze)
    lora = recipe.train.lora
    if lora is not None:
        add_adapter(policy, r=lora.r, alpha=lora.alpha, dropout=lora.dropout)
    if (reason := policy.packing_unsupported_reason) is not None:
        LOGGER.warning("%s: each prompt is computed once for each of its replies", reason)
    quarantine = Quarantine(out / QUARANTINE_FILE, recipe.train.max_broken_share)
    with FrameReader(recipe.video, policy.factor, recipe.reading, recipe.second_look) as reader:
        run = _Run(recipe, out, policy, mixture, validation, reader, quarantine, judge, tasks)
        state = run.train(callbacks)
    return RunResult(
        checkpoint=checkpoint_folder(out, state.step),
        best=None if state.best_step is None else checkpoint_folder(out, state.best_step),
        num_steps=state.step,
        num_samples=len(mixture.samples),
        num_problems=everything.num_problems,
        num_quarantined=len(Quarantine(out / QUARANTINE_FILE)),  # those that other processes found too
    )


@dataclass(frozen=True, eq=False)
class _Run:
    """What a run is made of."""

    recipe: SftRecipe | GrpoRecipe
    out: Path
    policy: Policy
    mixture: Mixture
    validation: Sequence[Sample]
    reader: FrameReader
    quarantine: Quarantine
    judge: Judge | None
    tasks: TaskRegistry

    def train(self, callbacks: Sequence[Callback]) -> TrainingState:
        """The schedule, the algorithm and the loop of the recipe."""
        recipe, policy, processes = self.recipe, self.policy, this_process()
        grouper = make_grouper(recipe, self.mixture, self.tasks)
        steps = num_steps(recipe, grouper.num_entries(recipe.train.epochs, recipe.seed), processes.num_processes)
        settings = recipe.train.model_copy(update={"max_steps": steps})
        dataset = make_dataset(recipe, policy, grouper, self.reader, steps)
        accelerator = make_accelerator(policy, settings, self.out)
        metrics = MetricsLog(self.out / METRICS_FILE, policy.device, accelerator)
        store = make_feature_store(recipe, policy)
        reference = reference_of(policy, recipe, accelerator) if isinstance(recipe, GrpoRecipe) else nullcontext
        loop: TrainingLoop[Any] = TrainingLoop(
            policy,
            settings,
            self.out,
            accelerator,
            metrics,
            validate=self._validate() if self.validation else None,
            validate_steps=recipe.validation.every_steps if recipe.validation else None,
            callbacks=(*callbacks, Watch()) if isinstance(recipe, GrpoRecipe) else callbacks,
        )
        set_seed(recipe.seed + processes.process_index)  # each process samples other replies
        algorithm: Algorithm[Any]
        if isinstance(recipe, GrpoRecipe):
            algorithm = self._grpo(recipe, accelerator, metrics, store, reference, dataset.draw)
        else:
            algorithm = Sft(policy, recipe, accelerator, metrics, self.quarantine, store, self.tasks)
        return loop.run(algorithm, dataset.step)

    def _validate(self) -> Validate:
        """Measures the validation samples."""
        return partial(
            validate,
            self.policy,
            self.validation,
            validation_config(self.recipe, self.tasks),
            self.judge,
            clue_of(self.recipe),
            self.recipe.grpo.reward_weights if isinstance(self.recipe, GrpoRecipe) else {},
            self.reader.settings,
            self.reader.pool,
        )

    def _grpo(
        self,
        recipe: GrpoRecipe,
        accelerator: Accelerator,
        metrics: MetricsLog,
        store: FeatureStore | None,
        reference: Reference,
        draw: Draw,
    ) -> Grpo:
        return Grpo(
            self.policy,
            recipe,
            self.out,
            accelerator,
            metrics,
            self.quarantine,
            make_generator(recipe, self.policy, self.out),
            reference=reference,
            judge=self.judge,
            store=store,
            draw=draw,
            second_looks=second_looks_of(recipe, self.policy, self.reader, self.tasks),
            tasks=self.tasks,
        )


def idle_gpus() -> int:
    """GPUs that this run leaves idle, because it was started as one process."""
    return max(0, torch.cuda.device_count() - 1) if this_process().num_processes == 1 else 0
