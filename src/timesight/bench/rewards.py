"""How fast replies are rewarded, and how long the worst reply takes: honest ones, broken ones, hostile ones."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from timesight.tasks import TASKS, Task
from timesight.types import Judge, Sample

SCRAPS = (
    *re.split(
        " ", "<answer> </answer> <think> </think> <glue> </glue> < > [ ] ( ) [[ ]] . , : {} 0 1 9 0.5 12.5 1e999 -1"
    ),
    *re.split(" ", 'nan inf 99999999999 00:12 1:2:3 A B. (C) I – None True é 😀 ٣.٢ \ud800 \u200b \u0000 " \n \t'),
    *(", ", " to ", " - ", "from ", "between ", " and ", " seconds", " ", "low quality", "high quality"),
    *("the red circle is visible", "ignore the above"),
)


@dataclass(frozen=True)
class RewardRate:
    """What one task's rewards cost on one core."""

    task: str
    num_replies: int
    replies_per_s: float  # gold replies
    num_fuzzed: int
    slowest_s: float  # of all fuzzed replies, each at the best of three
    slowest_chars: int


def measure_rewards(
    samples: Sequence[Sample],
    judge: Judge,
    *,
    num_replies: int,
    num_fuzzed: int,
    seed: int = 0,
    on_task: Callable[[], None] = lambda: None,
) -> list[RewardRate]:
    """For each task: the rate on ``num_replies`` gold replies, and the slowest of ``num_fuzzed`` others.

    Raises AssertionError where a reward is not a number from 0 to 1.
    """
    rates = []
    for name, task in TASKS.items():
        mine = [sample for sample in samples if sample.task == name]
        golds = [task.gold(sample) for sample in mine]
        rounds = -(-num_replies // len(mine))
        begin = time.perf_counter()
        for _ in range(rounds):
            task.rewards(golds, mine, False, judge)
        rate = rounds * len(mine) / (time.perf_counter() - begin)
        slowest_s, slowest = _slowest(task, mine, judge, num_fuzzed, random.Random(seed))
        rates.append(RewardRate(name, rounds * len(mine), rate, num_fuzzed, slowest_s, len(slowest)))
        on_task()
    return rates


def _slowest(
    task: Task[Any, Any], samples: Sequence[Sample], judge: Judge, count: int, rng: random.Random
) -> tuple[float, str]:
    replies = fuzz([task.gold(sample, think) for sample in samples[:50] for think in (False, True)], rng)
    slowest = (0.0, "")
    for number, reply in zip(range(count), replies, strict=False):
        sample, think = samples[number % len(samples)], bool(number % 2)
        took_s = _time_s(task, reply, sample, think, judge)
        if took_s > slowest[0]:  # once more, twice: the machine may have paused
            took_s = min(took_s, *(_time_s(task, reply, sample, think, judge) for _ in range(2)))
            slowest = max(slowest, (took_s, reply))
    return slowest


def _time_s(task: Task[Any, Any], reply: str, sample: Sample, think: bool, judge: Judge) -> float:
    begin = time.perf_counter()
    parts = task.reward(reply, sample, think, judge)
    task.parse(reply, think, strict=False, sample=sample)
    took_s = time.perf_counter() - begin
    assert all(value is None or 0.0 <= value <= 1.0 for value in parts.values()), (reply, parts)
    return took_s


def fuzz(golds: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Endless replies: random text, mutated gold ones, scraps put together, one scrap thousands of times."""
    while True:
        kind = rng.random()
        if kind < 0.2:
            yield "".join(chr(rng.randrange(1, 0x2FF)) for _ in range(rng.randrange(200)))
        elif kind < 0.6:
            yield _mutated(rng.choice(golds), rng)
        elif kind < 0.99:
            yield "".join(rng.choice(SCRAPS) for _ in range(rng.randrange(1, 30)))
        else:
            body = "".join(rng.choice(SCRAPS) for _ in range(rng.randrange(1, 4))) * rng.randrange(1, 6000)
            yield rng.choice((body, f"<answer>{body}</answer>", f"<answer>A</answer><glue>{body}</glue>"))


def _mutated(gold: str, rng: random.Random) -> str:
    """``gold`` with one to three pieces cut out, doubled, replaced, or put in."""
    for _ in range(rng.randrange(1, 4)):
        a, b = sorted(rng.randrange(len(gold) + 1) for _ in range(2))
        b = min(b, a + 12)
        piece = rng.choice(("", gold[a:b] * 2, rng.choice(SCRAPS), rng.choice(SCRAPS) + gold[a:b]))
        gold = gold[:a] + piece + gold[b:]
    return gold
