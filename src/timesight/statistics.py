"""Confidence intervals and p-values for questions that are not independent, because some share a video.

Intervals come from a bootstrap over videos (clusters), p-values from a permutation test that exchanges two systems
on whole videos. Shapes: N items, M metrics, V videos, R resamples, K exchanges.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

NUM_RESAMPLES = 2000
NUM_EXCHANGES = 10_000
EXCHANGES_AT_ONCE = 500  # bounds the memory for the signs of thousands of videos
FEW_CLUSTERS = 30
FEW_NOTE = f"intervals over fewer than {FEW_CLUSTERS} videos are rough"
Z_975 = NormalDist().inv_cdf(0.975)
ROUNDING = 1e-12  # of metrics in [0, 1]: an exchange exactly as far from 0 as the observed difference counts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% confidence interval from ``low`` to ``high``; NaN where there is none."""

    mean: float
    low: float
    high: float


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    weights: ArrayLike | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Compute a mean with a 95% confidence interval, by a bootstrap that resamples whole clusters.

    Args:
        values: (N,), one of each item. For the difference of two systems on the same items: the paired differences.
        clusters: The cluster of each item, here its video.
        weights: (N,), of the items in the mean; None weighs all alike.
        seed: Of the resampling.
        num_resamples: R.

    Returns:
        Mean and interval (see ``interval_95``). With fewer than two clusters ``low`` and ``high`` are NaN, without
        values the mean too.

    Raises:
        ValueError: If there are not as many values as clusters.
    """
    column = np.asarray(values, dtype=np.float64)[:, None]  # (N, 1)
    if not len(column):
        return Interval(float("nan"), float("nan"), float("nan"))
    sums, counts = _by_cluster(column, clusters, weights)
    means = resampled_means(column, clusters, weights=weights, seed=seed, num_resamples=num_resamples)
    mean = float(sums.sum() / counts.sum())
    return Interval(mean, *interval_95(means[:, 0], mean, len(counts)))


def resampled_means(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    weights: ArrayLike | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Floats:
    """Draw bootstrap means, each over V clusters drawn with replacement.

    The same seed draws the same clusters for any values, so that two systems can be compared draw by draw.

    Args:
        values: (N, M).
        clusters: The cluster of each item, here its video.
        weights: (N,), of the items in the means; None weighs all alike.
        seed: Of the resampling.
        num_resamples: R.

    Returns:
        Weighted means (R, M); all NaN with fewer than two clusters, which say nothing about others.

    Raises:
        ValueError: If ``values`` is not (N, M), with as many items as ``clusters``.
    """
    sums, counts = _by_cluster(values, clusters, weights)
    if len(counts) < 2:
        return np.full((num_resamples, sums.shape[1]), np.nan)
    draws = np.random.default_rng(seed).integers(len(counts), size=(num_resamples, len(counts)))  # (R, V)
    drawn = np.stack([column[draws].sum(1) for column in sums.T], axis=1)  # (R, M)
    means: Floats = drawn / counts[draws].sum(1)[:, None]
    return means


def interval_95(
    draws: Floats, figure: float, num_clusters: int, limits: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float]:
    """Compute a 95% percentile interval from bootstrap draws, widened for a small number of clusters.

    The std of draws from V clusters is too small by a factor of sqrt((V − 1) / V), and is itself only estimated,
    which the t distribution corrects. Both factors scale the distance from ``figure``.

    Args:
        draws: (R,), such as a column of ``resampled_means``.
        figure: The value over all items.
        num_clusters: V.
        limits: Least and largest possible value; the interval is clipped to them.

    Returns:
        Lower and upper end; NaN with fewer than two clusters.
    """
    if num_clusters < 2:
        return math.nan, math.nan
    wider = t_975(num_clusters - 1) / Z_975 * math.sqrt(num_clusters / (num_clusters - 1))
    low, high = (figure + wider * (edge - figure) for edge in np.percentile(draws, [2.5, 97.5]).tolist())
    return max(low, limits[0]), min(high, limits[1])


def over_runs(runs: Sequence[Interval]) -> Interval:
    """Join a figure of several runs, such as of models trained with other seeds and measured on the same videos.

    Args:
        runs: Each with an interval over videos.

    Returns:
        The mean and, on each side, an end that is sqrt(v² + s²) away: v is the root mean square of how far away the
        ends of the runs are, and s the half width of Student's t interval over the runs. One run stays as it is.

    Raises:
        ValueError: If there is no run.
    """
    if not runs:
        raise ValueError("no run")
    if len(runs) == 1:
        return runs[0]
    figures = np.array([run.mean for run in runs])
    over_seeds = t_975(len(runs) - 1) * figures.std(ddof=1) / math.sqrt(len(runs))
    below = math.hypot(math.sqrt(np.mean([(run.mean - run.low) ** 2 for run in runs])), over_seeds)
    above = math.hypot(math.sqrt(np.mean([(run.high - run.mean) ** 2 for run in runs])), over_seeds)
    mean = float(figures.mean())
    return Interval(mean, mean - below, mean + above)


def limits_of(values: Floats) -> tuple[float, float]:
    """Bounds of a mean of ``values``: (0, 1) if all of them lie in [0, 1], infinite otherwise."""
    return (0.0, 1.0) if values.size and values.min() >= 0 and values.max() <= 1 else (-math.inf, math.inf)


def t_975(freedom: int) -> float:
    """The 97.5% quantile of Student's t distribution (Abramowitz and Stegun, 26.7.5).

    Args:
        freedom: Degrees of freedom, at least 1.

    Returns:
        The quantile: to three decimals from five degrees of freedom on, to 0.2% below.
    """
    if freedom <= 2:  # too few for the series
        return {1: 12.706, 2: 4.303}[freedom]
    z = Z_975
    terms = (  # Cornish-Fisher expansion
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))


def are_few(num_clusters: int) -> bool:
    """Whether an interval over ``num_clusters`` videos needs the warning ``FEW_NOTE``; one video has none."""
    return 1 < num_clusters < FEW_CLUSTERS


def exchanged_means(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    weights: ArrayLike | None = None,
    seed: int = 0,
    num_exchanges: int = NUM_EXCHANGES,
) -> tuple[Floats, Floats]:
    """Draw the means of two systems under the null hypothesis that they do not differ (a permutation test).

    Each draw exchanges the two systems' values on every cluster with probability 1/2: without a difference, either
    could have produced the values of the other.

    Args:
        a: (N, M), values of the first system.
        b: (N, M), values of the second on the same items.
        clusters: The cluster of each item, here its video.
        weights: (N,), of the items in the means; None weighs all alike.
        seed: Of the exchanges.
        num_exchanges: K.

    Returns:
        Weighted means (K, M) of the first and of the second system.

    Raises:
        ValueError: If ``a`` or ``b`` is not (N, M), with as many items as ``clusters``.
    """
    of_a, counts = _by_cluster(a, clusters, weights)
    of_b, _ = _by_cluster(b, clusters, weights)
    draws = np.random.default_rng(seed)
    half = (of_b - of_a) / 2  # (V, M)
    sizes = [min(EXCHANGES_AT_ONCE, num_exchanges - done) for done in range(0, num_exchanges, EXCHANGES_AT_ONCE)]
    signs = (draws.integers(2, size=(size, len(half)), dtype=np.int8) * 2 - 1 for size in sizes)
    moved: Floats = np.concatenate([some @ half for some in signs])  # (K, M)
    middle, total = (of_a + of_b).sum(0) / 2, counts.sum()
    return (middle - moved) / total, (middle + moved) / total


def exchange_p_value(difference: float, exchanged: Floats) -> float:
    """Two-sided p-value of a difference between two systems.

    Args:
        difference: As observed.
        exchanged: (K,), the differences after each exchange (``exchanged_means``).

    Returns:
        The share of exchanges whose difference is at least as far from 0. The observed one counts as one of them,
        so the smallest value is 1 / (K + 1).
    """
    as_far = np.count_nonzero(np.abs(exchanged) >= abs(difference) - ROUNDING)
    return float((1 + as_far) / (len(exchanged) + 1))


def _by_cluster(
    values: ArrayLike, clusters: Sequence[Hashable], weights: ArrayLike | None
) -> tuple[Floats, Floats]:
    """Weighted sums (V, M) of ``values`` (N, M) and the sums (V,) of the weights, by cluster."""
    items = np.asarray(values, dtype=np.float64)
    if items.ndim != 2 or len(items) != len(clusters):
        raise ValueError(f"{items.shape} values for {len(clusters)} clusters")
    index_of = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    index = np.array([index_of[name] for name in clusters])
    weight = np.ones(len(items)) if weights is None else np.asarray(weights, dtype=np.float64)  # (N,)
    sums = np.stack([np.bincount(index, weights=column * weight) for column in items.T], axis=1)
    counts = np.bincount(index, weights=weight)
    return sums.astype(np.float64), counts.astype(np.float64)  # they are, but numpy's types say integers
