"""What a policy answers to held-out samples while it trains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object

from timesight.generate.base import Completion, Generator
from timesight.generate.local import LocalGenerator
from timesight.infer.answer import InferenceConfig, answer_batches, share_of_videos
from timesight.infer.clue import ClueGenerator, ClueSettings
from timesight.model.policy import Policy
from timesight.model.processes import this_process
from timesight.tasks import Graded
from timesight.tasks.aggregate import baseline_metrics, metrics_of
from timesight.tasks.scoring import group_totals, reply_rewards, required_components
from timesight.training.loop import REWARD
from timesight.training.sharding import gathered
from timesight.types import Judge, Sample
from timesight.video import ReadingSettings, VideoPool


def validate(
    policy: Policy,
    samples: Sequence[Sample],
    config: InferenceConfig,
    judge: Judge | None = None,
    clue: ClueSettings | None = None,
    reward_weights: Mapping[str, float] = MappingProxyType({}),
    reading: ReadingSettings | None = None,
    pool: VideoPool | None = None,
) -> dict[str, float]:
    """What the policy answers to held-out samples; every process asks about its share of the videos.

    Args:
        policy: Answers greedily.
        samples: All of them, on every process.
        config: How they are asked.
        judge: For tasks whose rewards take one; asked by the main process alone.
        clue: Answer after a second look; None: after one look.
        reward_weights: Of reward components, as in ``GrpoSettings``.
        reading: As in ``answer_batches``.
        pool: As in ``answer_batches``; it reads second looks too.

    Returns:
        On every process: the replies' mean reward (``validation/reward``; absent if none could be judged), each
        task's metrics (``validation/task/metric``), and next to them those of answers that need neither the video
        nor its duration (``validation/task/baseline/metric``). Samples whose video cannot be read are left
        out and counted (``validation/num_unreadable``).
    """
    state = this_process()
    mine = share_of_videos(samples, state.process_index, state.num_processes)
    generator: Generator = LocalGenerator(policy)
    if clue is not None:
        generator = ClueGenerator(generator, config.budget, clue, pool)
    replies: list[tuple[str, str]] = []
    with gathered(policy):  # processes need not keep step
        for batch in answer_batches(generator, mine, config, reading=reading, pool=pool):
            replies += [(sample.id, reply.text) for sample, reply in batch if isinstance(reply, Completion)]
    reply_of = dict(gather_object(replies))
    figures: dict[str, float] = {}
    if state.is_main_process:
        answered = [sample for sample in samples if sample.id in reply_of]
        figures = _figures(answered, [reply_of[sample.id] for sample in answered], config, judge, reward_weights)
        figures["validation/num_unreadable"] = float(len(samples) - len(answered))
    return dict(broadcast_object_list([figures])[0])


def _figures(
    samples: Sequence[Sample],
    replies: Sequence[str],
    config: InferenceConfig,
    judge: Judge | None,
    reward_weights: Mapping[str, float],
) -> dict[str, float]:
    rewards = reply_rewards(replies, samples, [config.think] * len(samples), judge, config.tasks)
    totals = [
        group_totals([components], reward_weights, required_components(config.tasks.of(sample)))[0]
        for sample, components in zip(samples, rewards, strict=True)
    ]
    judged = [total for total in totals if total == total]
    graded: dict[str, list[Graded[Any, Any]]] = defaultdict(list)
    for sample, reply in zip(samples, replies, strict=True):
        graded[sample.task].append(config.tasks.of(sample).grade(sample, reply, config.think))
    figures = {REWARD: sum(judged) / len(judged)} if judged else {}
    for name, items in graded.items():
        asked = [item.sample for item in items]
        task = config.tasks[name]
        lines = {name: metrics_of(task, items, judge=judge)}
        blind = baseline_metrics(task, asked, [None] * len(asked), judge=judge)
        lines |= {f"{name}/{baseline}": metrics for baseline, metrics in blind.items()}
        figures |= {f"validation/{line}/{name}": value for line, m in lines.items() for name, value in m.items()}
    return figures
