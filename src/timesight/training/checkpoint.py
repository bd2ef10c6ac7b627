"""Checkpoints: an ordinary Hugging Face folder, or a PEFT adapter, with the state of the trainer next to it.

``accelerate`` keeps the state (optimizer, learning-rate schedule, random numbers, what the algorithm keeps) in
``state/``; weights are in the folder itself and not twice. A checkpoint is written under another name and renamed
when it is whole; ``training_state.json`` lists its files with their sizes, which are verified when it is read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from torch import Tensor
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from timesight.errors import InputError, reason_of
from timesight.files import write_text
from timesight.model.load import ADAPTER_FILE, TRAINING_STATE, checkpoints, newest_checkpoint
from timesight.model.policy import Policy
from timesight.training.sharding import full_weights

STATE_DIR = "state"
FILES = "files"  # of the checkpoint, with their sizes


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
            InputError: If the run cannot resume from it.
        """
        newest = newest_checkpoint(self._out)
        found = gather_object([None if newest is None else newest.name])
        if len(set(found)) > 1:
            differing = ", ".join(sorted(str(name) for name in set(found)))
            raise InputError(
                f"the processes find different checkpoints in {self._out} ({differing}): they need one --out on a "
                "disk that they share"
            )
        if newest is None:
            return TrainingState(num_processes=self._accelerator.num_processes)
        if not (newest / TRAINING_STATE).exists():
            raise InputError(
                f"{newest} was written by the trainer of timesight 0.1 and cannot be resumed: its model still "
                f"loads (--model {newest}); choose another --out to train"
            )
        content = json.loads((newest / TRAINING_STATE).read_text(encoding="utf-8"))
        state = TrainingState(**{name: value for name, value in content.items() if name != FILES})
        if state.num_processes != self._accelerator.num_processes:
            raise InputError(
                f"{newest} was written by {state.num_processes} processes: resume with as many, "
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

    def save(self, state: TrainingState) -> str | None:
        """Write the checkpoint after ``state.step`` and remove those that are not needed any more.

        Returns:
            On every process: why it could not be written, such as a full disk, or None. The others are as before
            then.
        """
        folder = checkpoint_folder(self._out, state.step)
        unfinished = folder.with_name(f"unfinished-{folder.name}")
        weights = full_weights(self._accelerator, self._policy)
        error = self._on_main(lambda: self._begin(unfinished, weights))
        error = error or self._everywhere(lambda: self._accelerator.save_state(str(unfinished / STATE_DIR)))
        error = error or self._on_main(lambda: self._end(unfinished, folder, state))
        if error is not None:
            self._on_main(lambda: shutil.rmtree(unfinished, ignore_errors=True))
        return error

    def _begin(self, unfinished: Path, weights: dict[str, Tensor] | None) -> None:
        for left_behind in unfinished.parent.glob(f"unfinished-{PREFIX_CHECKPOINT_DIR}-*"):
            shutil.rmtree(left_behind)
        self._policy.save(unfinished, weights)

    def _end(self, unfinished: Path, folder: Path, state: TrainingState) -> None:
        files = {str(f.relative_to(unfinished)): f.stat().st_size for f in unfinished.rglob("*") if f.is_file()}
        write_text(unfinished / TRAINING_STATE, json.dumps(asdict(state) | {FILES: files}))
        if folder.exists():  # an incomplete one that was skipped
            shutil.rmtree(folder)
        unfinished.rename(folder)
        with suppress(OSError):  # what is left is removed after the next one
            self._remove_others(state)

    def _on_main(self, work: Callable[[], object]) -> str | None:
        return self._everywhere(work if self._accelerator.is_main_process else lambda: None)

    def _everywhere(self, work: Callable[[], object]) -> str | None:
        """Do ``work`` on every process; returns why it failed on one of them, if it did."""
        try:
            work()
            reasons = []
        except Exception as error:  # full disks raise what the library that writes makes of them
            reasons = [" ".join(reason_of(error).split())]
        return next(iter(gather_object(reasons)), None)

    def _remove_others(self, state: TrainingState) -> None:
        steps = [step for step, folder in checkpoints(self._out).items() if (folder / TRAINING_STATE).exists()]
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
