"""Learning from a server's replies: python benchmarks/served_sampler.py --url http://127.0.0.1:8000/v1 --steps 60

The demo's recipe with adapters, at a constant rate and from one seed: sampled by the policy itself, by a vLLM
server that gets the adapter before each step, and by one that gets it once. The server serves the embedded model in
float32 with the flags of docs/training.md. Prints mean reward, sampler_kl and seconds of each quarter of the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from timesight.generate.vllm import VllmGenerator
from timesight.model import load
from timesight.training.recipe import load_recipe
from timesight.training.run import run_recipe

QUARTERS = 4
PUSH = VllmGenerator.update_weights
OVERRIDES = (
    "train.lora.r=16",
    "train.lora.alpha=32",
    "train.learning_rate=3e-3",
    "train.lr_scheduler_type=constant",
    "train.save_steps=1000",
    "train.batch_size=4",
    "grpo.num_generations=8",
)


def main() -> None:
    """The three runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    seed = f"seed={options.seed}"
    load._multiplies_bf16 = lambda: False  # float32, as the server
    served = f"grpo.vllm_server_base_url={options.url}"
    run("policy", options.steps, PUSH, seed)
    run("server, pushed before each step", options.steps, PUSH, seed, served)
    run("server, pushed once", options.steps, push_once, seed, served)


def push_once(generator: VllmGenerator, policy: Any, version: int, weights: Any = None) -> None:
    """What a broken push would do."""
    if version == 0:
        PUSH(generator, policy, version, weights)


def run(name: str, steps: int, push: Callable[..., None], *overrides: str) -> None:
    """One run, and a line for each quarter of it."""
    VllmGenerator.update_weights = push  # type: ignore[method-assign]
    recipe = load_recipe("tiny/grpo", [*OVERRIDES, f"train.max_steps={steps}", *overrides])
    with tempfile.TemporaryDirectory() as folder:
        run_recipe(recipe, Path(folder))
        entries = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    borders = [round(quarter * steps / QUARTERS) for quarter in range(QUARTERS + 1)]
    for first, last in pairwise(borders):
        part = entries[first:last]
        reward, kl, seconds = (
            statistics.mean(entry.get(key, 0.0) for entry in part) for key in ("reward", "sampler_kl", "step_s")
        )
        print(
            f"{name}, steps {first + 1} to {last}: reward {reward:.3f}, sampler_kl {kl:.1e}, {seconds:.1f} s a step"
        )


if __name__ == "__main__":
    main()
