"""One answer to each of many questions, in batches.

Questions are ordered by video, in windows of a few batches. Within a window, prompts of similar length are put into
one batch, and those on one video follow each other, so that the generator can share what they have in common. The
batches depend on the list of samples alone: a resumed run forms the same ones and draws the same random numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from zlib import crc32

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from timesight.errors import ModelError, VideoError
from timesight.generate.base import Completion, Generator, Sampling
from timesight.infer.prompts import build_prompt, shown_frames, wanted_frames
from timesight.model.prompt import Prompt
from timesight.tasks import TASKS, TaskRegistry
from timesight.types import Sample
from timesight.video import FrameBudget, FrameReader, ReadingSettings, SecondLook, VideoPool

MAX_NEW_TOKENS = 256
WINDOW = 4  # batches among which prompts are sorted by length
Outcome = Completion | VideoError | ModelError
Asked = tuple[Sample, Prompt]


@dataclass(frozen=True)
class InferenceConfig:
    """How samples are answered.

    Args:
        budget: How many frames are read of a video, and of what size.
        think: Ask in think mode: reasoning first, then the answer.
        temperature: 0 is greedy.
        batch_size: Most prompts at once; halved when a batch does not fit into memory.
        max_new_tokens: Limit of one reply.
        seed: Of the random numbers at a temperature above 0, which also depend on the batch.
        evidence: Also ask for the evidence of an answer, where the task has such a form (``Task.with_evidence``).
        second_look: How segments are read for samples that have ``segments``; None: with its defaults.
        tasks: Where the tasks of samples are looked up.
    """

    budget: FrameBudget
    think: bool = False
    temperature: float = 0.0
    batch_size: int = 32
    max_new_tokens: int = MAX_NEW_TOKENS
    seed: int = 0
    evidence: bool = False
    second_look: SecondLook | None = None
    tasks: TaskRegistry = TASKS


def answer_batches(
    generator: Generator,
    samples: Sequence[Sample],
    config: InferenceConfig,
    *,
    done: Collection[str] = frozenset(),
    reading: ReadingSettings | None = None,
    pool: VideoPool | None = None,
) -> Iterator[list[tuple[Sample, Outcome]]]:
    """Answer ``samples`` batch by batch.

    Args:
        generator: The model.
        samples: What to ask, in any order.
        config: How to ask.
        done: Ids of samples that need no reply. A batch is skipped if it has no others; otherwise all of it is
            answered, so that random numbers stay the same.
        reading: How videos are read; None: in this process, and nothing is cached.
        pool: Processes to read in, instead of new ones.

    Yields:
        The samples of a batch, each with its reply, the VideoError of a video that cannot be read, or the
        ModelError of a prompt that the generator refuses. Batches do not keep the order of ``samples``.

    Raises:
        ModelError: If the generator cannot reply to any prompt, or one question alone does not fit into memory.
    """
    windows = _windows(samples, WINDOW * config.batch_size, config.tasks)
    windows = [window for window in windows if any(s.id not in done for s in chain(*window))]
    with FrameReader(config.budget, generator.factor, reading, config.second_look, pool=pool) as reader:
        for number, window in enumerate(windows):
            for sample in chain.from_iterable(chain(*windows[number : number + 2])):
                reader.prefetch(wanted_frames(sample, config.think, config.tasks))
            broken: list[tuple[Sample, Outcome]] = []
            groups = []
            for group in window:
                try:
                    groups.append(
                        [
                            (
                                sample,
                                build_prompt(asked_as(sample, config), config.think, reader, tasks=config.tasks),
                            )
                            for sample in group
                        ]
                    )
                except VideoError as error:
                    broken += [(sample, error) for sample in group]
            if broken:
                yield broken
            batches = _Batches(generator, config)  # what did not fit into memory says nothing about other lengths
            for batch in _filled(sorted(groups, key=_size), config.batch_size):
                if any(sample.id not in done for sample, _ in batch):
                    yield batches.answer(batch)


def asked_as(sample: Sample, config: InferenceConfig) -> Sample:
    """Return the sample that is asked: ``sample``, or the one that also asks for evidence (``config.evidence``)."""
    return config.tasks.of(sample).with_evidence(sample) if config.evidence else sample


def share_of_videos(samples: Sequence[Sample], rank: int, num_processes: int) -> list[Sample]:
    """Every ``num_processes``-th video's samples, for process ``rank``: questions on one video stay together."""
    number = {path: n for n, path in enumerate(dict.fromkeys(sample.video.path for sample in samples))}
    return [sample for sample in samples if number[sample.video.path] % num_processes == rank]


def _windows(samples: Sequence[Sample], size: int, tasks: TaskRegistry) -> list[list[list[Sample]]]:
    """Samples grouped by video, in windows of at least ``size`` samples; videos keep their order."""
    by_video: dict[object, list[Sample]] = {}
    for sample in samples:
        by_video.setdefault(shown_frames(sample, tasks), []).append(sample)
    windows: list[list[list[Sample]]] = []
    for group in by_video.values():
        if not windows or sum(map(len, windows[-1])) >= size:
            windows.append([])
        windows[-1].append(group)
    return windows


def _size(group: Sequence[Asked]) -> tuple[int, int]:
    """Sort key for prompts of similar length: the pixels of their frames, then the size of the group."""
    _, prompt = group[0]
    return sum(frames.pixels.size for frames in prompt.frames), len(group)


def _filled(groups: Sequence[list[Asked]], batch_size: int) -> Iterator[list[Asked]]:
    """Batches of at most ``batch_size``; the questions on a video are split only if there are more of them."""
    batch: list[Asked] = []
    for group in groups:
        for first in range(0, len(group), batch_size):
            part = group[first : first + batch_size]
            if len(batch) + len(part) > batch_size:
                yield batch
                batch = []
            batch = batch + part
    if batch:
        yield batch


class _Batches:
    """Answers the batches of a window. One that does not fit into memory is tried in halves, as are later ones."""

    def __init__(self, generator: Generator, config: InferenceConfig) -> None:
        self._generator = generator
        self._config = config
        self._most = config.batch_size

    def answer(self, batch: Sequence[Asked]) -> list[tuple[Sample, Outcome]]:
        """Each question of ``batch`` with its reply. Raises ModelError if one alone does not fit into memory."""
        config = self._config
        seed = crc32(f"{config.seed} {batch[0][0].id}".encode())
        outcomes: list[tuple[Sample, Outcome]] = []
        while rest := batch[len(outcomes) :]:
            part = rest[: self._most]
            try:
                sampling = Sampling(
                    temperature=config.temperature,
                    max_new_tokens=config.max_new_tokens,
                    seed=seed + len(outcomes) if config.temperature > 0 else None,
                )
                replies = self._generator.answer([prompt for _, prompt in part], sampling)
            except Exception as error:
                if not should_reduce_batch_size(error):
                    raise
                self._halve(part)
            else:
                outcomes += [(sample, reply) for (sample, _), reply in zip(part, replies, strict=True)]
        return outcomes

    def _halve(self, part: Sequence[Asked]) -> None:
        clear_device_cache(garbage_collection=True)
        if len(part) == 1:
            sample, prompt = part[0]
            shapes = ", ".join(" × ".join(map(str, frames.pixels.shape[:3])) for frames in prompt.frames)
            raise ModelError(
                f"{sample.id}: one question alone does not fit into memory (frames {shapes}): lower the number of "
                "frames or their size (--max-frames, --max-pixels)"
            )
        self._most = (len(part) + 1) // 2
