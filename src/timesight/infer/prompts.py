"""From a sample to the prompt for the model, with its frames."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from timesight.model.encode import EncodedPrompt, encode_prompt
from timesight.model.policy import Policy
from timesight.model.prompt import Exchange, Prompt
from timesight.tasks import TASKS, TaskRegistry
from timesight.types import PromptPart, Sample, VideoPart
from timesight.video import FrameReader, Wanted


def build_prompt(
    sample: Sample,
    think: bool,
    reader: FrameReader,
    earlier: Sequence[Exchange] = (),
    tasks: TaskRegistry = TASKS,
) -> Prompt:
    """Build the prompt of a sample and read its frames.

    Args:
        sample: What to ask.
        think: Ask in think mode.
        reader: Reads the frames.
        earlier: The conversation so far, about the same video.
        tasks: Where the task of ``sample`` is looked up.

    Raises:
        VideoError: If the video cannot be read.
    """
    parts = tasks.of(sample).prompt(sample, think)
    return Prompt(parts, [reader.read(wanted) for wanted in _wanted(sample, parts, tasks)], earlier)


def encode_sample(
    policy: Policy, sample: Sample, think: bool, reader: FrameReader, tasks: TaskRegistry = TASKS
) -> EncodedPrompt:
    """Build the prompt of a sample as tensors.

    Args:
        policy: Its processor encodes the prompt.
        sample: As in ``build_prompt``.
        think: As in ``build_prompt``.
        reader: As in ``build_prompt``.
        tasks: As in ``build_prompt``.

    Raises:
        VideoError: If the video cannot be read.
    """
    return encode_prompt(policy, build_prompt(sample, think, reader, tasks=tasks))


def shown_frames(sample: Sample, tasks: TaskRegistry = TASKS) -> Hashable:
    """A key of what ``sample`` shows: samples with the same key can share one pass over their frames."""
    return sample.video, sample.segments, tasks.of(sample).frames(sample)


def wanted_frames(sample: Sample, think: bool, tasks: TaskRegistry = TASKS) -> list[Wanted]:
    """Return what has to be read for the prompt of a sample, without reading it.

    Args:
        sample: As in ``build_prompt``.
        think: As in ``build_prompt``.
        tasks: As in ``build_prompt``.

    Returns:
        One item for each video part, in their order; with ``segments`` each has its share of the frame budget.
    """
    return _wanted(sample, tasks.of(sample).prompt(sample, think), tasks)


def _wanted(sample: Sample, parts: Sequence[PromptPart], tasks: TaskRegistry) -> list[Wanted]:
    videos = [part.video for part in parts if isinstance(part, VideoPart)]
    request = tasks.of(sample).frames(sample)
    if not sample.segments:
        return [Wanted(video, request) for video in videos]
    lengths_s = [end_s - start_s for start_s, end_s in sample.segments]
    return [Wanted(v, request, length_s / sum(lengths_s)) for v, length_s in zip(videos, lengths_s, strict=True)]
