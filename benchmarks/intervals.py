"""How often 95% intervals hold the true value, by the number of videos and the way they are made.

    python benchmarks/intervals.py

Made-up questions, one to seven on each video, whose figures have as much in common within a video as they differ by
chance: an overlap between 0 and 1, an accuracy, and the paired difference of two systems in either. ``ours`` is
``timesight.statistics.interval_95``; the percentile bootstrap is what it widens, BCa and the t interval of the
linearised mean (cluster-robust) are what else is in use.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import click
import numpy as np

from timesight.statistics import NUM_RESAMPLES, interval_95, t_975

NORMAL = NormalDist()
Draws = np.random.Generator
Clusters = tuple[Any, Any]  # sums (V,) of the figures of each video's questions, and how many these are (V,)


def overlaps(draws: Draws, num_videos: int, gain: float | None = None) -> Clusters:
    """Overlaps about 0.5, or what a system that is better by ``gain`` has more on the same questions."""
    sizes, video = draws.integers(1, 8, num_videos), draws.normal(size=num_videos)

    def scores(shift: float) -> Any:
        common = np.repeat(0.5 + shift + 0.25 * video, sizes)
        return np.clip(common + 0.25 * draws.normal(size=sizes.sum()), 0, 1)

    return summed(scores(0.0) if gain is None else scores(gain) - scores(0.0), sizes)


def answers(draws: Draws, num_videos: int, gain: float | None = None) -> Clusters:
    """Right and wrong answers, three of four right; or the difference of a system that is better by ``gain``."""
    sizes, video = draws.integers(1, 8, num_videos), draws.normal(size=num_videos)

    def scores(shift: float) -> Any:
        return draws.random(sizes.sum()) < np.repeat(1 / (1 + np.exp(-(1.2 + shift + video))), sizes)

    values = scores(0.0) * 1.0 if gain is None else scores(gain) * 1.0 - scores(0.0)
    return summed(values, sizes)


def summed(values: Any, sizes: Any) -> Clusters:
    """Of each video."""
    return np.bincount(np.repeat(np.arange(len(sizes)), sizes), weights=values), sizes.astype(float)


FIGURES: dict[str, Callable[[Draws, int], Clusters]] = {
    "overlap": overlaps,
    "accuracy": answers,
    "overlap, difference": lambda draws, num_videos: overlaps(draws, num_videos, 0.06),
    "accuracy, difference": lambda draws, num_videos: answers(draws, num_videos, 0.5),
}


def intervals(sums: Any, counts: Any, draws: Draws, num_resamples: int) -> dict[str, tuple[float, float]]:
    """The 95% interval of the mean by each way."""
    num_videos, mean = len(sums), sums.sum() / counts.sum()
    drawn = draws.integers(num_videos, size=(num_resamples, num_videos))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    error = np.sqrt(np.var((sums - mean * counts) / counts.mean(), ddof=1) / num_videos)
    half = t_975(num_videos - 1) * error
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "percentile": (low, high),
        "BCa": bca(sums, counts, mean, means),
        "cluster t": (mean - half, mean + half),
        "ours": interval_95(means, mean, num_videos),
    }


def bca(sums: Any, counts: Any, mean: float, means: Any) -> tuple[float, float]:
    """Bias-corrected and accelerated percentiles of ``means``."""
    without = (sums.sum() - sums) / (counts.sum() - counts)
    lean = without.mean() - without
    spread = (lean**2).sum() ** 1.5
    acceleration = (lean**3).sum() / (6 * spread) if spread else 0.0
    below = ((means < mean).mean() + (means <= mean).mean()) / 2
    bias = NORMAL.inv_cdf(min(max(below, 1 / len(means)), 1 - 1 / len(means)))
    moved = [bias + NORMAL.inv_cdf(share) for share in (0.025, 0.975)]
    shares = [NORMAL.cdf(bias + z / (1 - acceleration * z)) for z in moved]
    low, high = np.percentile(means, [100 * share for share in shares])
    return low, high


@click.command()
@click.option("--trials", default=2000, show_default=True, type=click.IntRange(1), help="Intervals a setting.")
def main(trials: int) -> None:
    """Print the share of intervals that hold the true value, and their mean width."""
    for name, make in FIGURES.items():
        sums, counts = make(np.random.default_rng(99), 400_000)
        truth = sums.sum() / counts.sum()
        for num_videos in (3, 5, 8, 12, 20, 30, 100, 200):
            draws = np.random.default_rng(num_videos)
            found: dict[str, list[tuple[float, float]]] = {}
            for _ in range(trials):
                for way, pair in intervals(*make(draws, num_videos), draws, NUM_RESAMPLES).items():
                    found.setdefault(way, []).append(pair)
            cells = []
            for way, pairs in found.items():
                low, high = np.array(pairs).T
                cells.append(
                    f"{way} {100 * ((low <= truth) & (truth <= high)).mean():4.1f}% {(high - low).mean():.3f}"
                )
            click.echo(f"{name:20} {num_videos:3} videos   {'   '.join(cells)}")


if __name__ == "__main__":
    main()
