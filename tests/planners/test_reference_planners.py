"""Constant velocity and IDM by hand-computed plans; the shapes a planner may answer with."""

import numpy as np
import pytest
from tests.planners.view_builder import straight_view

from drivetrain.errors import UsageError
from drivetrain.planners.constant_velocity import ConstantVelocity
from drivetrain.planners.idm import IntelligentDriver
from drivetrain.planners.trajectory import RowPlanner, sampled
from drivetrain.sim.scenario import LightState

CAR = (4.0, 2.0)


def first_acceleration(view, **constants):
    """What the IDM plan does in its first 0.1 s: (v1 - v0)/0.1 with speeds from the distances between poses."""
    step = np.hypot(*np.diff(IntelligentDriver(**constants)(view)[:, :2], axis=0).T)
    return (step[1] - step[0]) / 0.01


def test_constant_velocity_by_hand():
    plan = ConstantVelocity()(straight_view(speed=6.0, heading=np.pi / 2))
    assert plan.shape == (81, 3)
    np.testing.assert_allclose(plan[0], [10.0, -1.5, np.pi / 2], atol=1e-9)
    np.testing.assert_allclose(plan[80], [10.0, -1.5 + 48.0, np.pi / 2], atol=1e-9)


def test_idm_on_a_free_road():
    """a = 1 - (8/13)^4 = 0.85659; where no limit is known the target is 10: 1 - 0.8^4 = 0.5904."""
    assert first_acceleration(straight_view()) == pytest.approx(1 - (8 / 13) ** 4, abs=1e-4)
    assert first_acceleration(straight_view(limit=None)) == pytest.approx(0.5904, abs=1e-4)


def test_idm_behind_a_leader():
    """Leader at x = 40 with 5 m/s: gap 40 - 10 - 2.5 - 2 = 25.5; s* = 1 + 12 + 8 * 3 / (2 sqrt 3) = 19.928."""
    view = straight_view(agents=[(40.0, 0.0, 0.0, 5.0, *CAR)])
    assert first_acceleration(view) == pytest.approx(1 - (8 / 13) ** 4 - (19.9282 / 25.5) ** 2, abs=1e-3)


def test_idm_sees_who_reaches_into_its_corridor():
    """Half widths 1 + 1 and a margin of 0.2: a parallel car 2.1 m aside is in the way, one 2.3 m aside is not."""
    free = first_acceleration(straight_view())
    assert first_acceleration(straight_view(agents=[(40.0, 2.1, 0.0, 0.0, *CAR)])) < free - 0.5
    assert first_acceleration(straight_view(agents=[(40.0, 2.3, 0.0, 0.0, *CAR)])) == pytest.approx(free)
    # A car standing across reaches 2 m to each side instead of 1.
    assert first_acceleration(straight_view(agents=[(40.0, 2.9, np.pi / 2, 0.0, *CAR)])) < free - 0.5


def test_idm_ignores_who_is_behind_or_far_ahead():
    free = first_acceleration(straight_view())
    agents = [(2.0, 0.0, 0.0, 20.0, *CAR), (150.0, 0.0, 0.0, 0.0, *CAR)]
    assert first_acceleration(straight_view(agents=agents)) == pytest.approx(free)


@pytest.mark.parametrize(
    ("state", "distance", "stops"),
    [
        (LightState.RED, 30.0, True),
        (LightState.GREEN, 30.0, False),
        (LightState.UNKNOWN, 30.0, False),
        (LightState.YELLOW, 30.0, True),  # 64/60 = 1.07 m/s^2 suffices
        (LightState.YELLOW, 10.0, False),  # 64/20 = 3.2 m/s^2 would be needed
        (LightState.RED, -3.0, False),  # already passed
    ],
)
def test_idm_at_stop_lines(state, distance, stops):
    """The front is at x = 12.5."""
    plan = IntelligentDriver()(straight_view(stops=[(12.5 + distance, int(state))]))
    fronts = plan[:, 0] + 1.5 + 2.5
    assert (fronts.max() < 12.5 + distance) == stops


def test_idm_joins_the_centre_line_and_keeps_to_it():
    plan = IntelligentDriver()(straight_view(lateral=1.2, heading=0.1))
    np.testing.assert_allclose(plan[0], straight_view(lateral=1.2, heading=0.1).pose, atol=1e-6)
    after = plan[plan[:, 0] > plan[0, 0] + 26.0]
    np.testing.assert_allclose(after[:, 1:], 0.0, atol=1e-6)
    direction = np.arctan2(*np.diff(plan[:, :2], axis=0).T[::-1])
    np.testing.assert_allclose(direction, plan[:-1, 2], atol=0.02)


def test_idm_stops_behind_a_standing_car_and_stays():
    plan = IntelligentDriver(horizon_s=20.0)(straight_view(agents=[(50.0, 0.0, 0.0, 0.0, *CAR)]))
    gap = 50.0 - 2.0 - (plan[-1, 0] + 1.5 + 2.5)
    assert 0.5 < gap < 2.0
    assert np.all(np.diff(plan[:, 0]) >= -1e-9)


def test_reference_planners_plan_for_many():
    assert isinstance(IntelligentDriver(), RowPlanner)
    assert isinstance(ConstantVelocity(), RowPlanner)


def test_answers_are_taken_as_arrays_or_with_times():
    poses = np.array([[0.0, 0.0, 0.0, 9.0], [1.0, 0.0, 0.0, 9.0], [2.0, 0.0, 0.2, 9.0]])
    np.testing.assert_array_equal(sampled(poses, name="mine"), poses[:, :3])
    np.testing.assert_array_equal(sampled(poses.tolist(), name="mine"), poses[:, :3])
    half = sampled((poses, [0.0, 0.5, 1.0]), name="mine")
    assert half.shape == (11, 3)
    np.testing.assert_allclose(half[5], [1.0, 0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            np.zeros(3),
            r"planner 'mine' returned an array of shape \(3,\); expected \[K, 3\] with K >= 2: "
            r"x, y \[m\], heading \[rad\] of the rear axle every 0.1 s from now on",
        ),
        (
            np.array([[0, 0, 0], [1, np.nan, 0]]),
            r"planner 'mine' returned a pose that is not finite: row 1 is \[1.0, nan, 0.0\]",
        ),
        (
            (np.zeros((3, 3)), [0.0, 1.0]),
            r"planner 'mine' returned 3 poses with 2 times; one ascending time per pose is needed",
        ),
        (
            (np.zeros((2, 3)), [0.0, 0.05]),
            r"planner 'mine' returned 0.05 s of trajectory; at least 0.1 s are needed",
        ),
    ],
)
def test_wrong_answers_are_named(answer, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        sampled(answer, name="mine")
