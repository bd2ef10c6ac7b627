"""From a recipe to a trained model in a run directory.

A run directory holds ``recipe.yaml``, ``metrics.jsonl``, ``completions/``, ``quarantine.jsonl`` and
``checkpoint-N/``, each an ordinary Hugging Face folder. Running the same recipe there again goes on from the
newest checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, set_seed

from timesight.data import read_jsonl
from timesight.errors import InputError, RecipeError, SampleError
from timesight.judge import open_judge
from timesight.policy.adapter import add_adapter
from timesight.policy.load import load_policy
from timesight.policy.policy import Policy
from timesight.policy.tiny import create
from timesight.tasks import TASKS
from timesight.tasks.own import own_tasks
from timesight.train.dataset import PromptDataset, make_schedule, repeat_steps
from timesight.train.grpo import GrpoTrainer
from timesight.train.recipe import DataSettings, GrpoRecipe, SftRecipe, ValidationSettings, dump_recipe
from timesight.train.sft import SftTrainer
from timesight.train.trainer import METRICS_FILE, PromptTrainer, num_steps, this_process
from timesight.types import Judge, Sample
from timesight.world import Corruption, WorldJudge, write_world

RECIPE_FILE = "recipe.yaml"
WORLD_DIR = "world"
NEW = "new:"


@dataclass(frozen=True)
class RunResult:
    """Where the trained model is, and what was left out of training."""

    checkpoint: Path
    best: Path | None  # by reward on the validation samples, where there are any
    num_steps: int
    num_samples: int
    num_problems: int
    num_quarantined: int


def run_recipe(
    recipe: SftRecipe | GrpoRecipe, out: Path, *, callbacks: Sequence[TrainerCallback] = ()
) -> RunResult:
    """Train as ``recipe`` says in the run directory ``out``, resuming what is there.

    Raises InputError when ``out`` holds results of another recipe, and whatever reading data and models raises.
    """
    with own_tasks(recipe.tasks):
        return _run(recipe, out, callbacks)


def _run(recipe: SftRecipe | GrpoRecipe, out: Path, callbacks: Sequence[TrainerCallback]) -> RunResult:
    with this_process().main_process_first():
        claim(recipe, out)
        samples = load_samples(recipe.data, out)
    judge = judge_for(recipe, samples, out)
    set_seed(recipe.seed)
    usable = [sample for sample in samples if not sample.problems]
    if not usable:
        raise SampleError(f"none of the {len(samples)} samples has truth that can be trained on")
    policy = load_model(recipe, out, usable)
    policy.freeze(*recipe.train.freeze)
    lora = recipe.train.lora
    if lora is not None:
        add_adapter(policy, r=lora.r, alpha=lora.alpha, dropout=lora.dropout)
    trainer = _trainer(recipe, out, policy, usable, callbacks, judge)
    set_seed(recipe.seed + this_process().process_index)  # each process samples replies of its own
    checkpoint = trainer.train_or_resume()
    best = trainer.state.best_model_checkpoint
    return RunResult(
        checkpoint,
        best=None if best is None else Path(best),
        num_steps=trainer.args.max_steps,
        num_samples=len(usable),
        num_problems=len(samples) - len(usable),
        num_quarantined=len(trainer.quarantine),
    )


def judge_for(recipe: SftRecipe | GrpoRecipe, samples: Sequence[Sample], out: Path) -> Judge | None:
    """The judge of ``recipe``, its answers kept in ``out``. Raises RecipeError where one is needed and missing."""
    asked = sorted({sample.task for sample in samples if TASKS[sample.task].needs_judge})
    if asked and recipe.kind == "grpo" and recipe.judge is None:
        raise RecipeError(
            f"{asked[0]} is rewarded by a judge and the recipe names none: add a section such as "
            "judge: {kind: served, model: NAME, base_url: URL}, or {kind: world} for the made world"
        )
    return open_judge(recipe.judge if asked else None, WorldJudge(), out)


def load_samples(data: DataSettings, out: Path, on_video: Callable[[], None] = lambda: None) -> list[Sample]:
    """The samples of a recipe; a made world is written to ``out`` unless it is there already.

    ``on_video`` is called for each video that is written.
    """
    if data.jsonl is not None:
        return read_jsonl(data.jsonl)
    assert data.world is not None  # DataSettings allows exactly one source
    world = data.world
    root = out / WORLD_DIR
    file = root / f"{world.split}.jsonl"
    if not file.exists():
        write_world(
            root,
            {world.split: world.num_videos},
            seed=world.seed,
            duration_s=world.duration_s,
            tasks=world.tasks,
            corruption=Corruption(world.replaced, world.shift_s),
            named_share=world.named_share,
            on_video=on_video,
        )
    return read_jsonl(file)


def load_validation(settings: ValidationSettings | None) -> list[Sample]:
    """The samples to validate on: those with usable truth, evenly thinned to the number asked for."""
    if settings is None:
        return []
    samples = [sample for sample in read_jsonl(settings.jsonl) if not sample.problems]
    if not samples:
        raise SampleError(f"{settings.jsonl}: none of the samples can be scored, so validation.jsonl says nothing")
    step = max(1, len(samples) // settings.num_samples)
    return samples[::step][: settings.num_samples]


def claim(recipe: SftRecipe | GrpoRecipe, out: Path) -> None:
    """Make ``out`` this recipe's run directory. Raises InputError where another recipe has left results."""
    text = dump_recipe(recipe)
    file = out / RECIPE_FILE
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: --out takes a folder")
    has_results = (out / METRICS_FILE).exists() or (out / WORLD_DIR).exists()
    if has_results and (not file.exists() or file.read_text(encoding="utf-8") != text):
        raise InputError(f"{out} holds results of another recipe (see {file}): choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def load_model(recipe: SftRecipe | GrpoRecipe, out: Path, samples: list[Sample]) -> Policy:
    """The model that ``recipe`` starts from.

    A new one is made in ``out``, with a tokenizer learned from ``samples``.
    """
    if not recipe.model.startswith(NEW):
        lora = recipe.train.lora
        device = str(this_process().device)
        if lora is not None:
            return load_policy(recipe.model, device=device, quantize=lora.quantize)
        return load_policy(recipe.model, device=device, dtype="mixed")
    family = recipe.model.removeprefix(NEW)
    if family not in ("qwen2_5_vl", "qwen3_vl"):
        raise InputError(f"model {recipe.model}: new models are new:qwen2_5_vl and new:qwen3_vl")
    start = out / "start"
    if not (start / "config.json").exists():
        create(start, family, recipe.seed, samples[:2000])  # type: ignore[arg-type] # checked above
    return load_policy(start, device=str(this_process().device))


def _trainer(
    recipe: SftRecipe | GrpoRecipe,
    out: Path,
    policy: Policy,
    samples: list[Sample],
    callbacks: Sequence[TrainerCallback],
    judge: Judge | None,
) -> PromptTrainer:
    steps = num_steps(recipe, len(samples), this_process().num_processes)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_steps": steps})})
    num_iterations = recipe.grpo.num_iterations if isinstance(recipe, GrpoRecipe) else 1
    per_step = recipe.train.batch_size * recipe.train.accumulation * this_process().num_processes
    num_fresh = math.ceil(steps / num_iterations) * per_step
    schedule = make_schedule(samples, num_fresh, seed=recipe.seed, **_order(recipe))
    schedule = repeat_steps(schedule, per_step, num_iterations)[: steps * per_step]
    dataset = PromptDataset(policy, samples, schedule, recipe.video)
    validation = load_validation(recipe.validation)
    if isinstance(recipe, GrpoRecipe):
        return GrpoTrainer(policy, recipe, out, dataset, validation, callbacks, judge)
    return SftTrainer(policy, recipe, out, dataset, validation, callbacks, judge)


def _order(recipe: SftRecipe | GrpoRecipe) -> dict[str, Any]:
    if isinstance(recipe, GrpoRecipe):
        return {"think_share": float(recipe.think)}
    shares = {name: getattr(recipe, name) for name in ("think_share", "think_first", "easy_first")}
    return shares | {"batch_size": recipe.train.batch_size}
