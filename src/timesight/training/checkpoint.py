"""Checkpoints: an ordinary Hugging Face folder, or a PEFT adapter, with the state of the trainer next to it.

``accelerate`` keeps the state (optimizer, learning-rate schedule, random numbers, what the algorithm keeps) in
``state/``; weights are in the folder itself and not twice. ``training_state.json`` is written last, so a folder
that has it is whole.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from timesight.errors import InputError
from timesight.files import write_text
from timesight.model.load import ADAPTER_FILE, TRAINING_STATE, newest_checkpoint
from timesight.model.policy import Policy

STATE_DIR = "state"


@dataclass(frozen=True)
class TrainingState:
    """Where a run is."""

    step: int = 0
    num_processes: int = 1
    best_step: int | None = None  # of the checkpoint with the largest validation reward
    best_reward: float | None = None

    def with_validation(self, step: int, reward: float) -> TrainingState:
        """This state after a validation."""
        if self.best_reward is not None and reward <= self.best_reward:
            return self
        return replace(self, best_step=step, best_reward=reward)


class Checkpoints:
    """The checkpoints of a run directory: the newest, and the best or else the one before the newest, are kept."""

    def __init__(self, out: Path, policy: Policy, accelerator: Any) -> None:
        self._out = out
        self._policy = policy
        self._accelerator = accelerator
        accelerator.register_save_state_pre_hook(_without_weights)
        accelerator.register_load_state_pre_hook(lambda models, folder: models.clear())

    def load_weights(self) -> TrainingState:
        """Load the weights of the newest whole checkpoint; a run that has none starts at step 0.

        To be called before an optimizer is made: loading an adapter makes new parameters.

        Raises:
            InputError: If it cannot be gone on from.
        """
        newest = newest_checkpoint(self._out)
        if newest is None:
            return TrainingState(num_processes=self._accelerator.num_processes)
        if not (newest / TRAINING_STATE).exists():
            raise InputError(
                f"{newest} was written by the trainer of timesight 0.1 and cannot be gone on from: its model still "
                f"loads (--model {newest}); choose another --out to train"
            )
        state = TrainingState(**json.loads((newest / TRAINING_STATE).read_text(encoding="utf-8")))
        if state.num_processes != self._accelerator.num_processes:
            raise InputError(
                f"{newest} was written by {state.num_processes} processes: go on with as many, "
                f"not with {self._accelerator.num_processes}"
            )
        model = self._policy.model
        if (newest / ADAPTER_FILE).exists():
            model.load_adapter(str(newest), "default", hotswap=True, is_trainable=True)
        else:
            model.load_state_dict(type(model).from_pretrained(newest, dtype=model.dtype).state_dict())
        return state

    def load_state(self, state: TrainingState) -> None:
        """Load what else ``load_weights`` found: to be called once all that is kept is known to ``accelerate``."""
        if state.step > 0:
            self._accelerator.load_state(str(checkpoint_folder(self._out, state.step) / STATE_DIR))

    def save(self, state: TrainingState) -> None:
        """Write the checkpoint after ``state.step`` and remove those that are not needed any more."""
        folder = checkpoint_folder(self._out, state.step)
        if self._accelerator.is_main_process:
            self._policy.save(folder)
        self._accelerator.wait_for_everyone()
        self._accelerator.save_state(str(folder / STATE_DIR))
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            write_text(folder / TRAINING_STATE, json.dumps(asdict(state)))
            self._remove_others(state)

    def _remove_others(self, state: TrainingState) -> None:
        steps = sorted(
            int(file.parent.name.rpartition("-")[2])
            for file in self._out.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{TRAINING_STATE}")
        )
        kept = {state.step, state.best_step} if state.best_step is not None else set(steps[-2:])
        for step in steps:
            if step not in kept:
                shutil.rmtree(checkpoint_folder(self._out, step))


def checkpoint_folder(out: Path, step: int) -> Path:
    """The checkpoint of the run directory ``out`` after ``step``."""
    return out / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def _without_weights(models: list[Any], weights: list[Any], folder: str) -> None:
    """The weights are in the checkpoint's own folder already."""
    weights.clear()
