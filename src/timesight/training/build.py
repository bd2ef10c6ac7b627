"""Builds what a run needs, as its recipe says: model, judge, schedule, sampler, second looks."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Sequence
from pathlib import Path

from accelerate.utils import broadcast_object_list

from timesight.artifacts import METRICS_FILE
from timesight.data.mixture import Mixture
from timesight.errors import RecipeError, SampleError
from timesight.generate.base import Generator
from timesight.generate.local import LocalGenerator
from timesight.generate.vllm import VllmGenerator
from timesight.infer.answer import MAX_NEW_TOKENS, InferenceConfig
from timesight.infer.clue import ClueSettings
from timesight.judge import open_judge
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.model.processes import this_process
from timesight.model.tiny import NEW, create
from timesight.model.vision import FeatureStore
from timesight.tasks import TASKS, TaskRegistry
from timesight.tasks.corpus import prompts_and_replies
from timesight.training.dataset import PromptDataset
from timesight.training.look_again import SecondLooks
from timesight.training.schedule import QuestionGrouper, make_schedule
from timesight.training.settings import GrpoRecipe, SftRecipe
from timesight.types import Judge, Sample, TextPart
from timesight.video import FrameReader
from timesight.world import WorldJudge

LOGGER = logging.getLogger("timesight")
PUSHED_DIR = "pushed"  # weights for a server that samples


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
    is_new = not (out / METRICS_FILE).exists()  # what is in the folder may be another recipe's, or half written
    with this_process().main_process_first():
        if is_new and this_process().is_main_process:
            create(start, family, recipe.seed, prompts_and_replies(samples[:2000], tasks))
    return load_policy(start, device=str(this_process().device))


def judge_for(
    recipe: SftRecipe | GrpoRecipe, samples: Sequence[Sample], out: Path, tasks: TaskRegistry = TASKS
) -> Judge | None:
    """The judge of ``recipe`` for ``samples``, those of its validation included; its answers are kept in ``out``.

    Raises RecipeError where GRPO needs one and the recipe names none.
    """
    asked = sorted({sample.task for sample in samples if tasks.of(sample).needs_judge})
    if asked and recipe.kind == "grpo" and recipe.judge is None:
        raise RecipeError(
            f"{asked[0]} is rewarded by a judge, and the recipe names none: add a section such as "
            "judge: {kind: served, model: NAME, base_url: URL}, or {kind: world} for the synthetic world"
        )
    return open_judge(recipe.judge if asked else None, WorldJudge(), out)


def require_plain_texts(policy: Policy, samples: Sequence[Sample], tasks: TaskRegistry) -> None:
    """Check what ``samples`` ask and their gold replies.

    Raises:
        SampleError: If one holds a special token of the model: it would be read as one, in the middle of a run.
    """
    for sample in samples:
        task = tasks.of(sample)
        asked = [part.text for part in task.prompt(sample) if isinstance(part, TextPart)]
        for text in (*asked, task.gold(sample, think=True)):
            if (token := policy.special_token_in(text)) is not None:
                raise SampleError(
                    f"{sample.id}: its text holds {token}, a special token of the model: take it out of the data"
                )


def clue_of(recipe: SftRecipe | GrpoRecipe) -> ClueSettings | None:
    """How ``recipe`` takes second looks; None where it takes none."""
    return ClueSettings(**recipe.second_look.model_dump()) if recipe.train.look_again else None


def second_looks_of(
    recipe: GrpoRecipe, policy: Policy, reader: FrameReader, tasks: TaskRegistry
) -> SecondLooks | None:
    """What makes the prompts of second looks; None where ``recipe`` takes none."""
    clue = clue_of(recipe)
    return None if clue is None else SecondLooks(policy, reader, clue, tasks)


def make_generator(recipe: GrpoRecipe, policy: Policy, out: Path) -> Generator:
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


def make_grouper(recipe: SftRecipe | GrpoRecipe, mixture: Mixture, tasks: TaskRegistry) -> QuestionGrouper:
    """Deals the questions of ``mixture``; warns of those that share no frames with others."""
    grouper = QuestionGrouper(mixture, recipe.train.questions_per_video, tasks)
    if recipe.train.questions_per_video > 1 and grouper.num_apart:
        LOGGER.warning(
            "%d of %d questions ask for other frames than the rest on their video: they share nothing with them",
            grouper.num_apart,
            len(mixture.samples),
        )
    return grouper


def make_dataset(
    recipe: SftRecipe | GrpoRecipe, policy: Policy, grouper: QuestionGrouper, reader: FrameReader, steps: int
) -> PromptDataset:
    """The prompts of all steps, of which ``num_iterations`` in a row take the same ones."""
    processes = this_process()
    settings = recipe.train
    num_iterations = recipe.grpo.num_iterations if isinstance(recipe, GrpoRecipe) else 1
    per_step = settings.batch_size * settings.gradient_accumulation_steps * processes.num_processes
    schedule = make_schedule(
        grouper,
        math.ceil(steps / num_iterations) * per_step,
        seed=recipe.seed,
        think_share=recipe.think_share if isinstance(recipe, SftRecipe) else float(recipe.think),
        think_first=recipe.think_first if isinstance(recipe, SftRecipe) else 0.0,
        curriculum=recipe.data.curriculum,
        batch_size=settings.batch_size,
    )
    return PromptDataset(
        policy,
        grouper.mixture.samples,
        schedule,
        reader,
        settings.batch_size,
        num_micro_batches=settings.gradient_accumulation_steps,
        process=processes.process_index,
        num_processes=processes.num_processes,
        tasks=grouper.tasks,
    )


def validation_config(recipe: SftRecipe | GrpoRecipe, tasks: TaskRegistry) -> InferenceConfig:
    """How ``recipe``, which has validation samples, asks them."""
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


def make_feature_store(recipe: SftRecipe | GrpoRecipe, policy: Policy) -> FeatureStore | None:
    """Where vision features are kept between steps; None where ``recipe`` computes them anew."""
    settings = recipe.train
    if settings.cache_vision_features is None:
        return None
    return FeatureStore(
        settings.cache_vision_features, policy, max_bytes=int(settings.cache_vision_features_gb * 1e9)
    )
