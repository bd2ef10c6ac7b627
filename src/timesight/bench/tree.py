"""Several questions on one video: a row for each of them next to one tree, in an update of GRPO or SFT.

A row is ``[video and question | replies]``, and a batch has one for each question. The tree is
``[video | q1 | r11 … r1G | q2 | r21 … r2G | …]``, with one pass of the vision tower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from timesight.bench.measure import MODELS, Measured, Order, compare, measure

NUM_GENERATIONS = {"grpo": 8, "sft": 1}
COMPLETION_TOKENS = 64


@dataclass(frozen=True)
class Case:
    """One setting of the comparison."""

    model: str
    kind: Literal["grpo", "sft"]
    num_questions: int
    prompt_tokens: int  # about: a prompt ends with a whole frame
    completion_tokens: int = COMPLETION_TOKENS

    def order(self, layout: Literal["row", "tree"]) -> Order:
        """To measure the rows, or the tree."""
        sizes = (self.prompt_tokens, self.completion_tokens, NUM_GENERATIONS[self.kind], self.num_questions)
        return Order(self.model, layout, *sizes)


CASES = tuple(
    Case(model, kind, num_questions, prompt_tokens)
    for model in MODELS
    for prompt_tokens in (850, 3200)
    for kind in ("grpo", "sft")
    for num_questions in (1, 2, 4, 8)
)


@dataclass(frozen=True)
class Row:
    """Rows and tree at one setting; times are medians in seconds, forward and backward."""

    model: str
    kind: str
    num_questions: int
    num_generations: int
    prompt_tokens: int
    completion_tokens: int
    row_s: float
    tree_s: float
    row_spread_s: tuple[float, float]  # fastest and slowest
    tree_spread_s: tuple[float, float]
    speedup: float
    flops_ratio: float  # the ratio of FLOPs, vision tower counted
    memory_ratio: float  # tree / row, peak above the resting process
    max_logp_difference: float
    max_grad_difference: float  # largest over parameters of ‖Δ‖ / ‖row‖


def bench_tree(
    out: Path, cases: Iterable[Case] = CASES, on_measured: Callable[[], None] = lambda: None
) -> Iterator[Row]:
    """Measure ``cases`` one by one; models and gradients are kept in the folder ``out`` meanwhile."""
    for case in cases:
        row = measure(case.order("row"), out)
        on_measured()
        tree = measure(case.order("tree"), out)
        on_measured()
        yield _row(case, row, tree, out)


def _row(case: Case, row: Measured, tree: Measured, out: Path) -> Row:
    difference = compare(out, "tree", "row")
    return Row(
        model=case.model,
        kind=case.kind,
        num_questions=case.num_questions,
        num_generations=NUM_GENERATIONS[case.kind],
        prompt_tokens=row.prompt_tokens,
        completion_tokens=case.completion_tokens,
        row_s=row.median_s,
        tree_s=tree.median_s,
        row_spread_s=row.spread_s,
        tree_spread_s=tree.spread_s,
        speedup=row.median_s / tree.median_s,
        flops_ratio=row.flops / tree.flops,
        memory_ratio=tree.peak_bytes / row.peak_bytes,
        max_logp_difference=difference.logp,
        max_grad_difference=difference.grad,
    )
