"""Comfort: against a literal filter, hand-computed values, and the reference implementation's numbers."""

import numpy as np
import pytest
from tests.metrics.builders import straight_ego, times_of

from drivetrain.metrics.comfort import BOUNDS, comfort, physical_comfort
from drivetrain.metrics.smoothing import smoothed


def literal_filter(values, window, order, derivative, step):
    """Fit one polynomial per sample with ``np.polyfit`` and read it where the sample takes it."""
    num = len(values)
    window = min(window, num)
    half, out = window // 2, np.empty(num)
    for i in range(num):
        if i < half:
            first, at = 0, float(i)
        elif i >= num - half:
            first, at = num - window, float(i)
        else:
            first = i - (window - 1) // 2
            at = first + (window - 1) / 2
        places = step * (np.arange(first, first + window) - at)
        polynomial = np.polynomial.Polynomial.fit(places, values[first : first + window], order, domain=[-1, 1])
        out[i] = polynomial.deriv(derivative)(0.0) if derivative else polynomial(0.0)
    return out


@pytest.mark.parametrize("num", [4, 7, 8, 9, 15, 16, 40])
@pytest.mark.parametrize(("window", "order", "derivative"), [(8, 2, 0), (15, 2, 1), (5, 2, 1), (5, 3, 2)])
def test_the_filter_equals_its_definition(num, window, order, derivative):
    values = np.random.default_rng(num).normal(size=num)
    found = smoothed(values, window=window, order=order, derivative=derivative, step=0.1)
    np.testing.assert_allclose(found, literal_filter(values, window, order, derivative, 0.1), rtol=1e-8, atol=1e-8)


def test_an_even_window_shifts_inner_samples_by_half_a_step():
    found = smoothed(np.arange(12.0), window=8, order=2)
    np.testing.assert_allclose(found, [0, 1, 2, 3, 4.5, 5.5, 6.5, 7.5, 8, 9, 10, 11], atol=1e-12)


def test_a_polynomial_needs_more_samples_than_its_degree():
    with pytest.raises(ValueError, match="a polynomial of degree 3 needs more than 3 samples"):
        smoothed(np.zeros(3), window=5, order=3)


@pytest.mark.parametrize("num", [1, 2, 3])
def test_too_few_states_are_unknown(num):
    ego = straight_ego(num)
    assert comfort(ego, times_of(num)) is None
    assert physical_comfort(ego, times_of(num)) is None


def test_driving_straight_on_is_comfortable_from_four_states_on():
    for num in (4, 5, 14, 150):
        found = comfort(straight_ego(num), times_of(num + 1))
        assert found is not None
        assert found.comfortable
        assert set(found.statistics()) == {f"{name}_{kind}" for name in BOUNDS for kind in ("max", "min", "ok")}


def test_bounds_are_strict():
    for value, expected in ((2.40, False), (2.39999999, True), (-4.05, False), (-4.04999999, True)):
        found = comfort(straight_ego(30, acceleration=np.tile([value, 0.0], (30, 1))), times_of(30))
        assert found is not None
        assert found.comfortable is expected, value


def test_turning_in_a_circle_is_uncomfortable_only_in_truth():
    # 10 m/s at 0.6 rad/s: 6 m/s^2 sideways and -1.461 * 0.36 = -0.52596 m/s^2 along. nuPlan sees +0.52596 and nothing.
    num, rate = 60, 0.6
    pose = np.column_stack([np.zeros((num, 2)), rate * 0.1 * np.arange(num)])
    ego = straight_ego(num, speed=10.0, pose=pose, yaw_rate=np.full(num, rate))
    exact, physical = comfort(ego, times_of(num)), physical_comfort(ego, times_of(num))
    assert exact is not None
    assert physical is not None
    assert exact.comfortable
    assert not physical.comfortable
    np.testing.assert_allclose(exact.signals["ego_lon_acceleration"], 0.52596, atol=1e-8)
    np.testing.assert_allclose(exact.signals["ego_lat_acceleration"], 0.0, atol=1e-8)
    np.testing.assert_allclose(physical.signals["ego_lon_acceleration"], -0.52596, atol=1e-6)
    np.testing.assert_allclose(physical.signals["ego_lat_acceleration"], 6.0, atol=1e-6)


def test_headings_that_jump_by_a_turn_do_not_turn():
    heading = np.linspace(3.0, 3.3, 40)
    wrapped = np.where(heading > np.pi, heading - 2 * np.pi, heading)
    plain, jumping = (
        comfort(straight_ego(40, pose=np.column_stack([np.zeros((40, 2)), h])), times_of(40))
        for h in (heading, wrapped)
    )
    assert plain is not None
    assert jumping is not None
    np.testing.assert_allclose(jumping.signals["ego_yaw_rate"], plain.signals["ego_yaw_rate"], atol=2e-8)


def test_all_signals_agree_with_the_reference_implementation(golden):
    for case in golden:
        found = comfort(case.ego, case.scene.timestamps_us)
        assert found is not None
        assert float(found.comfortable) == case.expected["ego_is_comfortable"], case.index
        for name, value in found.statistics().items():
            assert abs(value - case.expected[f"stat_{name}"]) < 1e-7, (case.index, name)
