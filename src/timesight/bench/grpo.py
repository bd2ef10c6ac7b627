"""The plain path next to the packed one: time, memory and equality of a GRPO update and of a whole step.

Plain is what public trainers do with videos: each of the G completions in a separate row, with a separate pass
through the vision tower, and each row sampled from a separate prefill. Every measurement runs in a new process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from timesight.bench.measure import MODELS, Layout, Measured, Order, compare, measure

LONGEST_EAGER = 1024  # tokens; in longer rows eager attention never wins, and its scores fill the memory


@dataclass(frozen=True)
class Case:
    """One setting of the comparison."""

    model: str
    num_generations: int
    prompt_tokens: int  # about: a prompt ends with a whole frame
    completion_tokens: int
    whole_step: bool = False  # sampling too

    def order(self, layout: Layout) -> Order:
        """To measure one of the paths."""
        sizes = (self.prompt_tokens, self.completion_tokens, self.num_generations)
        return Order(self.model, layout, *sizes, whole_step=self.whole_step)


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
    flops_ratio: float  # the ratio of FLOPs, vision tower counted
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
        measured: dict[Layout, Measured] = {}
        layouts: tuple[Layout, ...] = (*plain_attention(case), "row")
        for layout in layouts:
            measured[layout] = measure(case.order(layout), out)
            on_measured()
        yield _row(case, min(plain_attention(case), key=lambda name: measured[name].median_s), measured, out)


def measurements(cases: Iterable[Case] = CASES) -> int:
    """How many measurements ``bench_grpo`` takes."""
    return sum(len(plain_attention(case)) + 1 for case in cases)


def plain_attention(case: Case) -> tuple[Layout, ...]:
    """Stock attention that plain is tried with; the fastest stands for it."""
    return ("sdpa", "eager") if case.prompt_tokens + case.completion_tokens <= LONGEST_EAGER else ("sdpa",)


def _row(case: Case, fastest: Layout, measured: dict[Layout, Measured], out: Path) -> Row:
    plain, packed = measured[fastest], measured["row"]
    difference = compare(out, "row", fastest)
    whole = plain.step_s is not None and packed.step_s is not None
    return Row(
        model=case.model,
        num_generations=case.num_generations,
        prompt_tokens=packed.prompt_tokens,
        completion_tokens=case.completion_tokens,
        plain_s=plain.median_s,
        packed_s=packed.median_s,
        plain_spread_s=plain.spread_s,
        packed_spread_s=packed.spread_s,
        plain_attention=fastest,
        speedup=plain.median_s / packed.median_s,
        flops_ratio=plain.flops / packed.flops,
        memory_ratio=packed.peak_bytes / plain.peak_bytes,
        max_logp_difference=difference.logp,
        max_grad_difference=difference.grad,
        plain_step_s=plain.step_s,
        packed_step_s=packed.step_s,
        step_speedup=plain.step_s / packed.step_s if whole else None,  # type: ignore[operator] # both are there
    )
