"""What GRPO would start from: replies of the untrained model, and what their rewards mean for a run."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from timesight.artifacts import PREVIEW_FILE, PreviewEntry, append_record, drop_torn_line, read_records
from timesight.data.mixture import Mixture
from timesight.generate.base import Sampling
from timesight.generate.local import LocalGenerator
from timesight.tasks import TASKS, Task, TaskRegistry
from timesight.tasks.custom import custom_tasks
from timesight.tasks.scoring import component_means
from timesight.training.build import judge_for, load_model, second_looks_of
from timesight.training.dataset import BrokenItem, Item, PromptDataset, PromptItem
from timesight.training.rollout import ZERO_STD, Sampler
from timesight.training.samples import load_mixture
from timesight.training.schedule import QuestionGrouper, ScheduleEntry, make_schedule
from timesight.training.settings import GrpoRecipe
from timesight.types import Sample
from timesight.video import FrameReader

LOGGER = logging.getLogger("timesight")
NUM_PROMPTS = 50
RARELY, MOSTLY, NEARLY_ALWAYS = 0.1, 0.5, 0.95


@dataclass(frozen=True)
class TaskPreview:
    """One task's replies before training."""

    task: str
    num_prompts: int
    components: dict[str, float]  # mean of each reward component
    frac_reward_zero_std: float  # of groups whose replies all earn the same
    truncated_share: float
    # mean of each reward component, of the video-blind baselines
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)

    def advice(self) -> list[str]:
        """What the figures mean for training, in sentences; empty where nothing stands out."""
        said = []
        others = [value for name, value in self.components.items() if name != "format"]
        if self.components.get("format", 1.0) < RARELY:
            said.append("The model hardly ever answers in the form it is asked for: some SFT first would teach it.")
        if self.truncated_share > RARELY:
            said.append("Many replies are cut off: raise grpo.max_completion_length.")
        if others and min(others) >= NEARLY_ALWAYS:
            said.append("Nearly all replies are right already: there is little to learn here.")
        elif others and max(others) == 0:
            said.append("No reply earned anything but for its form: nothing tells better from worse.")
        elif self.frac_reward_zero_std > MOSTLY:
            said.append(
                "In most groups all replies earn the same and teach nothing: more generations, a higher "
                "temperature or samples of medium difficulty would help."
            )
        return said


def preview(
    recipe: GrpoRecipe,
    out: Path,
    num_prompts: int = NUM_PROMPTS,
    on_prompts: Callable[[int], None] = lambda n: None,
) -> list[TaskPreview]:
    """Sample a group of replies to each of some prompts from the model that ``recipe`` starts from.

    What each group earned is kept in ``out/preview.jsonl``, from which an interrupted preview resumes, and which
    ``data.difficulty`` reads. A sample whose video cannot be read is kept there without replies and warned of.

    Args:
        recipe: What would be trained.
        out: Run directory; a synthetic world is written to it.
        num_prompts: As many, drawn as training would; or all, once each, where there are no more.
        on_prompts: Called with the number of prompts that have been done since.

    Returns:
        One preview a task, sorted by name.

    Raises:
        InputError: And whatever else reading data and models raises.
    """
    tasks = custom_tasks(recipe.tasks)
    mixture = load_mixture(recipe.data, out, tasks=tasks).usable(recipe.seed)
    judge = judge_for(recipe, mixture.samples, out, tasks)
    file, settings = out / PREVIEW_FILE, settings_digest(recipe)
    drop_torn_line(file)
    done = {e.id: e for e in read_records(file, PreviewEntry) if e.settings == settings and e.rewards}
    asked = _drawn(mixture, num_prompts, recipe, tasks)
    batch_size = recipe.train.batch_size
    # Whole batches, so that an interrupted preview draws the random numbers that it would have drawn.
    batches = [asked[first : first + batch_size] for first in range(0, len(asked), batch_size)]
    batches = [batch for batch in batches if any(mixture.samples[e.samples[0]].id not in done for e in batch)]
    missing = [entry for batch in batches for entry in batch]
    on_prompts(sum(mixture.samples[entry.samples[0]].id in done for entry in asked))
    policy = load_model(recipe, out, mixture.samples, tasks)
    with FrameReader(recipe.video, policy.factor, recipe.reading, recipe.second_look) as reader:
        dataset = PromptDataset(policy, mixture.samples, missing, reader, batch_size, tasks=tasks)
        sampler = Sampler(
            LocalGenerator(policy),
            recipe.grpo.num_generations,
            Sampling(temperature=recipe.grpo.temperature, max_new_tokens=recipe.grpo.max_completion_length),
            recipe.grpo.reward_weights,
            judge,
            tasks,
            second_looks_of(recipe, policy, reader, tasks),
        )
        for step in range(math.ceil(len(missing) / batch_size)):
            (items,) = dataset.step(step)
            seed = crc32(f"{recipe.seed} {items[0].sample.id}".encode())
            seeded = replace(sampler, sampling=replace(sampler.sampling, seed=seed))
            fresh = [entry for entry in _entries(seeded, items, settings) if entry.id not in done]
            for entry in fresh:
                append_record(file, entry)
                done[entry.id] = entry
            on_prompts(len(fresh))
    samples = [mixture.samples[entry.samples[0]] for entry in asked]
    return summarize([sample for sample in samples if done[sample.id].rewards], done, tasks)


def _drawn(mixture: Mixture, num_prompts: int, recipe: GrpoRecipe, tasks: TaskRegistry) -> list[ScheduleEntry]:
    if num_prompts >= len(mixture.samples):
        return [ScheduleEntry((index,), recipe.think) for index in range(len(mixture.samples))]
    drawn = make_schedule(
        QuestionGrouper(mixture, 1, tasks), num_prompts, seed=recipe.seed, think_share=float(recipe.think)
    )
    return list(dict.fromkeys(drawn))


def settings_digest(recipe: GrpoRecipe) -> str:
    """A digest of what the replies of a preview and their rewards depend on, but for the samples."""
    settings = recipe.model_dump_json(exclude={"data", "train", "validation"})
    if recipe.train.look_again:
        settings += "look again"
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def _entries(sampler: Sampler, items: Sequence[Item], settings: str) -> list[PreviewEntry]:
    broken = [item for item in items if isinstance(item, BrokenItem)]
    for item in broken:
        LOGGER.warning("%s: no replies: %s", item.sample.id, item.error)
    unread = [
        PreviewEntry(
            id=item.sample.id, task=item.sample.task, settings=settings, rewards=(), components=(), num_truncated=0
        )
        for item in broken
    ]
    return unread + _replied(sampler, [item for item in items if isinstance(item, PromptItem)], settings)


def _replied(sampler: Sampler, items: list[PromptItem], settings: str) -> list[PreviewEntry]:
    if not items:
        return []
    completions = sampler.sample(items)
    rollout = sampler.rollout(items, completions, sampler.look_again(items, completions))
    parts = [rollout.part(index, 1) for index in range(len(items))]
    return [
        PreviewEntry(
            id=item.sample.id,
            task=item.sample.task,
            settings=settings,
            rewards=tuple(None if math.isnan(reward) else reward for reward in part.rewards[0].tolist()),
            components=tuple(dict(components) for components in part.components),
            num_truncated=sum(part.outcome.truncated),
        )
        for item, part in zip(items, parts, strict=True)
    ]


def summarize(
    samples: Sequence[Sample], entries: Mapping[str, PreviewEntry], tasks: TaskRegistry = TASKS
) -> list[TaskPreview]:
    """One preview a task, sorted by name, of ``samples`` by what the ``entries`` of their ids say."""
    names = sorted({sample.task for sample in samples})
    return [_summary(tasks[name], [s for s in samples if s.task == name], entries) for name in names]


def _summary(task: Task[Any, Any], samples: Sequence[Sample], entries: Mapping[str, PreviewEntry]) -> TaskPreview:
    mine = [entries[sample.id] for sample in samples]
    num_replies = sum(len(entry.rewards) for entry in mine)
    return TaskPreview(
        task=task.name,
        num_prompts=len(mine),
        components=component_means([components for entry in mine for components in entry.components]),
        frac_reward_zero_std=sum(entry.reward_std < ZERO_STD for entry in mine) / len(mine),
        truncated_share=sum(entry.num_truncated for entry in mine) / num_replies,
        baselines={
            name: component_means(task.rewards([task.render(answer) for answer in answers], samples))
            for name, answers in task.baselines(samples, [None] * len(samples)).items()
        },
    )
