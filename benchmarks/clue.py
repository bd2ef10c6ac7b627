"""What looking again brings: python benchmarks/clue.py [--model MODEL] [--videos N] [--fps-boost F]

Questions about details in long videos of the synthetic world, answered in words. Videos last 60 to 120 s, and each
shape is visible for 1 to 3 s. Which color has the dot in a shape (three pixels wide in the first look)? Which color
has its spark, which lights up for 0.2 s (as small, and seldom among the first look's frames)? Asked

- *first look*: the whole video, once.
- *clue*: then what the answer rests on, closer (``eval --clue``).
- *same tokens, …*: one look at the whole video with as many vision tokens as both looks of *clue* took, averaged
  over the questions on it: spent on larger frames, on more frames, or on both.
- *random segments*: as *clue*, but segments of the same lengths anywhere in the video.
- *true segments*: as *clue*, but segments around the true evidence: what better spans could bring.

The share of right answers, with 95% intervals over videos, and two paired differences: to the first look, and what
*clue* has more than this way.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from timesight.data import read_jsonl
from timesight.errors import ModelError
from timesight.generate.base import Completion, Generator, Sampling
from timesight.generate.local import LocalGenerator
from timesight.infer.clue import ClueGenerator, ClueSettings, choose_segments
from timesight.infer.prompts import build_prompt
from timesight.model.load import load_policy
from timesight.model.prompt import Prompt
from timesight.statistics import cluster_bootstrap
from timesight.tasks import TASKS
from timesight.types import Sample, Span
from timesight.video import FrameBudget, FrameReader
from timesight.world import WORLDS, write_world

MAX_NEW_TOKENS = 40
BATCH = 16


def main() -> None:
    """One line a way of looking, for all questions and for each kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--videos", type=int, default=140)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--fps-boost", type=float, default=2.5, help="the recipe's, as tiny/look_again has it")
    flags = parser.parse_args()
    generator = LocalGenerator(load_policy(flags.model))
    with tempfile.TemporaryDirectory() as folder:
        write_world(
            Path(folder),
            {"test": flags.videos},
            WORLDS["long"].model_copy(update={"tasks": ("open_qa",)}),
            seed=flags.seed,
        )
        samples = [s for s in read_jsonl(Path(folder) / "test.jsonl") if "detail" in s.meta]
        looks = Looks(generator, generator.default_budget, ClueSettings(fps_boost=flags.fps_boost), flags.seed)
        show(looks.ways(samples), samples)


class Looks:
    """The ways of looking."""

    def __init__(self, generator: Generator, budget: FrameBudget, settings: ClueSettings, seed: int) -> None:
        self.generator = generator
        self.budget = budget
        self.settings = settings
        self.rng = np.random.default_rng(seed)

    def ways(self, samples: Sequence[Sample]) -> dict[str, list[Completion]]:
        """Answers by way, one a sample, in their order."""
        first = self.ask(samples, self.budget)
        clue = self.ask(samples, self.budget, ClueGenerator(self.generator, self.budget, self.settings))
        ways = {"first look": first, "clue": clue}
        for name, share in (("larger frames", 0.0), ("more frames", 1.0), ("both", 0.5)):
            ways[f"same tokens, {name}"] = self.in_one_look(samples, clue, share)
        looked = [answered.passes[-1].segments if len(answered.passes) > 1 else () for answered in clue]
        ways["random segments"] = self.ask(
            [self.anywhere(*pair) for pair in zip(samples, looked, strict=True)], self.budget
        )
        ways["true segments"] = self.ask([self.around_truth(sample) for sample in samples], self.budget)
        return ways

    def ask(
        self, samples: Sequence[Sample], budget: FrameBudget, generator: Generator | None = None
    ) -> list[Completion]:
        """An answer to each of ``samples``."""
        with FrameReader(budget, self.generator.factor, second_look=self.settings, memory_bytes=0) as reader:
            return [
                answer
                for first in range(0, len(samples), BATCH)
                for answer in self._answers(
                    [build_prompt(sample, False, reader) for sample in samples[first : first + BATCH]],
                    generator or self.generator,
                )
            ]

    def in_one_look(self, samples: Sequence[Sample], clue: Sequence[Completion], share: float) -> list[Completion]:
        """An answer to each of ``samples``; the tokens of ``clue`` are spent on one look at each video."""
        answers: list[Completion] = []
        pairs = zip(samples, clue, strict=True)
        for _, on_video in groupby(pairs, key=lambda pair: pair[0].video.path):
            asked, answered = zip(*on_video, strict=True)
            tokens = np.mean([sum(self.vision_tokens(seen) for seen in one.passes) for one in answered])
            answers += self.ask(asked, self.spend(answered[0].passes[0], round(tokens), share))
        return answers

    def spend(self, seen: Any, tokens: int, share: float) -> FrameBudget:
        """A budget of ``tokens`` for a look like ``seen``: the surplus to the power ``share`` goes into frames."""
        surplus = tokens / self.vision_tokens(seen)
        frames = round(seen.num_frames * surplus**share / 2) * 2
        pixels = round(tokens * 2 * self.pixels_per_token / frames) + 1  # a token shows two frames
        return self.budget.model_copy(
            update={
                "fps": 100.0,
                "min_frames": frames,
                "max_frames": frames,
                "min_pixels": self.pixels_per_token,
                "max_pixels": pixels,
                "total_pixels": pixels * frames,
            }
        )

    @property
    def pixels_per_token(self) -> int:
        """Of a frame."""
        return self.generator.factor**2

    def vision_tokens(self, seen: Any) -> int:
        """Of one look."""
        width, height = seen.size_px
        return int(seen.num_frames * width * height // (2 * self.pixels_per_token))

    def anywhere(self, sample: Sample, looked: Sequence[Span]) -> Sample:
        """``sample`` with segments as long as ``looked``, anywhere."""
        duration_s = float(sample.meta["duration_s"])
        segments = []
        for span in looked:
            start_s = float(self.rng.uniform(0, max(1e-6, duration_s - span.length_s)))
            segments.append((start_s, min(duration_s, start_s + span.length_s)))
        return sample.model_copy(update={"segments": tuple(segments)})

    def around_truth(self, sample: Any) -> Sample:
        """``sample`` with the segments that a perfect first look would have chosen."""
        spans = [Span(*span) for span in sample.spans]
        segments = choose_segments(spans, (0.0, float(sample.meta["duration_s"])), self.settings)
        changed: Sample = sample.model_copy(update={"segments": tuple((s.start_s, s.end_s) for s in segments)})
        return changed

    def _answers(self, prompts: Sequence[Prompt], generator: Generator) -> list[Completion]:
        answers = generator.answer(prompts, Sampling(max_new_tokens=MAX_NEW_TOKENS))
        for answer in answers:
            if isinstance(answer, ModelError):
                raise answer
        return [answer for answer in answers if isinstance(answer, Completion)]


def show(ways: Mapping[str, Sequence[Completion]], samples: Sequence[Sample]) -> None:
    """A block of lines for all questions, and for each kind of detail."""
    right = {name: _right(answers, samples) for name, answers in ways.items()}
    videos = np.array([str(sample.video.path) for sample in samples])
    kinds = np.array([str(sample.meta["detail"]) for sample in samples])
    keeps: dict[str, Callable[[], Any]] = {"all": lambda: kinds == kinds}
    keeps |= {kind: lambda kind=kind: kinds == kind for kind in sorted(set(kinds.tolist()))}
    for kind, keep in keeps.items():
        chosen = keep()
        print(f"\n{kind}: {chosen.sum()} questions on {len(set(videos[chosen].tolist()))} videos; right, percent")
        for name, mine in right.items():
            share = _percent(mine[chosen], videos[chosen])
            gain = _percent((mine - right["first look"])[chosen], videos[chosen])
            lead = _percent((right["clue"] - mine)[chosen], videos[chosen])
            tokens = np.mean([answer.prompt_tokens or 0 for answer in ways[name]])
            print(f"{name:28} {share}   to first {gain}   clue has more {lead}   last prompt {tokens:4.0f} tokens")


def _right(answers: Sequence[Completion], samples: Sequence[Sample]) -> Any:
    rows = TASKS["open_qa"].item_metrics(
        [TASKS["open_qa"].grade(s, a.text) for s, a in zip(samples, answers, strict=True)], "official"
    )
    return np.array([0.0 if row is None else row["accuracy"] for row in rows])


def _percent(values: Any, videos: Any) -> str:
    found = cluster_bootstrap(values, videos.tolist())
    return f"{100 * found.mean:5.1f} [{100 * found.low:5.1f}, {100 * found.high:5.1f}]"


if __name__ == "__main__":
    main()
