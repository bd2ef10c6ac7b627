"""One measurement of an update, in a separate process: what is asked for, what comes back, how two compare."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from timesight.errors import TimesightError

MODELS = {"tiny Qwen2.5-VL": ("qwen2_5_vl", "tiny"), "6M Qwen3-VL": ("qwen3_vl", "small")}

# ``sdpa``, ``eager``: each reply in a separate row, with the library's attention of that name.
# ``row``: ``[prompt | replies]`` for each question, one after the other. ``tree``: the video once for all of them.
Layout = Literal["sdpa", "eager", "row", "tree"]


@dataclass(frozen=True)
class Order:
    """What to measure."""

    model: str  # of MODELS
    layout: Layout
    prompt_tokens: int  # about: a prompt ends with a whole frame
    completion_tokens: int
    num_generations: int
    num_questions: int = 1
    whole_step: bool = False  # sampling too


@dataclass(frozen=True)
class Measured:
    """Times are of a forward and a backward pass."""

    prompt_tokens: int  # of the first question
    median_s: float
    spread_s: tuple[float, float]  # fastest and slowest
    peak_bytes: int  # above the resting process
    step_s: float | None  # a whole step, sampling included
    flops: float  # of a forward pass


@dataclass(frozen=True)
class Difference:
    """How far apart the results of two layouts are."""

    logp: float  # largest
    grad: float  # largest over parameters of ‖Δ‖ / ‖reference‖


def measure(order: Order, out: Path) -> Measured:
    """Measure in a new process; the model, log-probabilities and gradients are left in the folder ``out``.

    Raises:
        TimesightError: If the process fails.
    """
    argument = json.dumps(asdict(order))
    done = subprocess.run(
        [sys.executable, "-m", "timesight.bench.worker", argument, str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise TimesightError(f"the measurement of {order.layout} failed: {last[0]} ({order})")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def result_file(out: Path, layout: Layout) -> Path:
    """Where a measurement leaves its log-probabilities and gradients."""
    return out / f"{layout}.pt"


def compare(out: Path, layout: Layout, reference: Layout) -> Difference:
    """How far the last results of ``layout`` are from those of ``reference``."""
    ours, theirs = (torch.load(result_file(out, name)) for name in (layout, reference))
    return Difference(
        logp=float((ours["logps"] - theirs["logps"]).abs().max()),
        grad=max(float((ours["grads"][name] - g).norm() / g.norm()) for name, g in theirs["grads"].items()),
    )
