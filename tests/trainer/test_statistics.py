"""Intervals against published values."""

import numpy as np
import pytest

from drivetrain.trainer.statistics import Estimate, mean_estimate, rate_estimate, student_quantile


def test_wilson_interval_by_hand():
    """1 of 10: centre (0.1 + 0.19207)/1.38415 = 0.21101, half 1.41602 sqrt(0.009 + 0.0096037) = 0.19314."""
    got = rate_estimate(1, 10)
    assert got.mean == pytest.approx(0.1)
    assert (got.low, got.high) == pytest.approx((0.01787, 0.40415), abs=2e-5)


def test_wilson_interval_at_the_ends():
    """0 of n: [0, z^2/(n + z^2)]; mirrored for n of n."""
    assert rate_estimate(0, 100).high == pytest.approx(3.841459 / 103.841459, abs=1e-7)
    assert rate_estimate(0, 100).low == 0.0
    assert rate_estimate(100, 100).low == pytest.approx(1 - 3.841459 / 103.841459, abs=1e-7)
    assert rate_estimate(100, 100).high == 1.0


def test_student_quantiles_from_the_tables():
    table = {1: 12.7062, 5: 2.5706, 11: 2.2010, 20: 2.0860, 30: 2.0423, 100: 1.9840, 1000: 1.9623}
    for degrees, quantile in table.items():
        assert student_quantile(degrees) == pytest.approx(quantile, abs=6e-5)


def test_mean_interval_by_hand():
    """1, 2, 3, 4: mean 2.5, s = 1.29099, t_3 = 3.18245: half = 2.05426."""
    got = mean_estimate([1, 2, 3, 4])
    assert (got.mean, got.low, got.high, got.num) == pytest.approx((2.5, 0.44574, 4.55426, 4), abs=1e-5)


def test_a_value_is_imagined_at_each_bound():
    """Four halves, 0 and 1: s = sqrt(0.5/5) = 0.31623, t_5 = 2.57058: half = 2.57058 s/sqrt(6) = 0.33187."""
    got = mean_estimate([0.5] * 4, bounds=(0.0, 1.0))
    assert (got.mean, got.low, got.high, got.num) == pytest.approx((0.5, 0.16813, 0.83187, 4), abs=1e-5)
    assert mean_estimate([1.0, 1.0, 1.0], bounds=(0.0, 1.0)).high == 1.0


@pytest.mark.parametrize("num", [3, 10, 30, 100])
def test_intervals_of_scores_that_are_mostly_one_cover_their_mean(num):
    """One in fourteen is 0, the others lie between 0.85 and 1; a plain t interval of ten covers 52 % of the time."""
    random = np.random.default_rng(num)
    values = np.where(random.random((1000, num)) < 1 / 14, 0.0, random.uniform(0.85, 1.0, (1000, num)))
    mean = 13 / 14 * 0.925
    covered = [e.low <= mean <= e.high for e in (mean_estimate(row, bounds=(0.0, 1.0)) for row in values)]
    assert np.mean(covered) > 0.935


def test_too_few_values_have_no_interval():
    assert mean_estimate([]) == rate_estimate(0, 0) == Estimate(mean=None, low=None, high=None, num=0)
    assert mean_estimate([3.0]) == Estimate(mean=3.0, low=None, high=None, num=1)


def test_t_interval_covers_as_often_as_it_says():
    values = np.random.default_rng(0).normal(1.0, 2.0, (2000, 12))
    covered = [e.low <= 1.0 <= e.high for e in map(mean_estimate, values)]
    assert 0.935 < np.mean(covered) < 0.965


def test_json_round_trip():
    estimate = rate_estimate(3, 7)
    assert Estimate.of_json(estimate.to_json()) == estimate
    assert set(estimate.to_json()) == {"mean", "ci95", "n"}
