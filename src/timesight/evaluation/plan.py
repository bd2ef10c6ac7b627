"""Estimate of an evaluation before it is run: items, missing videos, tokens, and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from timesight.errors import VideoError
from timesight.generate.base import Completion, Generator
from timesight.infer.answer import InferenceConfig, answer_batches
from timesight.types import Sample
from timesight.video import VideoPool, probe

TRIED_BATCHES = 2  # the first one warms up: it is not timed if there is another


@dataclass(frozen=True)
class RunPlan:
    """What is known before a run.

    Args:
        num_items: Number of questions.
        num_videos: Number of video files.
        video_seconds: Length of all readable files together, in seconds.
        missing: Why a file cannot be read, by its path.
        num_tried: Number of questions that got a reply for the estimate.
        prompt_tokens: Estimate for all questions on readable videos; None if the generator does not report tokens.
        new_tokens: Estimate for their replies.
        seconds: Estimate of the run time; None if no question got a reply.
    """

    num_items: int
    num_videos: int
    video_seconds: float
    missing: dict[str, str]
    num_tried: int
    prompt_tokens: int | None
    new_tokens: int | None
    seconds: float | None

    def lines(self) -> list[str]:
        """Return the plan as lines of text for the terminal."""
        lines = [
            f"{self.num_items} items on {self.num_videos} videos of {self.video_seconds / 60:.1f} minutes in all"
        ]
        lines += [f"{len(self.missing)} videos cannot be read:"] if self.missing else ["all videos are there"]
        lines += [f"  {path}: {why}" for path, why in list(self.missing.items())[:10]]
        if self.seconds is None:
            return [*lines, "nothing could be tried, so there is no estimate of tokens and time"]
        tokens = ""
        if self.prompt_tokens is not None:
            tokens = f"{self.prompt_tokens:,} tokens of prompts, {self.new_tokens:,} of replies, "
        needed = f"{self.seconds:.0f} seconds" if self.seconds < 120 else f"{self.seconds / 60:.0f} minutes"
        return [*lines, f"about {tokens}{needed} (from {self.num_tried} questions that were answered)"]


def plan_run(
    generator: Generator,
    samples: Sequence[Sample],
    config: InferenceConfig,
    pool: VideoPool | None,
    on_video: Callable[[], None] = lambda: None,
) -> RunPlan:
    """Probe every video, ask a few questions, and extrapolate tokens and time from them.

    Args:
        generator: The model.
        samples: The questions.
        config: How they are asked; ``batch_size`` also sets how many are tried.
        pool: As in ``runner.collect_replies``.
        on_video: Called after each video was probed.
    """
    durations_s: dict[str, float] = {}
    missing: dict[str, str] = {}
    for path, video in {str(sample.video.path): sample.video for sample in samples}.items():
        try:
            durations_s[path] = probe(video).duration_s
        except VideoError as error:
            missing[path] = error.reason
        on_video()
    readable = [sample for sample in samples if str(sample.video.path) in durations_s]
    tried: list[tuple[float, list[Completion]]] = []
    began = time.perf_counter()
    few = _evenly_spaced(readable, TRIED_BATCHES * config.batch_size)
    for batch in answer_batches(generator, few, config, pool=pool):
        now = time.perf_counter()
        tried.append((now - began, [outcome for _, outcome in batch if isinstance(outcome, Completion)]))
        began = now
    timed = tried[1:] or tried
    answers = [answer for _, batch in timed for answer in batch]
    share = len(readable) / len(answers) if answers else 0.0
    known = [
        (a.prompt_tokens, a.completion_tokens)
        for a in answers
        if a.prompt_tokens is not None and a.completion_tokens is not None
    ]
    return RunPlan(
        num_items=len(samples),
        num_videos=len(durations_s) + len(missing),
        video_seconds=sum(durations_s.values()),
        missing=missing,
        num_tried=sum(len(batch) for _, batch in tried),
        prompt_tokens=round(sum(p for p, _ in known) * share) if known else None,
        new_tokens=round(sum(n for _, n in known) * share) if known else None,
        seconds=sum(seconds for seconds, _ in timed) * share if answers else None,
    )


def _evenly_spaced(samples: Sequence[Sample], count: int) -> list[Sample]:
    """About ``count`` samples: all questions on videos that are evenly spaced in the list."""
    paths = list(dict.fromkeys(sample.video.path for sample in samples))
    step = max(1, len(samples) // max(1, count))
    chosen = set(paths[::step])
    return [sample for sample in samples if sample.video.path in chosen]
