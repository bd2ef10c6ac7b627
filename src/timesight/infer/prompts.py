"""From a sample to the prompt that a model is given, with the frames it asks for."""

from __future__ import annotations

from collections.abc import Sequence

from timesight.model.encode import EncodedPrompt, encode_prompt
from timesight.model.policy import Policy
from timesight.model.prompt import Exchange, Prompt
from timesight.tasks import TASKS
from timesight.types import Part, Sample, VideoPart
from timesight.video import FrameReader, Wanted


def build_prompt(sample: Sample, think: bool, reader: FrameReader, earlier: Sequence[Exchange] = ()) -> Prompt:
    """The prompt of ``sample``; ``earlier`` is what was said before it. Raises VideoError."""
    parts = TASKS[sample.task].prompt(sample, think)
    return Prompt(parts, [reader.read(wanted) for wanted in _wanted(sample, parts)], earlier)


def encode_sample(policy: Policy, sample: Sample, think: bool, reader: FrameReader) -> EncodedPrompt:
    """The prompt of ``sample`` as tensors. Raises VideoError."""
    return encode_prompt(policy, build_prompt(sample, think, reader))


def wanted_frames(sample: Sample, think: bool) -> list[Wanted]:
    """What has to be read of which videos for the prompt of ``sample``."""
    return _wanted(sample, TASKS[sample.task].prompt(sample, think))


def _wanted(sample: Sample, parts: Sequence[Part]) -> list[Wanted]:
    videos = [part.video for part in parts if isinstance(part, VideoPart)]
    request = TASKS[sample.task].frames(sample)
    if not sample.segments:
        return [Wanted(video, request) for video in videos]
    lengths_s = [end_s - start_s for start_s, end_s in sample.segments]
    return [Wanted(v, request, length_s / sum(lengths_s)) for v, length_s in zip(videos, lengths_s, strict=True)]
