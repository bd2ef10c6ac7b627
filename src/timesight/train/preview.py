"""What GRPO would start from: replies of the untrained model, and what their rewards mean for a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from timesight.model.encode import collate
from timesight.model.policy import Policy
from timesight.tasks import TASKS
from timesight.tasks.own import own_tasks
from timesight.tasks.scoring import part_means
from timesight.train.advantages import group_spread
from timesight.train.dataset import PromptDataset, PromptItem
from timesight.train.rollout import NO_SPREAD, Rollout, make_rollout, sample_groups
from timesight.train.run import judge_for, load_model
from timesight.train.samples import load_mixture
from timesight.train.schedule import make_schedule
from timesight.train.settings import GrpoRecipe
from timesight.types import Judge, Rewards, Sample
from timesight.video import FrameReader

NUM_PROMPTS = 50
RARELY, MOSTLY, NEARLY_ALWAYS = 0.1, 0.5, 0.95


@dataclass(frozen=True)
class TaskPreview:
    """One task's replies before training."""

    task: str
    num_prompts: int
    parts: dict[str, float]  # mean of each reward part
    no_spread_share: float  # of groups whose replies all earn the same
    truncated_share: float
    # mean of each reward part, by what answers without a look at the video
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
        elif self.no_spread_share > MOSTLY:
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

    A made world is written to ``out``. ``on_prompts`` is told how many prompts are done. Raises what reading data
    and models raises.
    """
    with own_tasks(recipe.tasks):
        return _preview(recipe, out, num_prompts, on_prompts)


def _preview(
    recipe: GrpoRecipe, out: Path, num_prompts: int, on_prompts: Callable[[int], None]
) -> list[TaskPreview]:
    mixture = load_mixture(recipe.data, out).usable(recipe.seed)
    judge = judge_for(recipe, mixture.samples, out)
    policy = load_model(recipe, out, mixture.samples)
    schedule = make_schedule(mixture, num_prompts, seed=recipe.seed, think_share=float(recipe.think))
    batch_size, rollouts = recipe.train.batch_size, []
    with FrameReader(recipe.video, policy.factor, recipe.reading, recipe.closer) as reader:
        dataset = PromptDataset(policy, mixture.samples, schedule, reader, batch_size)
        for first in range(0, len(dataset), batch_size):
            items = [dataset[index] for index in range(first, min(first + batch_size, len(dataset)))]
            readable = [item for item in items if isinstance(item, PromptItem)]
            if readable:
                rollouts.append(_roll_out(policy, readable, recipe, judge))
            on_prompts(len(items))
    return summarize(rollouts)


def _roll_out(policy: Policy, items: list[PromptItem], recipe: GrpoRecipe, judge: Judge | None) -> Rollout:
    sampled = sample_groups(policy, collate(policy, [item.encoded for item in items]), recipe.grpo)
    return make_rollout(items, sampled, recipe.grpo, policy.device, judge)


def summarize(rollouts: Sequence[Rollout]) -> list[TaskPreview]:
    """One preview a task, sorted by name."""
    return [_summary(task, rollouts) for task in sorted({name for rollout in rollouts for name in rollout.tasks})]


def _summary(task: str, rollouts: Sequence[Rollout]) -> TaskPreview:
    samples: list[Sample] = []
    parts: list[Rewards] = []
    spreads: list[float] = []
    truncated: list[bool] = []
    for rollout in rollouts:
        group = rollout.rewards.shape[1]
        for index, item in enumerate(rollout.items):
            if item.sample.task == task:
                rows = slice(index * group, (index + 1) * group)
                samples.append(item.sample)
                parts += rollout.parts[rows]
                spreads += group_spread(rollout.rewards[index : index + 1]).tolist()
                truncated += rollout.sampled.truncated[rows]
    return TaskPreview(
        task=task,
        num_prompts=len(samples),
        parts=part_means(parts),
        no_spread_share=sum(spread < NO_SPREAD for spread in spreads) / len(spreads),
        truncated_share=sum(truncated) / len(truncated),
        baselines={
            name: part_means(TASKS[task].rewards([TASKS[task].render(answer) for answer in answers], samples))
            for name, answers in TASKS[task].baselines(samples, [None] * len(samples)).items()
        },
    )
