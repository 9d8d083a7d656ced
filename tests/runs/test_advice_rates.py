"""The simulations behind docs/status.md, on a small size: truths are told from one another as the page says."""

import random
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import advice_rates
    import status_speed

    yield advice_rates, status_speed
    for name in ("advice_rates", "status_speed", "figures"):
        sys.modules.pop(name, None)


def test_a_sudden_fall_is_found_and_noise_is_none(benchmarks):
    rates, _ = benchmarks
    numbers = random.Random(2)
    last = 400 + rates.LOOKS * rates.BLOCK - 2 * rates.BLOCK
    flat = rates.collapse_shares(0.5, lambda i: 0.0, series=60, numbers=numbers)
    fallen = rates.collapse_shares(0.5, lambda i: -4.0 * (i >= last), series=60, numbers=numbers)
    assert flat[0] <= flat[1] <= 2 / 60
    assert fallen[0] >= 58 / 60


def test_the_interval_holds_the_end_of_a_steady_run_and_not_of_one_that_slows_down(benchmarks):
    rates, _ = benchmarks
    steady, *_, slowing = rates.PACE_CASES
    inside, error = rates.pace_coverage(steady, done=0.5, series=40, numbers=random.Random(3))
    assert inside >= 0.85
    assert error < 0.01
    inside, error = rates.pace_coverage(slowing, done=0.5, series=10, numbers=random.Random(3))
    # Half way an iteration takes 1.5 units; those that remain take 1.75 on average: 1 - 1.5 / 1.75 is missing, and
    # the ten minutes looked at lie before the middle, which adds some.
    assert inside == 0.0
    assert 1.0 - 1.5 / 1.75 < error < 0.25


def test_shares_add_up(benchmarks):
    rates, _ = benchmarks
    shares = rates.verdict_shares(0.5, 2.0, count=400, series=20, numbers=random.Random(4))
    assert shares == {"improving": 1.0, "degrading": 0.0, "plateau": 0.0, "undecided": 0.0}


@pytest.mark.parametrize("command", ["status", "report"])
def test_neither_status_nor_report_loads_torch_numpy_or_mlflow(benchmarks, tmp_path, command):
    _, speed = benchmarks
    speed.write_run(tmp_path, "ended", active=False)
    lock = speed.write_run(tmp_path, "active", active=True)
    assert speed.cost_of(command, tmp_path) > 0.0  # raises where one is loaded
    lock.release()
