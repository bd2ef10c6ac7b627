"""What SFT and GRPO share: a transformers Trainer that is fed prompts, and a run directory it resumes from."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from timesight.errors import RecipeError, TrainingError
from timesight.infer.answer import MAX_NEW_TOKENS, Asking
from timesight.model.encode import PromptBatch
from timesight.model.load import ADAPTER_FILE, newest_checkpoint
from timesight.model.policy import Policy
from timesight.model.vision import FeatureStore, VisionFeatures, encode_vision
from timesight.prefix.layout import whole_prompt_reason
from timesight.train.dataset import BrokenItem, Item, PromptItem, RepeatItem
from timesight.train.settings import GrpoRecipe, SftRecipe
from timesight.train.validate import REWARD, validate
from timesight.types import Judge, Sample
from timesight.video import Quarantine

LOGGER = logging.getLogger("timesight")
METRICS_FILE = "metrics.jsonl"
STATE_FILE = "timesight_state.json"


class PromptTrainer(Trainer):  # type: ignore[misc] # transformers is untyped
    """A Trainer whose batches are lists of prompt items; subclasses give ``prompt_loss``."""

    def __init__(
        self,
        policy: Policy,
        recipe: SftRecipe | GrpoRecipe,
        out: Path,
        dataset: Dataset[Item],
        validation: Sequence[Sample],
        callbacks: Sequence[TrainerCallback],
        judge: Judge | None = None,
    ) -> None:
        self.policy = policy
        self.judge = judge
        self.recipe = recipe
        if (reason := whole_prompt_reason(policy)) is not None:
            LOGGER.warning("%s: each prompt is computed once for each of its replies", reason)
        self.quarantine = Quarantine(out / "quarantine.jsonl", recipe.train.max_broken_share)
        self._stats: dict[str, list[float]] = defaultdict(list)
        self._feature_store = _feature_store(recipe, policy)
        self._staged_s = 0.0
        self._logged = time.perf_counter()
        super().__init__(
            model=policy.model,
            args=_arguments(recipe, out, policy),
            train_dataset=dataset,
            eval_dataset=list(validation) or None,
            data_collator=list,
            processing_class=policy.processor,
            callbacks=[MetricsFile(out / METRICS_FILE), *callbacks],
        )
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def encode(self, prompts: PromptBatch) -> VisionFeatures:
        """The videos of ``prompts`` through the vision tower, or from the folder of kept features."""
        with self.policy.precision():
            return encode_vision(self.policy, prompts, self._feature_store)

    def prompt_loss(self, items: list[PromptItem]) -> Tensor:
        """The loss of one batch of readable prompts; there may be none left."""
        raise NotImplementedError

    def repeat_loss(self) -> Tensor:
        """The loss of a batch that was read before, in a schedule that takes batches more than once."""
        raise NotImplementedError

    def zero_loss(self) -> Tensor:
        """A loss of 0 that every weight has a part in, for a batch with nothing to learn from.

        It passes through the model, as the batches of other processes do at the same time.
        """
        pad = torch.tensor([[self.policy.processor.tokenizer.pad_token_id]], device=self.policy.device)
        passed = self.policy(input_ids=pad, attention_mask=torch.ones_like(pad), use_cache=False).logits.sum()
        weights = torch.stack([p.sum() for p in self.model.parameters() if p.requires_grad])
        loss: Tensor = (passed + weights.sum()) * 0.0
        return loss

    def kept(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights and optimiser, as JSON."""
        return {}

    def restore(self, kept: dict[str, Any]) -> None:
        """Take up what ``kept`` gave."""

    def note(self, **values: float) -> None:
        """Report ``values`` with the next log entry.

        Over the passes since the last entry, seconds (``…_s``) and counts (``num_…``) are summed, all else is
        averaged.
        """
        for name, value in values.items():
            if not math.isnan(value):
                self._stats[name].append(value)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Report the time of this block as ``name_s``."""
        begin = synced_seconds(self.policy.device)
        yield
        seconds = synced_seconds(self.policy.device) - begin
        self._staged_s += seconds
        self.note(**{f"{name}_s": seconds})

    def training_step(self, model: Any, inputs: list[Item], *args: Any, **kwargs: Any) -> Tensor:
        """One pass forward and backward. Raises TrainingError where the loss is not a finite number."""
        begin, self._staged_s = synced_seconds(self.policy.device), 0.0
        loss: Tensor = super().training_step(model, inputs, *args, **kwargs)
        self.note(update_s=synced_seconds(self.policy.device) - begin - self._staged_s)
        if not loss.isfinite():
            raise TrainingError(
                f"the loss of step {self.state.global_step + 1} is {float(loss)}: the last good weights are in the "
                "newest checkpoint; try a lower train.learning_rate, or float32 weights"
            )
        return loss

    def compute_loss(self, model: Any, inputs: list[Item], **unused: Any) -> Tensor:
        """Set broken videos aside, then the loss of the rest."""
        self.policy.wrapped = model
        if all(isinstance(item, RepeatItem) for item in inputs):
            return self.repeat_loss()
        items = []
        for item in inputs:
            self.quarantine.saw(item.sample.video.path)
            if isinstance(item, BrokenItem):
                self.quarantine.put(item.error)
            elif isinstance(item, PromptItem):
                items.append(item)
        self.note(quarantined=float(len(self.quarantine)), read_s=sum(item.read_s for item in items))
        return self.prompt_loss(items)

    def evaluate(self, *unused: Any, **unused_too: Any) -> dict[str, float]:
        """Answer the validation samples. Every process answers them all, so that they agree on what is best."""
        recipe = self.recipe
        assert recipe.validation is not None  # the Trainer evaluates only where there is something to evaluate
        if isinstance(recipe, GrpoRecipe):
            think, max_new_tokens = recipe.think, recipe.grpo.max_completion_length
        else:
            think, max_new_tokens = recipe.think_share == 1, MAX_NEW_TOKENS
        asking = Asking(
            recipe.video,
            think,
            batch_size=recipe.validation.batch_size,
            max_new_tokens=max_new_tokens,
            closer=recipe.closer,
        )
        figures = validate(self.policy, self.eval_dataset, asking, self.judge)
        self.log(figures)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures | {f"eval_{REWARD}": figures[REWARD]}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what was noted since the last entry."""
        if "loss" in logs:
            now = time.perf_counter()
            step_s, self._logged = now - self._logged, now
            logs = (
                logs | {name: _summary(name, values) for name, values in self._stats.items()} | {"step_s": step_s}
            )
            logs |= {"tokens_per_s": logs["num_tokens"] / step_s} if "num_tokens" in logs else {}
            self._stats.clear()
        super().log(logs, start_time)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        if self.args.should_save:  # first, so that a checkpoint whose last file is there has this one too
            folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            folder.mkdir(exist_ok=True)
            (folder / STATE_FILE).write_text(json.dumps(self.kept()), encoding="utf-8")
        super()._save_checkpoint(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        folder = Path(resume_from_checkpoint)
        self.restore(json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))
        if (folder / ADAPTER_FILE).exists():
            self.model.load_adapter(resume_from_checkpoint, "default", hotswap=True, is_trainable=True)
            return
        # Qwen-VL checkpoints keep older names for their weights on disk. The Trainer's own loader compares
        # names as they stand, finds none of them, warns, and goes on from untrained weights.
        saved = type(self.model).from_pretrained(resume_from_checkpoint, dtype=self.model.dtype)
        self.model.load_state_dict(saved.state_dict())

    def _get_train_sampler(self, *unused: Any) -> Sampler[int]:
        # The order is the schedule's business: the same on every process, and known before the run.
        return SequentialSampler(self.train_dataset)

    def train_or_resume(self) -> Path:
        """Train to the end, from the newest checkpoint if there is one; returns the last checkpoint."""
        out = Path(self.args.output_dir)
        newest = newest_checkpoint(out)
        if newest is None or int(newest.name.rpartition("-")[2]) < self.args.max_steps:
            self.train(resume_from_checkpoint=None if newest is None else str(newest))
        last = newest_checkpoint(out)
        assert last is not None  # training ends with a checkpoint
        return last


def _summary(name: str, values: list[float]) -> float:
    total = sum(values)
    return total if name.endswith("_s") or name.startswith("num_") else total / len(values)


def num_steps(recipe: SftRecipe | GrpoRecipe, num_samples: int, num_processes: int = 1) -> int:
    """Optimiser steps of a whole run."""
    per_step = recipe.train.batch_size * recipe.train.accumulation * num_processes
    num_iterations = recipe.grpo.num_iterations if isinstance(recipe, GrpoRecipe) else 1
    return recipe.train.max_steps or math.ceil(recipe.train.epochs * num_samples / per_step) * num_iterations


def _feature_store(recipe: SftRecipe | GrpoRecipe, policy: Policy) -> FeatureStore | None:
    settings = recipe.train
    if settings.keep_features is None:
        return None
    return FeatureStore(settings.keep_features, policy, max_bytes=int(settings.keep_features_gb * 1e9))


def _arguments(recipe: SftRecipe | GrpoRecipe, out: Path, policy: Policy) -> TrainingArguments:
    settings = recipe.train
    for logger in settings.report_to:
        if find_spec(logger) is None:
            raise RecipeError(f"train.report_to: {logger} is not installed: pip install {logger}")
    # Only said where it is wanted: the option is changing its name in transformers.
    checkpointing = {"gradient_checkpointing": True} if settings.gradient_checkpointing else {}
    return TrainingArguments(
        output_dir=str(out),
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        adam_beta2=settings.adam_beta2,
        max_grad_norm=settings.max_grad_norm,
        save_steps=settings.save_steps,
        save_total_limit=2,
        logging_steps=1,
        seed=recipe.seed,
        report_to=list(settings.report_to),
        run_name=out.name,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=policy.device.type == "cpu",
        ddp_find_unused_parameters=False,  # all are used, the tower outside of the wrapped forward pass
        **checkpointing,
        **_validation_arguments(recipe),
    )


def _validation_arguments(recipe: SftRecipe | GrpoRecipe) -> dict[str, Any]:
    if recipe.validation is None:
        return {}
    return {
        "eval_strategy": "steps",
        "eval_steps": recipe.validation.every_steps,
        "metric_for_best_model": f"eval_{REWARD}",
        "greater_is_better": True,
    }


class MetricsFile(TrainerCallback):  # type: ignore[misc] # transformers is untyped
    """Writes each log entry as a line of ``metrics.jsonl``; a resumed run takes up after its checkpoint."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        """Drop entries of steps that will be taken again."""
        if not state.is_world_process_zero:
            return
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= state.global_step]
        self._file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **unused: Any) -> None:
        """Append one entry."""
        if not ("loss" in logs or REWARD in logs) or not state.is_world_process_zero:
            return
        entry = {"step": state.global_step, **logs}
        with self._file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")


def this_process() -> Any:
    """Which of the processes of this run this one is, and on which device it works."""
    return PartialState(cpu=not torch.cuda.is_available())  # accelerate does not look for processes on CPUs unasked


def synced_seconds(device: torch.device) -> float:
    """A clock that waits for the device, so that stages can be timed one by one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
