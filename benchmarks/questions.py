"""Questions answered in a second, three to a video: python benchmarks/questions.py [--model MODEL] [--videos N]

- *shared*: as ``timesight eval`` asks; a video's questions share its decoding, its vision pass and its prefill.
- *each alone*: the same batches, every question with a separate vision pass and prefill.
- *plain loop*: one question after another with the model's own processor and ``generate`` of ``transformers``.

Videos of the synthetic world, in float32, with frames of --max-pixels. All three must give the same replies.
Reading a video once is shared by the first two.
Each way is timed REPEATS times after a warm-up: the median, and the least and the most.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from timesight.data import read_jsonl
from timesight.generate.base import Completion
from timesight.generate.local import LocalGenerator
from timesight.infer.answer import InferenceConfig, answer_batches
from timesight.model.load import load_policy
from timesight.model.policy import Policy
from timesight.tasks import TASKS
from timesight.types import Sample, TextPart
from timesight.video import FrameBudget, read
from timesight.world import WorldSettings, write_world

REPEATS = 5
QUESTIONS = 3  # a video
MAX_NEW_TOKENS = 16

Way = Callable[[], dict[str, str]]


def main() -> None:
    """One line a way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--max-pixels", type=int, default=4704)
    flags = parser.parse_args()
    policy = load_policy(flags.model, dtype="float32")
    budget = policy.default_budget.model_copy(
        update={"max_pixels": flags.max_pixels, "min_pixels": flags.max_pixels}
    )
    with tempfile.TemporaryDirectory() as folder:
        write_world(
            Path(folder),
            {"test": 2 * flags.videos},
            WorldSettings(tasks=("temporal_grounding", "multiple_choice")),
            seed=3,
        )
        samples = three_a_video(read_jsonl(Path(folder) / "test.jsonl"), flags.videos)
        config = InferenceConfig(budget, batch_size=24, max_new_tokens=MAX_NEW_TOKENS)
        ways: dict[str, Way] = {
            "shared": lambda: ask(LocalGenerator(policy), samples, config),
            "each alone": lambda: ask(LocalGenerator(policy, share=False), samples, config),
            "plain loop": lambda: loop(policy, samples, budget),
        }
        report(ways, len(samples))


def three_a_video(samples: list[Sample], num_videos: int) -> list[Sample]:
    """The first three questions on each of ``num_videos`` videos that have as many."""
    by_video: dict[Path, list[Sample]] = {}
    for sample in samples:
        by_video.setdefault(sample.video.path, []).append(sample)
    enough = [mine[:QUESTIONS] for mine in by_video.values() if len(mine) >= QUESTIONS][:num_videos]
    return [sample for mine in enough for sample in mine]


def ask(generator: LocalGenerator, samples: list[Sample], config: InferenceConfig) -> dict[str, str]:
    """Replies by id, as an evaluation asks for them."""
    return {
        sample.id: outcome.text
        for batch in answer_batches(generator, samples, config)
        for sample, outcome in batch
        if isinstance(outcome, Completion)
    }


def loop(policy: Policy, samples: list[Sample], budget: FrameBudget) -> dict[str, str]:
    """Replies by id, one question at a time."""
    import torch
    from transformers import LogitsProcessorList, SuppressTokensLogitsProcessor

    from timesight.model.encode import video_metadata

    banned = policy.banned_mask.nonzero().flatten().tolist()
    replies = {}
    for sample in samples:
        frames = read(sample.video, budget, factor=policy.factor)
        content = [
            {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "video"}
            for part in TASKS[sample.task].prompt(sample)
        ]
        text = policy.processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        inputs = policy.processor(
            text=[text],
            videos=[torch.from_numpy(frames.pixels).permute(0, 3, 1, 2)],
            video_metadata=[video_metadata(frames)],
            do_sample_frames=False,
            do_resize=False,
            return_tensors="pt",
        )
        output = policy.model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=MAX_NEW_TOKENS,
            logits_processor=LogitsProcessorList([SuppressTokensLogitsProcessor(banned)]),
        )
        said = output[:, inputs["input_ids"].shape[1] :]
        replies[sample.id] = policy.processor.batch_decode(said, skip_special_tokens=True)[0]
    return replies


def report(ways: dict[str, Way], num_questions: int) -> None:
    """Time the ways in turn, so that a machine that slows down slows all of them."""
    replies = {name: way() for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    fastest = statistics.median(seconds["shared"])
    for name, took in seconds.items():
        median = statistics.median(took)
        same = sum(replies[name][id_] == text for id_, text in replies["shared"].items())
        print(
            f"{name:12} {num_questions / median:7.1f} questions/s ({num_questions / max(took):.1f} to "
            f"{num_questions / min(took):.1f}), shared is {median / fastest:.1f} times as fast; "
            f"{same} of {num_questions} replies as shared"
        )


if __name__ == "__main__":
    main()
