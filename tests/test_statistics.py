from __future__ import annotations

import math

import numpy as np
import pytest

from timesight.statistics import cluster_bootstrap


def test_mean_lies_inside_and_seed_fixes_the_interval() -> None:
    values = np.random.default_rng(0).random(200)
    first = cluster_bootstrap(values, range(200), seed=3)
    assert first.low < first.mean < first.high
    assert first == cluster_bootstrap(values, range(200), seed=3)


def test_interval_agrees_with_the_normal_one_for_independent_items() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.2, size=900)
    interval = cluster_bootstrap(values, range(900))
    half = 1.96 * values.std() / 30
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.1)


def test_copies_within_a_video_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(2).random(50)
    once = cluster_bootstrap(values, range(50))
    ten_times = cluster_bootstrap(np.repeat(values, 10), np.repeat(np.arange(50), 10).tolist())
    assert ten_times.high - ten_times.low == pytest.approx(once.high - once.low, rel=0.1)


def test_unequal_clusters_weigh_by_their_items() -> None:
    assert cluster_bootstrap([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]).mean == 0.75


def test_one_cluster_has_no_interval() -> None:
    interval = cluster_bootstrap([0.2, 0.4], ["a", "a"])
    assert interval.mean == pytest.approx(0.3)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_lengths_must_match() -> None:
    with pytest.raises(ValueError, match="clusters"):
        cluster_bootstrap([1.0], ["a", "b"])
