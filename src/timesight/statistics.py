"""Intervals and p-values that respect that questions on one video are not independent.

Shapes: N items, M metrics, V videos (clusters), R resamples, K exchanges.
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
EXCHANGES_AT_ONCE = 500  # bounds the memory that the signs of thousands of videos take
FEW_CLUSTERS = 30
FEW_NOTE = f"intervals over fewer than {FEW_CLUSTERS} videos are rough"
Z_975 = NormalDist().inv_cdf(0.975)
ROUNDING = 1e-12  # of figures between 0 and 1; exchanges as far from 0 as the data themselves count

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval."""

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
    """Mean of ``values`` (N,) with a 95% interval (``interval_95``), resampling whole clusters.

    ``clusters`` names the video of each item; ``weights`` (N,) makes the mean a weighted one. For the difference
    of two systems on the same items pass the paired differences. With fewer than two clusters no interval exists:
    ``low`` and ``high`` are NaN.
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
    """Weighted means (R, M) of ``values`` (N, M), each over as many clusters drawn at random as there are.

    One seed draws the same clusters for any values, so that two systems can be compared draw by draw. NaN with
    fewer than two clusters, which say nothing about others.
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
    """The middle 95% of ``draws`` (R,), made wider about ``figure`` as few clusters demand, within ``limits``.

    Draws from V clusters are too narrow by sqrt((V − 1) / V), and know nothing of the error of their own spread,
    which the t distribution allows for. NaN with fewer than two clusters.
    """
    if num_clusters < 2:
        return math.nan, math.nan
    wider = t_975(num_clusters - 1) / Z_975 * math.sqrt(num_clusters / (num_clusters - 1))
    low, high = (figure + wider * (edge - figure) for edge in np.percentile(draws, [2.5, 97.5]).tolist())
    return max(low, limits[0]), min(high, limits[1])


def limits_of(values: Floats) -> tuple[float, float]:
    """What a mean of ``values`` can be: between 0 and 1 where all of them are, anything otherwise."""
    return (0.0, 1.0) if values.size and values.min() >= 0 and values.max() <= 1 else (-math.inf, math.inf)


def t_975(freedom: int) -> float:
    """The 97.5% quantile of Student's t, to three decimals from five degrees of ``freedom`` on, 0.2% below."""
    if freedom <= 2:  # too few for the series
        return {1: 12.706, 2: 4.303}[freedom]
    z = Z_975
    terms = (  # Cornish-Fisher: Abramowitz and Stegun 26.7.5
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, start=1))


def are_few(num_clusters: int) -> bool:
    """Whether an interval over so many videos needs a word of warning; one video has no interval."""
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
    """Weighted means (K, M) of two systems' values ``a`` and ``b`` (N, M) once they have changed places at random.

    Whole clusters at a time: were there no difference between the two, they could do so on any video.
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
    """Two-sided p-value of ``difference``: the share of ``exchanged`` (K,) ones that are at least as far from 0.

    The data as they are count as one of them, so the smallest value is 1 / (K + 1).
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
