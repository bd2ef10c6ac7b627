"""Whether learning is the same: python benchmarks/learning_curves.py [--questions]

The demo's recipe at a constant rate, from one seed, twice: with prompts shared, and with a row for each reply.
``--questions``: questions on one video asked together, next to questions asked apart, at equal questions seen.
Prints the mean reward of each quarter of the run, and the seconds it took.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from timesight.prefix.logprobs import completion_logprobs
from timesight.training import grpo
from timesight.training.recipe import load_recipe
from timesight.training.run import run_recipe

QUARTERS = 4
LEARNING_RATE = 3e-4  # the recipe's
MEAN_QUESTIONS = {1: 1.0, 2: 1.7, 8: 3.44}  # on a video of the recipe's world, by the most that are asked
GROUPED = {  # videos a step, the most questions on each, learning rate over the recipe's
    "16 videos, 1 question each": (16, 1, 1.0),
    "16 videos, up to 2 each": (16, 2, 1.0),
    "16 videos, all 3.4 each": (16, 8, 1.0),
    "16 videos, all 3.4 each, rate × 2": (16, 8, 2.0),
    "5 videos, all 3.4 each": (5, 8, 1.0),
}


def main() -> None:
    """The runs, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--questions", action="store_true", help="how questions are grouped, not how they are packed"
    )
    options = parser.parse_args()
    for seed in range(options.seeds):
        if options.questions:
            for name, (videos, cap, rate) in GROUPED.items():
                steps = round(options.steps * 16 / (videos * MEAN_QUESTIONS[cap]))
                grouped = [f"train.batch_size={videos}", f"train.questions_per_video={cap}"]
                show(name, run(steps, seed, [*grouped, f"train.learning_rate={rate * LEARNING_RATE}"]))
        else:
            for name in ("packed", "plain"):
                grpo.completion_logprobs = functools.partial(completion_logprobs, packed=name == "packed")
                show(name, run(options.steps, seed))


def run(steps: int, seed: int, overrides: Sequence[str] = ()) -> list[dict[str, float]]:
    """The metrics of a run."""
    constant = [f"train.max_steps={steps}", "train.lr_scheduler_type=constant", f"seed={seed}"]
    with tempfile.TemporaryDirectory() as folder:
        run_recipe(load_recipe("tiny/grpo", [*constant, *overrides]), Path(folder))
        return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def show(name: str, entries: Sequence[dict[str, float]]) -> None:
    """One line: mean reward of each quarter, questions seen, seconds."""
    borders = [round(quarter * len(entries) / QUARTERS) for quarter in range(QUARTERS + 1)]
    means = [statistics.mean(e["reward"] for e in entries[a:b]) for a, b in pairwise(borders)]
    questions = sum(entry["num_prompts"] for entry in entries)
    seconds = sum(entry["step_s"] for entry in entries)
    median = statistics.median(entry["step_s"] for entry in entries)
    print(
        f"{name}: reward {' '.join(f'{mean:.3f}' for mean in means)}; {questions:.0f} questions in {len(entries)} "
        f"steps and {seconds:.0f} s, {median:.2f} s a step",
        flush=True,
    )


if __name__ == "__main__":
    main()
