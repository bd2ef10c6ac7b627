from __future__ import annotations

import math

import numpy as np
import pytest

from timesight.statistics import (
    NUM_EXCHANGES,
    cluster_bootstrap,
    exchange_p_value,
    exchanged_means,
    interval_95,
    resampled_means,
)


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


def test_all_columns_are_drawn_together() -> None:
    values = np.random.default_rng(3).random((40, 2))
    videos, weights = [n // 2 for n in range(40)], np.arange(1.0, 41.0)
    means = resampled_means(values, videos, weights=weights)
    for column in range(2):
        alone = cluster_bootstrap(values[:, column], videos, weights=weights)
        assert interval_95(means[:, column]) == (alone.low, alone.high)
    both = resampled_means(values.sum(1, keepdims=True), videos, weights=weights)
    assert both[:, 0] == pytest.approx(means.sum(1))
    assert np.isnan(resampled_means(values, ["one"] * 40)).all()


def test_exchanges_give_the_exact_p_value_of_few_videos() -> None:
    """Three videos can change places in eight ways; two of these are as far from 0 as the data themselves."""
    before, after = np.zeros((3, 1)), np.array([[0.1], [0.2], [0.3]])
    a, b = exchanged_means(before, after, ["x", "y", "z"])
    assert a.shape == b.shape == (NUM_EXCHANGES, 1)
    assert a + b == pytest.approx(np.full((NUM_EXCHANGES, 1), 0.2))
    assert exchange_p_value(0.2, (b - a)[:, 0]) == pytest.approx(2 / 8, abs=0.02)
    assert exchange_p_value(0.0, (b - a)[:, 0]) == 1.0
    assert exchange_p_value(1.0, (b - a)[:, 0]) == 1 / (NUM_EXCHANGES + 1)


def test_exchanged_means_are_weighted() -> None:
    a, b = exchanged_means([[1.0], [0.0]], [[0.0], [0.0]], ["x", "y"], weights=[3.0, 1.0])
    assert set(np.unique(a)) == set(np.unique(b)) == {0.0, 0.75}
