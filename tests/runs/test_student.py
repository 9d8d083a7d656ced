"""Student's t against tables and worked examples."""

import math
import random

import pytest

from drivetrain.runs.student import paired, quantile_975, two_sided_p, welch


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.706205), (2, 4.302653), (3, 3.182446), (10, 2.228139), (100, 1.983972)]
)
def test_quantiles_are_those_of_the_tables(degrees, quantile):
    assert quantile_975(degrees) == pytest.approx(quantile, abs=1e-5)
    assert two_sided_p(quantile, degrees) == pytest.approx(0.05, abs=1e-6)


def test_one_and_two_degrees_of_freedom_have_closed_forms():
    for t in (1e-6, 0.3, 1.0, 7.0, 1e4):
        assert two_sided_p(t, 1) == pytest.approx(1.0 - 2.0 * math.atan(t) / math.pi, rel=1e-6, abs=1e-12)
        assert two_sided_p(t, 2) == pytest.approx(1.0 - t / math.sqrt(2.0 + t * t), rel=1e-6, abs=1e-12)
    assert two_sided_p(0.0, 5) == 1.0


def test_welch_by_hand():
    # variances 1 and 4 of three values each: error sqrt(5/3), degrees (5/3)^2 / ((1/9 + 16/9) / 2) = 2.941
    found = welch([1.0, 2.0, 3.0], [3.0, 5.0, 7.0])
    assert found.difference == pytest.approx(-3.0)
    half = quantile_975(50.0 / 17.0) * math.sqrt(5.0 / 3.0)
    assert (found.low, found.high) == (pytest.approx(-3.0 - half), pytest.approx(-3.0 + half))
    assert found.p == pytest.approx(two_sided_p(3.0 / math.sqrt(5.0 / 3.0), 50.0 / 17.0))


def test_pairs_cancel_what_seeds_share():
    # differences 1, 2, 3: mean 2, error 1 / sqrt(3), two degrees of freedom
    found = paired([11.0, 102.0, 1003.0], [10.0, 100.0, 1000.0])
    assert found.difference == pytest.approx(2.0)
    assert found.low == pytest.approx(2.0 - 4.302653 / math.sqrt(3.0), abs=1e-5)
    assert found.p == pytest.approx(1.0 - math.sqrt(12.0 / 14.0), abs=1e-6)


def test_samples_without_spread_have_no_interval():
    for found in (welch([0.1] * 3, [0.1] * 3), paired([500.0, 500.0], [500.0, 500.0])):
        assert (found.difference, found.low, found.high, found.p) == (0.0, None, None, None)


def test_the_test_keeps_its_level_when_nothing_differs():
    draws = random.Random(0)
    alarms = 0
    for _ in range(400):
        a, b = ([draws.gauss(0.0, 1.0) for _ in range(3)] for _ in range(2))
        p = welch(a, b).p
        alarms += p is not None and p < 0.05
    assert alarms / 400 < 0.08
