"""What GRPO would start from: replies of the untrained model, and what their rewards mean for a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timesight.generate.base import Generator, Sampling
from timesight.generate.local import LocalGenerator
from timesight.tasks import TASKS, Task, TaskRegistry
from timesight.tasks.custom import custom_tasks
from timesight.tasks.scoring import component_means
from timesight.training.advantages import group_std
from timesight.training.dataset import PromptDataset, PromptItem
from timesight.training.rollout import ZERO_STD, Rollout, make_rollout, sample_groups
from timesight.training.run import judge_for, load_model
from timesight.training.samples import load_mixture
from timesight.training.schedule import make_schedule
from timesight.training.settings import GrpoRecipe
from timesight.types import Judge, Rewards, Sample
from timesight.video import FrameReader

NUM_PROMPTS = 50
RARELY, MOSTLY, NEARLY_ALWAYS = 0.1, 0.5, 0.95


@dataclass(frozen=True)
class TaskPreview:
    """One task's replies before training."""

    task: str
    num_prompts: int
    parts: dict[str, float]  # mean of each reward component
    frac_reward_zero_std: float  # of groups whose replies all earn the same
    truncated_share: float
    # mean of each reward component, by what answers without a look at the video
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)

    def advice(self) -> list[str]:
        """What the figures mean for training, in sentences; empty where nothing stands out."""
        said = []
        others = [value for name, value in self.parts.items() if name != "format"]
        if self.parts.get("format", 1.0) < RARELY:
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
                "temperature or samples of middling difficulty would help."
            )
        return said


def preview(
    recipe: GrpoRecipe,
    out: Path,
    num_prompts: int = NUM_PROMPTS,
    on_prompts: Callable[[int], None] = lambda n: None,
) -> list[TaskPreview]:
    """Sample a group of replies to each of ``num_prompts`` prompts from the model that ``recipe`` starts from.

    A synthetic world is written to ``out``. ``on_prompts`` gets the number of prompts done. Raises what
    reading data and models raises.
    """
    tasks = custom_tasks(recipe.tasks)
    mixture = load_mixture(recipe.data, out, tasks=tasks).usable(recipe.seed)
    judge = judge_for(recipe, mixture.samples, out, tasks)
    policy = load_model(recipe, out, mixture.samples, tasks)
    schedule = make_schedule(mixture, num_prompts, seed=recipe.seed, think_share=float(recipe.think), tasks=tasks)
    batch_size, rollouts = recipe.train.batch_size, []
    with FrameReader(recipe.video, policy.factor, recipe.reading, recipe.second_look) as reader:
        dataset = PromptDataset(policy, mixture.samples, schedule, reader, batch_size, tasks=tasks)
        generator = LocalGenerator(policy)
        for step in range(math.ceil(len(schedule) / batch_size)):
            (items,) = dataset.step(step)
            prompts = [item for item in items if isinstance(item, PromptItem)]
            if prompts:
                rollouts.append(_roll_out(generator, prompts, recipe, judge, tasks))
            on_prompts(len(items))
    return summarize(rollouts, tasks)


def _roll_out(
    generator: Generator, items: list[PromptItem], recipe: GrpoRecipe, judge: Judge | None, tasks: TaskRegistry
) -> Rollout:
    settings = recipe.grpo
    sampling = Sampling(temperature=settings.temperature, max_new_tokens=settings.max_completion_length)
    prompts = [item.encoded for item in items]
    completions = sample_groups(generator, items, prompts, settings.num_generations, sampling)
    return make_rollout(items, completions, settings.reward_weights, judge, tasks)


def summarize(rollouts: Sequence[Rollout], tasks: TaskRegistry = TASKS) -> list[TaskPreview]:
    """One preview a task, sorted by name."""
    return [
        _summary(tasks[task], rollouts) for task in sorted({name for rollout in rollouts for name in rollout.tasks})
    ]


def _summary(task: Task[Any, Any], rollouts: Sequence[Rollout]) -> TaskPreview:
    samples: list[Sample] = []
    parts: list[Rewards] = []
    stds: list[float] = []
    truncated: list[bool] = []
    for rollout in rollouts:
        group = rollout.num_generations
        for index, item in enumerate(rollout.items):
            if item.sample.task == task.name:
                rows = slice(index * group, (index + 1) * group)
                samples.append(item.sample)
                parts += rollout.components[rows]
                stds += group_std(rollout.rewards[index : index + 1]).tolist()
                truncated += [completion.truncated for completion in rollout.completions[rows]]
    return TaskPreview(
        task=task.name,
        num_prompts=len(samples),
        parts=component_means(parts),
        frac_reward_zero_std=sum(std < ZERO_STD for std in stds) / len(stds),
        truncated_share=sum(truncated) / len(truncated),
        baselines={
            name: component_means(task.rewards([task.render(answer) for answer in answers], samples))
            for name, answers in task.baselines(samples, [None] * len(samples)).items()
        },
    )
