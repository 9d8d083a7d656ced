"""The tracker of single proposals against the tracker of many vehicles."""

import numpy as np
import pytest

from drivetrain.closed_loop.rule_based.tracking import commands, fit_profile, follow, move
from drivetrain.planners.tracker import (
    BicycleState,
    fit_curvatures,
    fit_speeds,
    propagate,
    speed_smoother,
    track,
)

WHEELBASE = 3.089
CASES = {"bend": (8.0, 0.05, 0.0), "braking": (9.0, 0.0, -2.0), "crawl": (0.1, 0.02, 0.0), "wild": (12.0, 0.2, 1.0)}


def drawn(speed: float, curvature: float, acceleration: float, *, heading: float = 3.0) -> np.ndarray:
    """Poses every 0.1 s for 5 s; the heading passes pi."""
    t = 0.1 * np.arange(51)
    v = np.maximum(speed + acceleration * t, 0.0)
    turned = heading + np.concatenate([[0.0], np.cumsum(0.1 * v[:-1] * curvature)])
    x = np.concatenate([[0.0], np.cumsum(0.1 * v[:-1] * np.cos(turned[:-1]))])
    y = np.concatenate([[0.0], np.cumsum(0.1 * v[:-1] * np.sin(turned[:-1]))])
    return np.column_stack([x, y, (turned + np.pi) % (2 * np.pi) - np.pi])


def beside(poses: np.ndarray, speed: float) -> np.ndarray:
    """A state half a metre beside the first pose, turned, steering."""
    return np.array([poses[0, 0] + 0.1, poses[0, 1] - 0.5, poses[0, 2] + 0.1, speed, 0.3, 0.05])


def many(state: np.ndarray) -> BicycleState:
    return BicycleState(pose=state[None, :3], speed=state[3:4], acceleration=state[4:5], steering=state[5:6])


@pytest.mark.parametrize("case", CASES)
def test_profile_commands_and_motion_equal_those_of_many_vehicles(case):
    poses = drawn(*CASES[case])
    state = beside(poses, CASES[case][0])
    speeds, curvatures = np.empty(50), np.empty(50)
    fit_profile(poses, speed_smoother(50), speeds, curvatures, np.empty(50))
    np.testing.assert_allclose(speeds, fit_speeds(poses[None])[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(curvatures, fit_curvatures(poses[None], fit_speeds(poses[None]))[0], rtol=0, atol=1e-9)
    expected = track(poses[None], many(state), wheelbase=WHEELBASE)
    found = commands(poses, speeds, curvatures, 0, state, WHEELBASE)
    np.testing.assert_allclose(found, [float(c[0]) for c in expected], rtol=0, atol=1e-9)
    moved = propagate(many(state), *expected, dt=0.1, wheelbase=WHEELBASE)
    out = np.empty(6)
    move(state, *found, WHEELBASE, out)
    after = [*moved.pose[0], moved.speed[0], moved.acceleration[0], moved.steering[0]]
    np.testing.assert_allclose(out, after, rtol=0, atol=1e-9)


def test_a_standing_vehicle_takes_the_stopping_controller():
    poses = np.zeros((51, 3))
    state = np.array([0.0, 0.3, 0.0, 0.15, 0.0, 0.1])
    speeds = curvatures = np.zeros(50)
    assert commands(poses, speeds, curvatures, 0, state, WHEELBASE) == pytest.approx((-0.5 * 0.15, 0.0))


def test_following_is_one_command_after_another_and_converges():
    poses = drawn(8.0, 0.05, 0.0)
    states = np.empty((41, 6))
    states[0] = beside(poses, 8.0)
    speeds, curvatures = np.empty(50), np.empty(50)
    follow(poses, speed_smoother(50), WHEELBASE, states, speeds, curvatures, np.empty(50))
    out = np.empty(6)
    for step in range(40):
        move(states[step], *commands(poses, speeds, curvatures, step, states[step], WHEELBASE), WHEELBASE, out)
        np.testing.assert_array_equal(out, states[step + 1])
    assert np.hypot(*(states[-1, :2] - poses[40, :2])) < 0.25
