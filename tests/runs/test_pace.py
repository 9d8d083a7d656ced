"""Speed and remaining time from row times."""

import pytest
from tests.runs.run_folders import rows_of

from drivetrain.runs.pace import measure_pace, median_interval, quantile


def test_even_rows_give_the_same_rate_everywhere():
    # 21 rows, 2 s and 10,000 steps apart: 5,000 steps/s; 790,000 remain of 1,000,000: 158 s.
    pace = measure_pace(rows_of(21), life=1, step=210_000, total_steps=1_000_000)
    assert pace is not None
    assert pace.steps_per_s == pytest.approx(5000.0)
    assert pace.remaining_steps == 790_000
    assert (pace.eta_low_s, pace.eta_s, pace.eta_high_s) == pytest.approx((158.0, 158.0, 158.0))


def test_a_pause_slows_the_eta_but_not_the_speed():
    rows = rows_of(21)
    for row in rows[11:]:
        row["monotonic"] += 40.0  # an evaluation of 40 s in the middle
    pace = measure_pace(rows, life=1, step=210_000, total_steps=410_000)
    assert pace is not None
    assert pace.steps_per_s == pytest.approx(5000.0)
    assert pace.overall_steps_per_s == pytest.approx(200_000 / 80.0)
    assert pace.eta_s == pytest.approx(80.0)
    # Blocks of two rows: nine run at 5,000 steps/s, one at 20,000 / 44 s; the 10 % quantile lies 0.9 of the way up.
    slow = 20_000 / 44.0
    assert pace.eta_low_s == pytest.approx(40.0)
    assert pace.eta_high_s == pytest.approx(200_000 / min(slow + 0.9 * (5000.0 - slow), 2500.0))


@pytest.mark.parametrize("rows", [[], rows_of(4, interval_s=60.0), rows_of(10, interval_s=3.0)])
def test_few_rows_or_little_time_are_warming_up(rows):
    assert measure_pace(rows, life=1, step=1, total_steps=100) is None


def test_rows_of_an_earlier_life_do_not_count():
    rows = [*rows_of(100, interval_s=0.5), *rows_of(3, interval_s=60.0, life=2)]
    assert measure_pace(rows, life=2, step=1, total_steps=100) is None


def test_rows_older_than_ten_minutes_do_not_count():
    rows = rows_of(100, interval_s=10.0)
    for row in rows[:30]:
        row["step"] = 0
    pace = measure_pace(rows, life=1, step=1_000_000, total_steps=1_000_000)
    assert pace is not None
    assert pace.overall_steps_per_s == pytest.approx(1000.0)
    assert pace.eta_s == 0.0


def test_a_run_that_does_not_move_has_no_eta():
    assert measure_pace(rows_of(20, steps=0), life=1, step=0, total_steps=100) is None


def test_median_interval_and_quantiles():
    assert median_interval(rows_of(5, interval_s=3.0), life=1) == pytest.approx(3.0)
    assert median_interval(rows_of(1), life=1) is None
    assert quantile([0.0, 10.0], 0.25) == 2.5
    assert quantile([7.0], 0.9) == 7.0


def test_a_limited_time_ends_a_run_before_its_steps_do():
    rows = [{"life": 1, "monotonic": 10.0 * i, "step": 100 * i} for i in range(20)]
    pace = measure_pace(rows, life=1, step=1900, total_steps=10**12)
    assert pace.within(60.0).eta_s == pace.within(60.0).eta_low_s == pace.within(60.0).eta_high_s == 60.0
    assert pace.within(1e15) == pace
