"""One look at a video, one answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from timesight.errors import VideoError
from timesight.policy.encode import collate, encode_sample, wanted_frames
from timesight.policy.generate import Sampled, generate
from timesight.policy.policy import Policy
from timesight.tasks import TASKS
from timesight.types import Pass, Reply, Sample, Span, Video
from timesight.video import FrameBudget, FrameReader, ReadingSettings

MAX_NEW_TOKENS = 256


def answer_batches(
    policy: Policy,
    samples: Sequence[Sample],
    *,
    budget: FrameBudget,
    think: bool,
    temperature: float,
    batch_size: int,
    max_new_tokens: int = MAX_NEW_TOKENS,
    reading: ReadingSettings | None = None,
) -> Iterator[list[tuple[Sample, str | VideoError]]]:
    """Answer ``samples`` batch by batch, in order: each with its reply, or with why its video cannot be read.

    ``reading`` lets other processes read the videos of the next batch meanwhile.
    """
    with FrameReader(budget, policy.factor, reading) as reader:
        for first in range(0, len(samples), batch_size):
            batch = samples[first : first + batch_size]
            for sample in samples[first : first + 2 * batch_size]:
                reader.expect(wanted_frames(sample, think))
            outcomes: dict[str, str | VideoError] = {}
            readable, encoded = [], []
            for sample in batch:
                try:
                    encoded.append(encode_sample(policy, sample, think, reader))
                    readable.append(sample)
                except VideoError as error:
                    outcomes[sample.id] = error
            if readable:
                sampled: Sampled = generate(
                    policy, collate(policy, encoded), temperature=temperature, max_new_tokens=max_new_tokens
                )
                outcomes |= {sample.id: text for sample, text in zip(readable, sampled.texts, strict=True)}
            yield [(sample, outcomes[sample.id]) for sample in batch]


def ask(
    policy: Policy,
    video: str | Path | Video,
    question: str,
    *,
    think: bool = False,
    budget: FrameBudget | None = None,
) -> Reply:
    """Ask when something happens in a video and get the answer with its evidence.

    Raises VideoError for a video that cannot be read.
    """
    task = TASKS["temporal_grounding"]
    source = video if isinstance(video, Video) else Video(path=Path(video))
    sample = task.Sample.model_validate(
        {"id": "question", "task": task.name, "video": source, "query": question, "spans": []}
    )
    reader = FrameReader(budget or policy.default_budget, policy.factor)
    started = time.perf_counter()
    encoded = encode_sample(policy, sample, think, reader)
    text = generate(policy, collate(policy, [encoded]), temperature=0, max_new_tokens=MAX_NEW_TOKENS).texts[0]
    answer = task.parse(text, think, strict=False)
    seen = Pass(text, int(2 * encoded.grid_thw[0, 0]), len(encoded), time.perf_counter() - started)
    spans = (answer,) if isinstance(answer, Span) else ()
    return Reply(text=text, answer=answer, spans=spans, passes=(seen,))
