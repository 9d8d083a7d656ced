"""Several seeds: their interquartile mean, and how sure it is."""

import random
from itertools import product

import pytest

from drivetrain.runs.seed_statistics import interquartile_mean, over_seeds


@pytest.mark.parametrize(
    ("values", "middle"),
    [
        ([0.4], 0.4),
        ([0.1, 0.5, 0.6], 0.4),  # of three nothing can be left out
        ([0.0, 0.5, 0.7, 1.0], 0.6),
        ([-9.0, 0.5, 0.6, 0.7, 0.9], 0.6),  # one that went wrong does not count
        ([0.8, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], 0.45),
    ],
)
def test_the_middle_half(values, middle):
    assert interquartile_mean(values) == pytest.approx(middle)
    assert over_seeds([values]).iqm == pytest.approx(middle)


def test_an_interval_needs_two_seeds_and_holds_what_was_seen():
    assert over_seeds([]).iqm is None
    assert (over_seeds([[0.5]]).low, over_seeds([[0.5]]).seeds) == (None, 1)
    found = over_seeds([[0.2, 0.4, 0.5, 0.6, 0.8]])
    assert 0.2 <= found.low < found.iqm < found.high <= 0.8
    assert found == over_seeds([[0.2, 0.4, 0.5, 0.6, 0.8]])
    assert (over_seeds([[0.3, 0.3, 0.3]]).low, over_seeds([[0.3, 0.3, 0.3]]).high) == pytest.approx((0.3, 0.3))


def test_the_bootstrap_agrees_with_all_draws_there_are():
    """Three seeds can be drawn in 27 ways; 2.5 % of them lie below the second lowest and above the second highest."""
    values = [0.0, 1.0, 4.0]
    every = sorted(interquartile_mean(drawn) for drawn in product(values, repeat=3))
    found = over_seeds([values])
    assert every[0] <= found.low <= every[2]
    assert every[-3] <= found.high <= every[-1]
    assert (every[0], every[-1]) == (0.0, 4.0)


def test_tasks_are_drawn_each_for_itself():
    """Between the tasks there is no doubt: an interval over easy and hard ones is that of their seeds alone."""
    easy, hard = [0.90, 0.91, 0.92, 0.93], [0.10, 0.11, 0.12, 0.13]
    found = over_seeds([easy, hard])
    assert found.iqm == pytest.approx((0.12 + 0.13 + 0.90 + 0.91) / 4)
    assert found.high - found.low < 0.05
    mixed = over_seeds([easy + hard])
    assert mixed.high - mixed.low > 0.5


def test_the_interval_holds_the_true_mean_less_often_than_it_says():
    """docs/runs.md says how often: about 75 % with three seeds, 90 % with five."""
    generator = random.Random(0)
    for count, share in ((3, 0.76), (5, 0.90)):
        found = [over_seeds([[generator.gauss(0.0, 1.0) for _ in range(count)]]) for _ in range(120)]
        held = sum(each.low <= 0.0 <= each.high for each in found) / len(found)
        assert held == pytest.approx(share, abs=0.1)
