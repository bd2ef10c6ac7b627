"""From a recipe to a trained model in a run directory.

A run directory holds ``recipe.yaml``, ``data.json`` (digests of the samples), ``metrics.jsonl``,
``completions/``, ``quarantine.jsonl`` and ``checkpoint-N/``, each an ordinary Hugging Face folder. Running the same
recipe there again goes on from the newest checkpoint.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import set_seed

from timesight.artifacts import METRICS_FILE, QUARANTINE_FILE
from timesight.data.mixture import Mixture
from timesight.errors import InputError, RecipeError
from timesight.files import json_content, json_text, read_text, write_text
from timesight.generate.base import Generator
from timesight.generate.local import LocalGenerator
from timesight.generate.vllm import VllmGenerator
from timesight.infer.answer import MAX_NEW_TOKENS, InferenceConfig
from timesight.infer.clue import ClueSettings
from timesight.judge import open_judge
from timesight.model.adapter import add_adapter
from timesight.model.load import load_policy, resolve
from timesight.model.policy import Policy
from timesight.model.tiny import create
from timesight.model.vision import FeatureStore
from timesight.tasks import TASKS, TaskRegistry
from timesight.tasks.corpus import prompts_and_replies
from timesight.tasks.custom import custom_tasks
from timesight.training.checkpoint import TrainingState, checkpoint_folder
from timesight.training.dataset import PromptDataset
from timesight.training.difficulty import by_difficulty
from timesight.training.grpo import Grpo, reference_of
from timesight.training.look_again import SecondLooks
from timesight.training.loop import Listener, TrainingLoop, make_accelerator, this_process
from timesight.training.metrics import MetricsLog
from timesight.training.recipe import difference, dump_recipe, load_recipe
from timesight.training.samples import WORLD_DIR, load_mixture, load_validation
from timesight.training.schedule import Dealer, make_schedule, num_steps
from timesight.training.settings import GrpoRecipe, SftRecipe
from timesight.training.sft import Sft
from timesight.training.sharding import load_whole
from timesight.training.validate import validate
from timesight.training.watch import Watch
from timesight.types import Judge, Sample
from timesight.video import FrameReader, Quarantine
from timesight.world import WorldJudge

LOGGER = logging.getLogger("timesight")
RECIPE_FILE, DATA_FILE = "recipe.yaml", "data.json"
PUSHED_DIR = "pushed"  # weights for a server that samples
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


def train(
    recipe: str | Path | SftRecipe | GrpoRecipe,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    listeners: Sequence[Listener] = (),
) -> RunResult:
    """Train by a recipe, SFT or GRPO as it says; a run that was interrupted goes on.

    Args:
        recipe: Name of a shipped recipe, a YAML file, or a recipe.
        out: Run directory.
        overrides: Keys of the recipe, such as ``train.learning_rate=1e-6``; for one that is read.
        listeners: Told how the run goes on.

    Returns:
        Where the checkpoint is, and what was left out.

    Raises:
        RecipeError: If the recipe has an unknown key or a value that cannot be used.
        InputError: If ``out`` holds results of another recipe, or data or a model cannot be read.
        TrainingError: If the run cannot go on.
    """
    if isinstance(recipe, (str, Path)):
        recipe = load_recipe(recipe, overrides)
    return run_recipe(recipe, Path(out), listeners=listeners)


def run_recipe(recipe: SftRecipe | GrpoRecipe, out: Path, *, listeners: Sequence[Listener] = ()) -> RunResult:
    """Train as ``recipe`` says in the run directory ``out``, resuming what is there.

    Raises InputError when ``out`` holds results of another recipe, and whatever reading data and models raises.
    """
    tasks = custom_tasks(recipe.tasks)
    with this_process().main_process_first():
        init_run_dir(recipe, out)
        everything = load_mixture(recipe.data, out, tasks=tasks)
        require_same_samples(everything, [source.name for source in recipe.data.all_sources], out)
    mixture = everything.usable(recipe.seed)
    if recipe.data.difficulty is not None:
        usable, mixture = mixture, by_difficulty(mixture, recipe.data.difficulty)
        LOGGER.warning("data.difficulty keeps %d of %d samples", len(mixture.samples), len(usable.samples))
    judge = judge_for(recipe, mixture.samples, out, tasks)
    set_seed(recipe.seed)
    load_whole()
    policy = load_model(recipe, out, mixture.samples, tasks)
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
        state = _train(recipe, out, policy, mixture, reader, quarantine, judge, tasks, listeners)
    return RunResult(
        checkpoint=checkpoint_folder(out, state.step),
        best=None if state.best_step is None else checkpoint_folder(out, state.best_step),
        num_steps=state.step,
        num_samples=len(mixture.samples),
        num_problems=everything.num_problems,
        num_quarantined=len(quarantine),
    )


def _train(
    recipe: SftRecipe | GrpoRecipe,
    out: Path,
    policy: Policy,
    mixture: Mixture,
    reader: FrameReader,
    quarantine: Quarantine,
    judge: Judge | None,
    tasks: TaskRegistry,
    listeners: Sequence[Listener],
) -> TrainingState:
    """The schedule, the algorithm and the loop of ``recipe``."""
    dealer = _dealer(recipe, mixture, tasks)
    processes = this_process()
    steps = num_steps(recipe, dealer.num_entries(recipe.train.epochs, recipe.seed), processes.num_processes)
    settings = recipe.train.model_copy(update={"max_steps": steps})
    dataset = _dataset(recipe, policy, dealer, reader, steps)
    accelerator = make_accelerator(policy, settings, out)
    metrics = MetricsLog(out / METRICS_FILE, policy.device, accelerator)
    store = _feature_store(recipe, policy)
    reference = reference_of(policy, recipe, accelerator) if isinstance(recipe, GrpoRecipe) else nullcontext
    validation = load_validation(recipe.validation, tasks)
    loop: TrainingLoop[Any] = TrainingLoop(
        policy,
        settings,
        out,
        accelerator,
        metrics,
        validate=(lambda: validate(policy, validation, _validation_config(recipe, tasks), judge, clue_of(recipe)))
        if validation
        else None,
        validate_steps=recipe.validation.every_steps if recipe.validation else None,
        listeners=(*listeners, Watch()) if isinstance(recipe, GrpoRecipe) else listeners,
    )
    set_seed(recipe.seed + processes.process_index)  # each process samples replies of its own
    if isinstance(recipe, GrpoRecipe):
        generator = _generator(recipe, policy, out)
        return loop.run(
            Grpo(
                policy,
                recipe,
                out,
                accelerator,
                metrics,
                quarantine,
                generator,
                reference=reference,
                judge=judge,
                store=store,
                draw=dataset.draw,
                second_looks=second_looks_of(recipe, policy, reader, tasks),
                tasks=tasks,
            ),
            dataset.step,
        )
    return loop.run(Sft(policy, recipe, accelerator, metrics, quarantine, store, tasks), dataset.step)


def clue_of(recipe: SftRecipe | GrpoRecipe) -> ClueSettings | None:
    """How ``recipe`` takes second looks; None where it takes none."""
    return ClueSettings(**recipe.second_look.model_dump()) if recipe.train.look_again else None


def second_looks_of(
    recipe: GrpoRecipe, policy: Policy, reader: FrameReader, tasks: TaskRegistry
) -> SecondLooks | None:
    """What makes the prompts of second looks; None where ``recipe`` takes none."""
    clue = clue_of(recipe)
    return None if clue is None else SecondLooks(policy, reader, clue, tasks)


def _generator(recipe: GrpoRecipe, policy: Policy, out: Path) -> Generator:
    """What samples the replies."""
    url = recipe.grpo.vllm_server_base_url
    if url is None:
        return LocalGenerator(policy)
    (run,) = broadcast_object_list([secrets.token_hex(4)])
    return VllmGenerator(
        policy,
        url,
        pushed_dir=out / PUSHED_DIR,
        run=run,
        is_main=this_process().is_main_process,
        timeout_s=recipe.grpo.vllm_server_timeout,
    )


def _dealer(recipe: SftRecipe | GrpoRecipe, mixture: Mixture, tasks: TaskRegistry) -> Dealer:
    """Deals the questions of ``mixture``; warns of those that share no frames with others."""
    dealer = Dealer(mixture, recipe.train.questions_per_video, tasks)
    if recipe.train.questions_per_video > 1 and dealer.num_apart:
        LOGGER.warning(
            "%d of %d questions ask for other frames than the rest on their video: they share nothing with them",
            dealer.num_apart,
            len(mixture.samples),
        )
    return dealer


def _dataset(
    recipe: SftRecipe | GrpoRecipe, policy: Policy, dealer: Dealer, reader: FrameReader, steps: int
) -> PromptDataset:
    """The prompts of all steps, of which ``num_iterations`` in a row take the same ones."""
    processes = this_process()
    settings = recipe.train
    num_iterations = recipe.grpo.num_iterations if isinstance(recipe, GrpoRecipe) else 1
    per_step = settings.batch_size * settings.gradient_accumulation_steps * processes.num_processes
    schedule = make_schedule(
        dealer,
        math.ceil(steps / num_iterations) * per_step,
        seed=recipe.seed,
        think_share=recipe.think_share if isinstance(recipe, SftRecipe) else float(recipe.think),
        think_first=recipe.think_first if isinstance(recipe, SftRecipe) else 0.0,
        curriculum=recipe.data.curriculum,
        batch_size=settings.batch_size,
    )
    return PromptDataset(
        policy,
        dealer.mixture.samples,
        schedule,
        reader,
        settings.batch_size,
        num_micro_batches=settings.gradient_accumulation_steps,
        process=processes.process_index,
        num_processes=processes.num_processes,
        tasks=dealer.tasks,
    )


def _validation_config(recipe: SftRecipe | GrpoRecipe, tasks: TaskRegistry) -> InferenceConfig:
    assert recipe.validation is not None
    if isinstance(recipe, GrpoRecipe):
        think, max_new_tokens = recipe.think, recipe.grpo.max_completion_length
    else:
        think, max_new_tokens = recipe.think_share == 1, MAX_NEW_TOKENS
    return InferenceConfig(
        recipe.video,
        think,
        batch_size=recipe.validation.batch_size,
        max_new_tokens=max_new_tokens,
        second_look=recipe.second_look,
        tasks=tasks,
    )


def _feature_store(recipe: SftRecipe | GrpoRecipe, policy: Policy) -> FeatureStore | None:
    settings = recipe.train
    if settings.cache_vision_features is None:
        return None
    return FeatureStore(
        settings.cache_vision_features, policy, max_bytes=int(settings.cache_vision_features_gb * 1e9)
    )


def idle_gpus() -> int:
    """GPUs that this run leaves idle, because it was started as one process."""
    return max(0, torch.cuda.device_count() - 1) if this_process().num_processes == 1 else 0


def judge_for(
    recipe: SftRecipe | GrpoRecipe, samples: Sequence[Sample], out: Path, tasks: TaskRegistry = TASKS
) -> Judge | None:
    """The judge of ``recipe``, its answers kept in ``out``. Raises RecipeError where one is needed and missing."""
    asked = sorted({sample.task for sample in samples if tasks.of(sample).needs_judge})
    if asked and recipe.kind == "grpo" and recipe.judge is None:
        raise RecipeError(
            f"{asked[0]} is rewarded by a judge and the recipe names none: add a section such as "
            "judge: {kind: served, model: NAME, base_url: URL}, or {kind: world} for the synthetic world"
        )
    return open_judge(recipe.judge if asked else None, WorldJudge(), out)


def init_run_dir(recipe: SftRecipe | GrpoRecipe, out: Path) -> None:
    """Make ``out`` this recipe's run directory.

    Raises:
        InputError: Where another recipe has left results; or if the model is no folder, before worlds are written.
    """
    if not recipe.model.startswith(NEW):
        resolve(recipe.model)
    text = dump_recipe(recipe)
    file = out / RECIPE_FILE
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: --out takes a folder")
    has_results = (out / METRICS_FILE).exists() or (out / WORLD_DIR).exists()
    if has_results and not file.exists():
        raise InputError(f"{out} holds results, and no {RECIPE_FILE} says of what: choose another --out")
    if has_results and (before := file.read_text(encoding="utf-8")) != text:
        changed = difference(before, text)
        raise InputError(f"{out} holds results of another recipe ({changed}): choose another --out")
    write_text(file, text)


def require_same_samples(mixture: Mixture, sources: Sequence[str], out: Path) -> None:
    """Keep what the samples of each source are in a new run directory.

    Raises:
        InputError: If they are others than the run began with: it would go on in another order.
    """
    file = out / DATA_FILE
    digests = dict(zip(sources, mixture.digests(), strict=True))
    if not (out / METRICS_FILE).exists() or not file.exists():
        write_text(file, json_text(digests, indent=2))
        return
    before = json_content(read_text(file), file)
    changed = [name for name, digest in digests.items() if before.get(name) != digest]
    if changed:
        raise InputError(
            f"{changed[0]}: holds other samples than when the run in {out} began: put them back, or choose another "
            "--out"
        )


def load_model(
    recipe: SftRecipe | GrpoRecipe, out: Path, samples: list[Sample], tasks: TaskRegistry = TASKS
) -> Policy:
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
    start = out / "start"
    if not (start / "config.json").exists():
        create(start, family, recipe.seed, prompts_and_replies(samples[:2000], tasks))
    return load_policy(start, device=str(this_process().device))
