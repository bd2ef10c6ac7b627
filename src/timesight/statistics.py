"""Intervals that respect that questions on one video are not independent.

Shapes: N items, V videos (clusters), R resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

NUM_RESAMPLES = 2000


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
    """Mean of ``values`` (N,) with a 95% percentile interval, resampling whole clusters.

    ``clusters`` names the video of each item; ``weights`` (N,) makes the mean a weighted one. For the difference
    of two systems on the same items pass the paired differences. With fewer than two clusters no interval exists:
    ``low`` and ``high`` are NaN.
    """
    items = np.asarray(values, dtype=np.float64)  # (N,)
    if items.ndim != 1 or len(items) != len(clusters):
        raise ValueError(f"{items.shape} values for {len(clusters)} clusters")
    if not len(items):
        return Interval(float("nan"), float("nan"), float("nan"))
    index_of = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    index = np.array([index_of[name] for name in clusters])
    weight = np.ones(len(items)) if weights is None else np.asarray(weights, dtype=np.float64)  # (N,)
    sums = np.bincount(index, weights=items * weight)  # (V,)
    counts = np.bincount(index, weights=weight)  # (V,)
    mean = float(sums.sum() / counts.sum())
    if len(sums) < 2:
        return Interval(mean, float("nan"), float("nan"))
    draws = np.random.default_rng(seed).integers(len(sums), size=(num_resamples, len(sums)))  # (R, V)
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(mean, float(low), float(high))


def sign_flip_p_value(
    differences: ArrayLike, clusters: Sequence[Hashable], *, seed: int = 0, num_flips: int = 10_000
) -> float:
    """Two-sided p-value of the mean of paired ``differences`` (N,) being other than 0.

    A permutation test: were there no difference, the two systems could change places on any video. The share of
    ``num_flips`` random exchanges, whole clusters at a time, whose mean is at least as far from 0; the data as they
    are count as one of them, so the smallest value is 1 / (num_flips + 1).
    """
    items = np.asarray(differences, dtype=np.float64)
    if items.ndim != 1 or len(items) != len(clusters):
        raise ValueError(f"{items.shape} differences for {len(clusters)} clusters")
    if not len(items):
        return float("nan")
    index_of = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    sums = np.bincount([index_of[name] for name in clusters], weights=items)  # (V,)
    signs = np.random.default_rng(seed).integers(2, size=(num_flips, len(sums))) * 2 - 1  # (flips, V)
    flipped = np.abs(signs @ sums)
    return float((1 + np.count_nonzero(flipped >= abs(sums.sum()) * (1 - 1e-12))) / (num_flips + 1))
