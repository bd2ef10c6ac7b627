"""The training loop: one for SFT and GRPO, on ``accelerate``.

A step collects the micro-batches of this process (for GRPO: samples replies to all its prompts, rewards them and
turns rewards into advantages), and updates the weights on them. What differs between algorithms is ``Algorithm``.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, GradientAccumulationPlugin, ProjectConfiguration
from torch import Tensor
from transformers import get_scheduler

from timesight.errors import RecipeError, TrainingError
from timesight.model.policy import Policy
from timesight.training.checkpoint import Checkpoints, TrainingState
from timesight.training.dataset import Item
from timesight.training.metrics import MetricsLog
from timesight.training.optimizer import make_optimizer
from timesight.training.settings import TrainSettings
from timesight.training.sharding import finish_sharding, fsdp_plugin
from timesight.training.stall import stall_warnings

LOGGER = logging.getLogger("timesight")
B = TypeVar("B")
Validate = Callable[[], dict[str, float]]
REWARD = "validation/reward"


class Algorithm(Protocol[B]):
    """What is learned from, and how."""

    num_iterations: int  # updates on each collected step

    def collect(self, step: int, micro_batches: Sequence[Sequence[Item]]) -> list[B]:
        """What the update of ``step`` needs of each micro-batch. Called once for ``num_iterations`` updates."""

    def loss(self, batch: B) -> Tensor:
        """The loss of one micro-batch; the step's is the mean over micro-batches and processes."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""


class Callback:
    """Notified of the progress of a run; its methods do nothing until they are overridden."""

    def on_start(self, step: int, num_steps: int) -> None:
        """The run starts after ``step``, 0 unless it was resumed."""

    def on_step(self, step: int) -> None:
        """``step`` steps are done, and the next one begins."""

    def on_log(self, step: int, entry: dict[str, float], out: Path) -> None:
        """``step`` was written to the metrics of the run directory ``out``."""


class TrainingLoop(Generic[B]):
    """Trains a policy in a run directory.

    Args:
        policy: The policy to train.
        settings: Of the optimizer, with ``max_steps``.
        out: The run directory.
        accelerator: From ``make_accelerator``.
        metrics: Where the run reports.
        validate: Figures of held-out samples, every ``validate_steps``; ``validation/reward`` says which checkpoint
            is the best.
        validate_steps: None: never.
        callbacks: Notified of progress.
    """

    def __init__(
        self,
        policy: Policy,
        settings: TrainSettings,
        out: Path,
        accelerator: Accelerator,
        metrics: MetricsLog,
        *,
        validate: Validate | None = None,
        validate_steps: int | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        assert settings.max_steps is not None
        self._settings, self._out, self._num_steps = settings, out, settings.max_steps
        self._accelerator, self._metrics = accelerator, metrics
        self._validate, self._validate_steps = validate, validate_steps
        self._callbacks = callbacks
        self._checkpoints = Checkpoints(out, policy, accelerator)
        self._state = self._checkpoints.load_weights()
        if settings.gradient_checkpointing:
            policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        optimizer = make_optimizer(policy.model, settings)
        self._model, self._optimizer = accelerator.prepare(policy.model, optimizer)
        policy.wrapped = self._model
        finish_sharding(policy)
        self._scheduler = get_scheduler(
            settings.lr_scheduler_type, optimizer, settings.warmup_steps, self._num_steps
        )
        accelerator.register_for_checkpointing(self._scheduler)

    def run(self, algorithm: Algorithm[B], steps: Callable[[int], Sequence[Sequence[Item]]]) -> TrainingState:
        """Train to the last step, from the newest checkpoint if there is one.

        Args:
            algorithm: What is learned from, and how.
            steps: The micro-batches of this process for the update after so many.
        """
        state = self._state
        if state.step >= self._num_steps:
            return state
        self._accelerator.register_for_checkpointing(algorithm)
        self._checkpoints.load_state(state)
        self._metrics.drop_after(state.step)
        self._tell("on_start", state.step, self._num_steps)
        self._model.train()
        with stall_warnings(self._metrics, self._accelerator.process_index, self._settings.stall_s):
            for step in range(state.step, self._num_steps):
                self._metrics.begin_step()
                self._tell("on_step", step)
                if step % algorithm.num_iterations == 0:
                    batches = algorithm.collect(step + 1, steps(step // algorithm.num_iterations))
                with self._metrics.stage("update"):
                    figures = self._update(step + 1, batches, algorithm.loss)
                entry = self._metrics.write_step(step + 1, **figures)
                self._tell("on_log", step + 1, entry, self._out)
                state = self._after(replace(state, step=step + 1))
        self._accelerator.end_training()
        return state

    def _update(self, step: int, batches: Sequence[B], loss_of: Callable[[B], Tensor]) -> dict[str, float]:
        """One update on the mean loss. Raises TrainingError where it or the gradients are not finite numbers."""
        total = torch.zeros((), device=self._accelerator.device)
        for batch in batches:
            with self._accelerator.accumulate(self._model):  # shares gradients with the last micro-batch only
                loss = loss_of(batch)
                self._accelerator.backward(loss)  # divides by the number of micro-batches
                total += loss.detach() / len(batches)
        mean = float(self._accelerator.reduce(total, "mean"))
        self._require_finite(mean, "loss", step, batches)
        learning_rate = self._scheduler.get_last_lr()[0]
        clipped = self._accelerator.clip_grad_norm_(self._model.parameters(), self._settings.max_grad_norm)
        norm = float(clipped or 0.0)
        self._require_finite(norm, "gradient norm", step, batches)
        self._optimizer.step()
        self._scheduler.step()
        self._optimizer.zero_grad()
        return {"loss": mean, "grad_norm": norm, "learning_rate": learning_rate}

    def _require_finite(self, value: float, what: str, step: int, batches: Sequence[B]) -> None:
        if not math.isfinite(value):
            file = self._out / f"failed-step-{step}.process-{self._accelerator.process_index}.pt"
            torch.save(batches, file)
            raise TrainingError(
                f"the {what} of step {step} is {value}: the last good weights are in the newest checkpoint, what "
                f"was learned from is in {file}; try a lower train.learning_rate, or float32 weights"
            )

    def _after(self, state: TrainingState) -> TrainingState:
        """Validate and save, where it is time for it."""
        before = state
        if self._validate is not None and self._validate_steps and state.step % self._validate_steps == 0:
            began = time.perf_counter()
            with self._metrics.watched("validate"):
                figures = self._validate()
            self._metrics.write(state.step, figures | {"validate_s": time.perf_counter() - began})
            if REWARD in figures:
                state = state.with_validation(state.step, figures[REWARD])
        if state.step % self._settings.save_steps == 0 or state.step == self._num_steps:
            error = self._checkpoints.save(state)
            if error is not None and state.step == self._num_steps:
                raise TrainingError(
                    f"the last checkpoint could not be written ({error}): make room and run the same command "
                    "again, which resumes from the newest checkpoint"
                )
            if error is not None:
                LOGGER.warning("the checkpoint of step %d could not be written (%s)", state.step, error)
                return replace(state, best_step=before.best_step, best_reward=before.best_reward)
        return state

    def _tell(self, event: str, *args: Any) -> None:
        if self._accelerator.is_main_process:
            for callback in self._callbacks:
                getattr(callback, event)(*args)


def make_accelerator(policy: Policy, settings: TrainSettings, out: Path) -> Accelerator:
    """``accelerate`` as the loop uses it.

    Raises:
        RecipeError: For a tracker that is not installed, or a model or optimizer that cannot be sharded as asked.
    """
    for tracker in settings.report_to:
        if find_spec(tracker) is None:
            raise RecipeError(f"train.report_to: {tracker} is not installed: pip install {tracker}")
    plugin = fsdp_plugin(policy)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        fsdp_plugin=plugin,
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=settings.gradient_accumulation_steps * (2 if settings.look_again else 1),  # turns
            sync_with_dataloader=False,
            sync_each_batch=plugin is not None,  # else each process would keep the gradients of all weights
        ),
        log_with=list(settings.report_to) or None,
        project_config=ProjectConfiguration(project_dir=str(out), logging_dir=str(out / "logs")),
    )
    is_sharded = accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
    if is_sharded and settings.muon_learning_rate is not None:
        raise RecipeError("train.muon_learning_rate: Muon updates whole matrices; start without FSDP and ZeRO")
    if accelerator.state.deepspeed_plugin is not None:  # there is no data loader that it could ask
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        config["train_micro_batch_size_per_gpu"] = settings.batch_size
        config["gradient_clipping"] = settings.max_grad_norm
    if settings.report_to:
        accelerator.init_trackers(out.name)
    return accelerator
