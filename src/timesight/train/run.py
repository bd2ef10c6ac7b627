"""From a recipe to a trained model in a run directory.

A run directory holds ``recipe.yaml``, ``metrics.jsonl``, ``completions/``, ``quarantine.jsonl`` and
``checkpoint-N/``, each an ordinary Hugging Face folder. Running the same recipe there again goes on from the
newest checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import TrainerCallback, set_seed

from timesight.data.mixture import Mixture
from timesight.errors import InputError, RecipeError
from timesight.judge import open_judge
from timesight.model.adapter import add_adapter
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.tiny import create
from timesight.tasks import TASKS
from timesight.tasks.corpus import prompts_and_replies
from timesight.tasks.own import own_tasks
from timesight.train.dataset import PromptDataset
from timesight.train.grpo import GrpoTrainer
from timesight.train.recipe import dump_recipe
from timesight.train.samples import WORLD_DIR, load_mixture, load_validation
from timesight.train.schedule import make_schedule, repeat_steps
from timesight.train.settings import GrpoRecipe, SftRecipe
from timesight.train.sft import SftTrainer
from timesight.train.trainer import METRICS_FILE, PromptTrainer, num_steps, this_process
from timesight.types import Judge, Sample
from timesight.video import FrameReader
from timesight.world import WorldJudge

RECIPE_FILE = "recipe.yaml"
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
        everything = load_mixture(recipe.data, out)
    mixture = everything.usable(recipe.seed)
    judge = judge_for(recipe, mixture.samples, out)
    set_seed(recipe.seed)
    policy = load_model(recipe, out, mixture.samples)
    policy.freeze(*recipe.train.freeze)
    lora = recipe.train.lora
    if lora is not None:
        add_adapter(policy, r=lora.r, alpha=lora.alpha, dropout=lora.dropout)
    with FrameReader(recipe.video, policy.factor, recipe.reading, recipe.closer) as reader:
        trainer = _trainer(recipe, out, policy, mixture, reader, callbacks, judge)
        set_seed(recipe.seed + this_process().process_index)  # each process samples replies of its own
        checkpoint = trainer.train_or_resume()
    best = trainer.state.best_model_checkpoint
    return RunResult(
        checkpoint,
        best=None if best is None else Path(best),
        num_steps=trainer.args.max_steps,
        num_samples=len(mixture.samples),
        num_problems=everything.num_problems,
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


def claim(recipe: SftRecipe | GrpoRecipe, out: Path) -> None:
    """Make ``out`` this recipe's run directory. Raises InputError where another recipe has left results."""
    text = dump_recipe(recipe)
    file = out / RECIPE_FILE
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: --out takes a folder")
    has_results = (out / METRICS_FILE).exists() or (out / WORLD_DIR).exists()
    if has_results and not file.exists():
        raise InputError(f"{out} holds results, and no {RECIPE_FILE} says of what: choose another --out")
    if has_results and file.read_text(encoding="utf-8") != text:
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
        create(start, family, recipe.seed, prompts_and_replies(samples[:2000]))  # type: ignore[arg-type] # checked above
    return load_policy(start, device=str(this_process().device))


def _trainer(
    recipe: SftRecipe | GrpoRecipe,
    out: Path,
    policy: Policy,
    mixture: Mixture,
    reader: FrameReader,
    callbacks: Sequence[TrainerCallback],
    judge: Judge | None,
) -> PromptTrainer:
    num_processes = this_process().num_processes
    steps = num_steps(recipe, mixture.epoch_length, num_processes)
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_steps": steps})})
    num_iterations = recipe.grpo.num_iterations if isinstance(recipe, GrpoRecipe) else 1
    per_step = recipe.train.batch_size * recipe.train.accumulation * num_processes
    num_fresh = math.ceil(steps / num_iterations) * per_step
    schedule = make_schedule(
        mixture,
        num_fresh,
        seed=recipe.seed,
        think_share=recipe.think_share if isinstance(recipe, SftRecipe) else float(recipe.think),
        think_first=recipe.think_first if isinstance(recipe, SftRecipe) else 0.0,
        curriculum=recipe.data.curriculum,
        batch_size=recipe.train.batch_size,
    )
    schedule = repeat_steps(schedule, per_step, num_iterations)[: steps * per_step]
    dataset = PromptDataset(policy, mixture.samples, schedule, reader, recipe.train.batch_size, num_processes)
    validation = load_validation(recipe.validation)
    if isinstance(recipe, GrpoRecipe):
        return GrpoTrainer(policy, recipe, out, dataset, validation, callbacks, judge)
    return SftTrainer(policy, recipe, out, dataset, validation, callbacks, judge)
