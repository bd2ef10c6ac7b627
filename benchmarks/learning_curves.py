"""Whether learning is the same on both paths: python benchmarks/learning_curves.py

The demo's recipe at a constant rate, from one seed, once with prompts shared and once with a row for each reply.
Prints the mean reward of every 20 steps, and the median seconds of a step.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
from pathlib import Path

from timesight.prefix.logprobs import completion_logprobs
from timesight.training import grpo
from timesight.training.recipe import load_recipe
from timesight.training.run import run_recipe


def main() -> None:
    """Both runs, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=80)
    steps = parser.parse_args().steps
    recipe = load_recipe("tiny/grpo", [f"train.max_steps={steps}", "train.lr_scheduler_type=constant"])
    for name in ("packed", "plain"):
        grpo.completion_logprobs = functools.partial(completion_logprobs, packed=name == "packed")
        with tempfile.TemporaryDirectory() as folder:
            run_recipe(recipe, Path(folder))
            entries = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
        rewards = [entry["reward"] for entry in entries]
        means = [statistics.mean(rewards[first : first + 20]) for first in range(0, steps, 20)]
        seconds = statistics.median(entry["step_s"] for entry in entries)
        print(f"{name}: reward {' '.join(f'{mean:.3f}' for mean in means)}, {seconds:.2f} s a step")


if __name__ == "__main__":
    main()
