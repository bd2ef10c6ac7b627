"""The plain path next to the packed one: time, memory and equality of a GRPO update and of a whole step.

Plain is what public trainers do with videos: each of the G completions in a row of its own, with its own pass
through the vision tower, and each row sampled from a prefill of its own. Every measurement runs in a process of its
own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from timesight.errors import TimesightError

LONGEST_EAGER = 1024  # tokens; in longer rows eager attention never wins, and its scores fill the memory
MODELS = {"tiny Qwen2.5-VL": ("qwen2_5_vl", "tiny"), "6M Qwen3-VL": ("qwen3_vl", "small")}


@dataclass(frozen=True)
class Case:
    """One setting of the comparison."""

    model: str
    num_generations: int
    prompt_tokens: int  # about: a prompt ends with a whole frame
    completion_tokens: int
    whole_step: bool = False  # sampling too


# G, P and C each vary around one setting, for both models; the whole step is measured at that setting.
CENTER = (8, 850, 64)
AROUND = ((4, 850, 64), (16, 850, 64), (8, 400, 64), (8, 3200, 64), (8, 850, 16), (8, 850, 128))
CASES = tuple(
    case
    for model in MODELS
    for case in (Case(model, *CENTER, whole_step=True), *(Case(model, *setting) for setting in AROUND))
)


@dataclass(frozen=True)
class Row:
    """Plain and packed at one setting; times are medians in seconds, forward and backward."""

    model: str
    num_generations: int
    prompt_tokens: int
    completion_tokens: int
    plain_s: float
    packed_s: float
    plain_spread_s: tuple[float, float]  # fastest and slowest
    packed_spread_s: tuple[float, float]
    plain_attention: str
    speedup: float
    allowed_speedup: float  # the ratio of FLOPs, vision tower counted
    memory_ratio: float  # packed / plain, peak above the resting process
    max_logp_difference: float
    max_grad_difference: float  # largest over parameters of ‖Δ‖ / ‖plain‖
    plain_step_s: float | None  # a whole step, sampling included
    packed_step_s: float | None
    step_speedup: float | None


def bench_grpo(
    out: Path, cases: Iterable[Case] = CASES, on_measured: Callable[[], None] = lambda: None
) -> Iterator[Row]:
    """Measure ``cases`` one by one; models and gradients are kept in the folder ``out`` meanwhile."""
    for case in cases:
        measured = {}
        for name in (*plain_attention(case), "packed"):
            measured[name] = _in_own_process(case, name, out)
            on_measured()
        plain_name = min(plain_attention(case), key=lambda name: measured[name]["median_s"])
        yield _row(case, plain_name, measured[plain_name], measured["packed"], out)


def measurements(cases: Iterable[Case] = CASES) -> int:
    """How many measurements ``bench_grpo`` takes."""
    return sum(len(plain_attention(case)) + 1 for case in cases)


def plain_attention(case: Case) -> tuple[str, ...]:
    """Stock attention that plain is tried with; the fastest stands for it."""
    return ("sdpa", "eager") if case.prompt_tokens + case.completion_tokens <= LONGEST_EAGER else ("sdpa",)


def _in_own_process(case: Case, path: str, out: Path) -> dict[str, Any]:
    order = json.dumps(asdict(case) | {"path": path, "out": str(out)})
    done = subprocess.run(
        [sys.executable, "-m", "timesight.bench.worker", order], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise TimesightError(f"the measurement of {path} at {case} failed: {last[0]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _row(case: Case, plain_name: str, plain: dict[str, Any], packed: dict[str, Any], out: Path) -> Row:
    results = {name: torch.load(result_file(out, name)) for name in (plain_name, "packed")}
    logps = {name: result["logps"] for name, result in results.items()}
    grads = {name: result["grads"] for name, result in results.items()}
    steps = (plain["step_s"], packed["step_s"])
    return Row(
        model=case.model,
        num_generations=case.num_generations,
        prompt_tokens=packed["prompt_tokens"],
        completion_tokens=case.completion_tokens,
        plain_s=plain["median_s"],
        packed_s=packed["median_s"],
        plain_spread_s=tuple(plain["spread_s"]),
        packed_spread_s=tuple(packed["spread_s"]),
        plain_attention=plain_name,
        speedup=plain["median_s"] / packed["median_s"],
        allowed_speedup=packed["plain_flops"] / packed["packed_flops"],
        memory_ratio=packed["peak_bytes"] / plain["peak_bytes"],
        max_logp_difference=float((logps[plain_name] - logps["packed"]).abs().max()),
        max_grad_difference=max(
            float((grads["packed"][name] - grad).norm() / grad.norm()) for name, grad in grads[plain_name].items()
        ),
        plain_step_s=steps[0],
        packed_step_s=steps[1],
        step_speedup=steps[0] / steps[1] if case.whole_step else None,
    )


def result_file(out: Path, path: str) -> Path:
    """Where a measurement leaves its log-probs and gradients."""
    return out / f"{path}.pt"
