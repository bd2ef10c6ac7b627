"""Each question is asked once: across interruptions, processes, broken videos and too little memory."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from timesight.data import read_jsonl
from timesight.data.jsonl import write_jsonl
from timesight.errors import ModelError
from timesight.evaluation import kept_replies, read_replies
from timesight.evaluation.plan import plan_run
from timesight.evaluation.runner import collect_replies
from timesight.generate.base import Completion, Generator, Sampling
from timesight.generate.local import LocalGenerator
from timesight.infer.answer import InferenceConfig
from timesight.model.load import load_policy
from timesight.model.prompt import Prompt
from timesight.types import Sample, TextPart
from timesight.video import FrameBudget

BUDGET = FrameBudget(min_pixels=784, max_pixels=784, max_frames=4)


class Echo(Generator):
    """Answers with the question; says what was asked together."""

    name = "echo"
    factor = 28
    default_budget = BUDGET

    def __init__(self, most: int = 10_000) -> None:
        self.most = most  # questions that fit into memory
        self.batches: list[int] = []

    def generate(
        self, prompts: Sequence[Prompt], num_generations: int = 1, sampling: Sampling | None = None
    ) -> list[list[Completion] | ModelError]:
        assert sampling is not None
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        if len(prompts) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        self.batches.append(len(prompts))
        drawn = f" {torch.rand(()).item()}" if sampling.temperature else ""
        return [
            [Completion(part.text + drawn, prompt_tokens=10, completion_tokens=2)]
            for prompt in prompts
            for part in prompt.parts
            if isinstance(part, TextPart)
        ]


@pytest.fixture
def samples(full_world: Path) -> list[Sample]:
    return [s for s in read_jsonl(full_world / "test.jsonl") if s.task != "object_tracking"]


def config(batch_size: int = 8, **other: float) -> InferenceConfig:
    return InferenceConfig(BUDGET, batch_size=batch_size, **other)  # type: ignore[arg-type]


def test_replies_stand_in_the_items_order_and_are_not_asked_for_again(
    samples: list[Sample], tmp_path: Path
) -> None:
    first = Echo()
    whole = collect_replies(first, samples, config(), tmp_path)
    assert list(whole.replies) == [s.id for s in samples]
    assert list(read_replies(tmp_path / "replies.jsonl")) == [s.id for s in samples]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["replies.jsonl"]
    assert sum(first.batches) == len(samples)
    again, done = Echo(), list[int]()
    assert collect_replies(again, samples, config(), tmp_path, done.append) == whole
    assert (again.batches, sum(done)) == ([], len(samples))


def test_questions_on_one_video_stand_together(samples: list[Sample], tmp_path: Path) -> None:
    seen: list[list[int]] = []

    class Watch(Echo):
        def generate(self, prompts: Sequence[Prompt], *how: Any) -> list[list[Completion] | ModelError]:
            seen.append([id(prompt.frames[0]) for prompt in prompts])
            return super().generate(prompts, *how)

    shuffled = random.Random(0).sample(samples, len(samples))
    collect_replies(Watch(), shuffled, config(16), tmp_path)
    videos = [video for batch in seen for video in batch]
    changes = sum(a != b for a, b in pairwise(videos))
    assert changes == len({s.video.path for s in samples}) - 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(
    samples: list[Sample], tmp_path: Path, temperature: float
) -> None:
    settings = config(8, temperature=temperature)
    collect_replies(Echo(), samples, settings, tmp_path / "whole")
    parts = tmp_path / "parts"

    class Stops(Echo):
        def generate(self, prompts: Sequence[Prompt], *how: Any) -> list[list[Completion] | ModelError]:
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().generate(prompts, *how)

    interruptions = 0
    while not (parts / "replies.jsonl").exists():
        try:
            collect_replies(Stops(), samples, settings, parts)
        except KeyboardInterrupt:
            interruptions += 1
            with (parts / "replies.0.part.jsonl").open("a") as file:
                file.write('{"id": "half a li')  # as a kill leaves it
    assert interruptions >= 2
    assert (parts / "replies.jsonl").read_bytes() == (tmp_path / "whole" / "replies.jsonl").read_bytes()


@pytest.mark.slow
def test_too_little_memory_halves_the_batch(samples: list[Sample], tmp_path: Path) -> None:
    plenty, little = Echo(), Echo(most=3)
    whole = collect_replies(plenty, samples, config(16), tmp_path / "plenty")
    assert collect_replies(little, samples, config(16), tmp_path / "little") == whole
    assert max(little.batches) <= 3
    with pytest.raises(ModelError, match=r"one question alone does not fit into memory \(frames 4 × 28 × 28\)"):
        collect_replies(Echo(most=0), samples, config(16), tmp_path / "none")


def test_a_broken_video_does_not_stop_the_others(samples: list[Sample], tmp_path: Path) -> None:
    gone = samples[0].model_copy(
        update={"video": samples[0].video.model_copy(update={"path": tmp_path / "no.mp4"})}
    )
    replies = collect_replies(Echo(), [gone, *samples[1:4]], config(), tmp_path / "r")
    assert replies.quarantined == {gone.id: f"{tmp_path / 'no.mp4'}: no such file"}
    assert len(replies.replies) == 3


def test_a_prompt_that_the_model_refuses_is_named_and_asked_for_again(
    samples: list[Sample], tmp_path: Path
) -> None:
    class Refuses(Echo):
        def generate(self, prompts: Sequence[Prompt], *how: Any) -> list[list[Completion] | ModelError]:
            answers = super().generate(prompts, *how)
            return [ModelError("too long"), *answers[1:]]

    replies = collect_replies(Refuses(), samples[:6], config(), tmp_path)
    assert list(replies.quarantined.values()) == ["too long"]
    whole = collect_replies(Echo(), samples[:6], config(), tmp_path)
    assert (len(whole.replies), whole.quarantined) == (6, {})


def test_a_dry_run_says_what_there_is_and_what_it_will_take(samples: list[Sample], tmp_path: Path) -> None:
    gone = samples[0].model_copy(
        update={"id": "gone", "video": samples[0].video.model_copy(update={"path": tmp_path})}
    )
    plan = plan_run(Echo(), [gone, *samples], config(4), None)
    assert (plan.num_items, plan.num_videos) == (len(samples) + 1, len({s.video.path for s in samples}) + 1)
    assert list(plan.missing) == [str(tmp_path)]
    assert (plan.prompt_tokens, plan.new_tokens) == (10 * len(samples), 2 * len(samples))
    assert plan.seconds is not None
    assert 0 < plan.num_tried < len(samples)
    assert "videos cannot be read" in "\n".join(plan.lines())


def test_batch_size_does_not_change_greedy_replies(samples: list[Sample], tmp_path: Path) -> None:
    exact = LocalGenerator(load_policy(dtype="float32"))
    budget = exact.default_budget
    one, nine = (
        collect_replies(
            exact, samples[:9], InferenceConfig(budget, batch_size=size, max_new_tokens=16), tmp_path / str(size)
        )
        for size in (1, 9)
    )
    assert one.replies == nine.replies


def evaluate(jsonl: Path, out: Path | None, processes: int = 1) -> subprocess.Popen[str]:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    flags = ["--judge", "world", "--batch-size", "4", "--max-new-tokens", "8", "--workers", "0", "--json"]
    flags += [] if out is None else ["--out", str(out)]
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "timesight", "eval", str(jsonl), *flags],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it printed last."""
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-4000:]
    return dict(json.loads(printed.splitlines()[-1]))


@pytest.fixture(scope="module")
def alone(full_world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What one process, left alone, writes and prints."""
    out = tmp_path_factory.mktemp("alone")
    return out, finish(evaluate(full_world / "test.jsonl", out))


@pytest.mark.slow
def test_kills_leave_the_same_replies(full_world: Path, tmp_path: Path, alone: tuple[Path, dict[str, Any]]) -> None:
    """Killed by the hardest signal once a few more replies are there, twice, then left alone."""
    jsonl, (whole, _) = full_world / "test.jsonl", alone
    num_items = len(read_jsonl(jsonl))
    draws = random.Random(7)
    killed = tmp_path / "killed"
    for _ in range(2):
        process = evaluate(jsonl, killed)
        before = len(kept_replies(killed).replies)
        until = min(before + draws.randrange(1, max(2, num_items // 12)), num_items)
        while process.poll() is None and len(kept_replies(killed).replies) < until:
            time.sleep(0.001)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(evaluate(jsonl, killed))
    assert (killed / "replies.jsonl").read_bytes() == (whole / "replies.jsonl").read_bytes()
    assert (killed / "items.jsonl").read_bytes() == (whole / "items.jsonl").read_bytes()


@pytest.mark.slow
def test_processes_share_the_videos_and_join_what_they_found(full_world: Path, tmp_path: Path) -> None:
    first, *others = read_jsonl(full_world / "test.jsonl")
    gone = first.model_copy(update={"video": first.video.model_copy(update={"path": tmp_path / "no.mp4"})})
    write_jsonl(tmp_path / "s.jsonl", [gone, *others])
    finish(evaluate(tmp_path / "s.jsonl", tmp_path / "two", processes=2))
    replies = read_replies(tmp_path / "two" / "replies.jsonl")
    assert list(replies) == [sample.id for sample in others]
    result = json.loads((tmp_path / "two" / "result.json").read_text())
    assert list(result["quarantined"]) == [gone.id]
    assert not list((tmp_path / "two").glob("*.part.jsonl"))


@pytest.mark.slow
def test_processes_without_a_folder_find_each_others_replies(
    full_world: Path, alone: tuple[Path, dict[str, Any]]
) -> None:
    shared, (_, printed) = finish(evaluate(full_world / "test.jsonl", None, processes=2)), alone
    assert shared["num_unparsable"] == printed["num_unparsable"]
    assert shared["results"] == printed["results"]
