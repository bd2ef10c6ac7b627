from __future__ import annotations

import math

import numpy as np
import pytest

from timesight.statistics import (
    NUM_EXCHANGES,
    are_few,
    cluster_bootstrap,
    exchange_p_value,
    exchanged_means,
    interval_95,
    resampled_means,
    t_975,
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


@pytest.mark.slow
@pytest.mark.parametrize("num_videos", [3, 5, 8, 12, 20, 30])
@pytest.mark.parametrize("paired", [False, True])
def test_intervals_hold_the_truth_with_few_videos(num_videos: int, paired: bool) -> None:
    """Three questions a video, which have much in common; the percentile interval alone holds it in 75 to 93%."""
    draws = np.random.default_rng(num_videos)
    held = 0
    for _ in range(trials := 1500):
        video = draws.normal(size=(num_videos, 1))
        first, second = (0.5 + 0.1 * video + 0.1 * draws.normal(size=(num_videos, 3)) for _ in range(2))
        values, truth = (second - first, 0.0) if paired else (first, 0.5)
        videos = np.repeat(np.arange(num_videos), 3).tolist()
        interval = cluster_bootstrap(values.ravel(), videos, num_resamples=500)
        held += interval.low <= truth <= interval.high
    assert 0.93 <= held / trials <= 0.97


def test_many_videos_leave_the_percentile_interval_as_it_is() -> None:
    values = np.random.default_rng(5).random(20_000)
    interval = cluster_bootstrap(values, range(20_000), num_resamples=200)
    means = resampled_means(values[:, None], range(20_000), num_resamples=200)[:, 0]
    assert (interval.low, interval.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=1e-6)


def test_quantiles_of_t_are_those_of_the_tables() -> None:
    known = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 10: 2.228, 29: 2.045, 120: 1.980}
    for freedom, quantile in known.items():
        assert t_975(freedom) == pytest.approx(quantile, rel=0.002 if freedom < 5 else 3e-4)


def test_intervals_stay_within_what_a_figure_can_be() -> None:
    draws = np.array([0.7, 0.8, 0.9, 1.0])
    low, high = interval_95(draws, 0.9, 3, (0.0, 1.0))
    assert (low, high) == (pytest.approx(0.9 - 0.1925 * 4.303 / 1.96 * math.sqrt(1.5), abs=1e-3), 1.0)
    assert interval_95(draws, 0.9, 3)[1] > 1


def test_few_videos_are_those_that_an_interval_needs_a_warning_with() -> None:
    assert [number for number in range(40) if are_few(number)] == list(range(2, 30))


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
        assert interval_95(means[:, column], alone.mean, 20) == (alone.low, alone.high)
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
