"""The verdict on correlated series, against shares measured on many of them and hand-computed values."""

import math
import random

import pytest

from drivetrain.runs.convergence import autocorrelation_time, has_collapsed, judge_series, student_t_975


def correlated(phi, count, random_numbers):
    """An AR(1) series of standard deviation 1."""
    value, series = random_numbers.gauss(0.0, 1.0), []
    for _ in range(count):
        value = phi * value + math.sqrt(1.0 - phi * phi) * random_numbers.gauss(0.0, 1.0)
        series.append(value)
    return series


def shares(phi, *, rise, count=400, repeats=100, seed=1):
    random_numbers = random.Random(seed)
    verdicts = [
        judge_series([v + rise * i / count for i, v in enumerate(correlated(phi, count, random_numbers))]).verdict
        for _ in range(repeats)
    ]
    return {verdict: verdicts.count(verdict) / repeats for verdict in set(verdicts)}


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_a_rise_and_a_fall_are_always_seen(phi):
    assert shares(phi, rise=2.0) == {"improving": 1.0}
    assert shares(phi, rise=-2.0) == {"degrading": 1.0}


@pytest.mark.parametrize(("phi", "least"), [(0.0, 0.98), (0.5, 0.80)])
def test_a_flat_series_is_mostly_a_plateau(phi, least):
    assert shares(phi, rise=0.0).get("plateau", 0.0) >= least


def test_strong_correlation_leaves_it_undecided_rather_than_wrong():
    flat = shares(0.9, rise=0.0)
    assert flat["undecided"] >= 0.75
    assert flat.get("improving", 0.0) <= 0.12
    assert flat.get("degrading", 0.0) <= 0.12
    assert "plateau" not in shares(0.9, rise=-2.0)


def test_a_straight_line_improves_with_the_slope_it_has():
    curve = judge_series([0.5 * i for i in range(100)])
    # No noise: blocks of one point, and the change over a quarter of the window is 25 points x 0.5.
    assert curve.verdict == "improving"
    assert curve.block_points == 2
    assert curve.ahead_points == 25
    assert curve.change_low == pytest.approx(12.5)
    assert curve.change_high == pytest.approx(12.5)


def test_only_the_newest_points_count_and_bad_ones_are_left_out():
    rising_then_flat = [float(i) for i in range(1000)] + [math.nan, math.inf] + [999.0] * 400
    curve = judge_series(rising_then_flat)
    assert curve.verdict == "plateau"
    assert curve.num_points == 400


def test_few_points_are_no_evidence():
    curve = judge_series([float(i) for i in range(63)])
    assert curve.verdict == "undecided"
    assert curve.num_points == 63


def test_autocorrelation_time_of_white_and_correlated_noise():
    random_numbers = random.Random(3)
    assert autocorrelation_time([random_numbers.gauss(0.0, 1.0) for _ in range(4000)]) == pytest.approx(1.0, abs=0.2)
    # An AR(1) series has (1 + phi) / (1 - phi) = 9 for phi = 0.8.
    assert autocorrelation_time(correlated(0.8, 20_000, random_numbers)) == pytest.approx(9.0, rel=0.2)
    assert autocorrelation_time([0.0] * 10) == 1.0


@pytest.mark.parametrize(("degrees", "value"), [(6, 2.4469), (8, 2.3060), (10, 2.2281), (30, 2.0423), (398, 1.9659)])
def test_quantiles_of_student_t(degrees, value):
    assert student_t_975(degrees) == pytest.approx(value, abs=0.005)


def test_collapse_is_seen_and_a_rise_is_none():
    random_numbers = random.Random(5)
    learning = [6.0 * min(1.0, i / 200) + random_numbers.gauss(0.0, 1.0) for i in range(400)]
    assert not has_collapsed(learning)
    assert has_collapsed([*learning[:380], *(value - 3.0 for value in learning[380:])])
    assert not has_collapsed(learning[:100])


def test_flat_noise_is_rarely_called_a_collapse():
    random_numbers = random.Random(6)
    alarms = sum(has_collapsed(correlated(0.5, 400, random_numbers)) for _ in range(200))
    assert alarms <= 2
