"""The tracker against the devkit's recorded rollout, a dense solution of its least squares, and by properties."""

import numpy as np
import pytest
from tests.golden_sets import GOLDEN

from drivetrain.errors import UsageError
from drivetrain.planners.tracker import (
    BicycleState,
    fit_curvatures,
    fit_speeds,
    propagate,
    resample,
    track,
    wrap,
)

WHEELBASE = 3.089
DT = 0.1


def rest(n=1, speed=0.0):
    return BicycleState(pose=np.zeros((n, 3)), speed=np.full(n, speed), acceleration=np.zeros(n), steering=np.zeros(n))


def slowing_to(limit, pose, speed):
    """The devkit's SimplePlanner: straight on, above the limit brake by (limit - speed); 0.25 s steps, 10 s."""
    x, y, heading = pose
    rows, acceleration = [(x, y, heading)], 0.0
    for _ in range(39):
        if speed > limit:
            acceleration = limit - speed
        x, y = x + speed * np.cos(heading) * 0.25, y + speed * np.sin(heading) * 0.25
        speed += acceleration * 0.25
        rows.append((x, y, heading))
    return np.array(rows), 0.25 * np.arange(40)


def test_golden_rollout_of_the_reference_implementation_is_reproduced():
    with np.load(GOLDEN / "oracle_rollouts.npz") as golden:
        ego, seconds = golden["simple_nr_ego"], np.diff(golden["timestamps_us"][:150]) * 1e-6
    state = BicycleState(
        pose=ego[:1, :3].copy(),
        speed=ego[:1, 3].copy(),
        acceleration=ego[:1, 4].copy(),
        steering=ego[:1, 5].copy(),
    )
    for frame, dt in enumerate(seconds):
        poses, times = slowing_to(5.0, state.pose[0], float(state.speed[0]))
        command = track(resample(poses, times)[None], state, wheelbase=WHEELBASE)
        state = propagate(state, *command, dt=dt, wheelbase=WHEELBASE)
        now = np.concatenate([state.pose[0], state.speed, state.acceleration, state.steering])
        np.testing.assert_allclose(now, ego[frame + 1, :6], atol=1e-6)


@pytest.mark.parametrize("rollout", ["simple_nr", "simple_idm", "idm_nr"])
def test_bicycle_moves_golden_states_from_frame_to_frame(rollout):
    """x and heading follow from the old speed and steering, speed from the new acceleration."""
    with np.load(GOLDEN / "oracle_rollouts.npz") as golden:
        ego, dt = golden[f"{rollout}_ego"], np.diff(golden["timestamps_us"][:150]) * 1e-6
    state = BicycleState(pose=ego[:-1, :3], speed=ego[:-1, 3], acceleration=ego[:-1, 4], steering=ego[:-1, 5])
    command = state.acceleration + (dt + 0.2) / dt * (ego[1:, 4] - state.acceleration)
    rate = (dt + 0.05) / dt * (ego[1:, 5] - state.steering) / dt
    moved = propagate(state, command, rate, dt=dt, wheelbase=WHEELBASE)
    np.testing.assert_allclose(moved.pose, ego[1:, :3], atol=1e-9)
    np.testing.assert_allclose(moved.speed, ego[1:, 3], atol=1e-12)


def test_bicycle_by_hand():
    """a = 0.1/0.3 * 3 = 1; steering = 0.1 + (0.1/0.15) 0.1 * 0.3 = 0.12; x, heading by the old 10 m/s and 0.1 rad."""
    state = BicycleState(
        pose=np.array([[1.0, 2.0, np.pi / 2]]),
        speed=np.array([10.0]),
        acceleration=np.zeros(1),
        steering=np.array([0.1]),
    )
    moved = propagate(state, np.array([3.0]), np.array([0.3]), dt=DT, wheelbase=2.0)
    np.testing.assert_allclose(moved.pose[0], [1.0, 3.0, np.pi / 2 + 10 * np.tan(0.1) / 2.0 * 0.1], atol=1e-12)
    np.testing.assert_allclose([moved.speed[0], moved.acceleration[0], moved.steering[0]], [10.1, 1.0, 0.12])


def dense_fit(poses):
    """The devkit's formulation: unknowns are an initial value and its rates, solved as one dense least squares."""
    m = len(poses) - 1
    step, heading = np.diff(poses[:, :2], axis=0), poses[:-1, 2]
    integrate = np.tril(np.full((m, m), DT))
    integrate[:, 0] = 1.0
    design = np.zeros((2 * m, m))
    design[0::2] = DT * np.cos(heading)[:, None] * integrate
    design[1::2] = DT * np.sin(heading)[:, None] * integrate
    jerk = np.zeros((m - 2, m))
    jerk[:, 1:] = np.diff(np.eye(m - 1), axis=0)
    stacked = np.vstack([design, np.sqrt(1e-4) * jerk])
    target = np.concatenate([step.ravel(), np.zeros(m - 2)])
    speeds = integrate @ np.linalg.lstsq(stacked, target, rcond=None)[0]
    design = DT * speeds[:, None] * integrate
    ridge = np.sqrt(1e-2) * np.eye(m)
    ridge[0, 0] = np.sqrt(1e-10)
    stacked = np.vstack([design, ridge])
    target = np.concatenate([wrap(np.diff(poses[:, 2])), np.zeros(m)])
    return speeds, integrate @ np.linalg.lstsq(stacked, target, rcond=None)[0]


def test_fits_equal_the_dense_least_squares():
    rng = np.random.default_rng(0)
    speed = np.clip(8 + np.cumsum(rng.normal(0, 0.2, (4, 40)), axis=1), 0.5, None)
    heading = wrap(3.0 + np.cumsum(rng.normal(0, 0.02, (4, 40)), axis=1))
    position = np.cumsum(DT * speed[..., None] * np.stack([np.cos(heading), np.sin(heading)], axis=-1), axis=1)
    poses = np.concatenate([position, heading[..., None]], axis=-1)
    speeds = fit_speeds(poses)
    curvatures = fit_curvatures(poses, speeds)
    for row in range(4):
        want_speeds, want_curvatures = dense_fit(poses[row])
        np.testing.assert_allclose(speeds[row], want_speeds, atol=1e-8)
        np.testing.assert_allclose(curvatures[row], want_curvatures, atol=1e-6)


def test_steering_rate_minimises_the_lateral_cost():
    """Simulating the linear error dynamics, no other constant steering rate has a lower cost."""
    angle = 0.02 * np.arange(30)
    poses = np.stack([50 * np.sin(angle), 50 * (1 - np.cos(angle)), angle], axis=1)[None]
    state = BicycleState(
        pose=np.array([[0.0, 0.4, -0.05]]),
        speed=np.array([9.0]),
        acceleration=np.zeros(1),
        steering=np.array([0.03]),
    )
    acceleration, rate = track(poses, state, wheelbase=WHEELBASE)
    curvature = fit_curvatures(poses, fit_speeds(poses))[0]

    def cost(u):
        lateral, heading, steering = 0.4, -0.05, 0.03
        for k in range(10):
            v = 9.0 + DT * k * acceleration[0]
            lateral, heading, steering = (
                lateral + DT * v * heading,
                heading + DT * v * (steering / WHEELBASE - curvature[k]),
                steering + DT * u,
            )
        return lateral**2 + 10 * heading**2 + u**2

    best = cost(rate[0])
    assert all(best < cost(rate[0] + shift) for shift in (-1e-3, 1e-3, -0.1, 0.1))


def test_circle_is_followed():
    """After 10 s on a 40 m circle at 8 m/s the rear axle is within 0.15 m of it and the steering is atan(L/R)."""
    state = rest(speed=8.0)
    for step in range(100):
        angle = 8.0 * DT * (step + np.arange(81)) / 40.0
        poses = np.stack([40 * np.sin(angle), 40 * (1 - np.cos(angle)), wrap(angle)], axis=1)[None]
        state = propagate(state, *track(poses, state, wheelbase=WHEELBASE), dt=DT, wheelbase=WHEELBASE)
    radius = np.hypot(state.pose[0, 0], state.pose[0, 1] - 40.0)
    assert abs(radius - 40.0) < 0.15
    assert abs(state.steering[0] - np.arctan(WHEELBASE / 40.0)) < 2e-3
    assert abs(state.speed[0] - 8.0) < 0.02


@pytest.mark.parametrize("count", [2, 5, 12])
def test_a_trajectory_that_ends_early_goes_on_as_it_ended(count):
    """Two poses of a circle at constant speed say as much as all of them."""
    turned = 0.05 * np.arange(81)
    circle = np.stack([100.0 * np.sin(turned), 100.0 * (1.0 - np.cos(turned)), turned], axis=1)[None]
    state = BicycleState(
        pose=np.array([[0.0, 0.3, 0.1]]), speed=np.array([40.0]), acceleration=np.zeros(1), steering=np.array([0.02])
    )
    whole, short = (track(poses, state, wheelbase=3.0) for poses in (circle, circle[:, :count]))
    np.testing.assert_allclose(np.concatenate(short), np.concatenate(whole), rtol=1e-6)


def test_stopping_controller():
    """Reference and speed below 0.2 m/s: a = -0.5 (v - 0), steering rate 0."""
    state = rest(speed=0.1)
    acceleration, rate = track(np.zeros((1, 30, 3)), state, wheelbase=WHEELBASE)
    np.testing.assert_allclose(acceleration, [-0.05])
    np.testing.assert_allclose(rate, [0.0])


def test_a_vehicle_in_a_batch_moves_as_alone():
    rng = np.random.default_rng(1)
    poses = np.cumsum(rng.normal(0.5, 0.1, (5, 30, 3)) * [1, 0.1, 0.02], axis=1)
    states = BicycleState(
        pose=poses[:, 0] + 0.1,
        speed=rng.uniform(0, 9, 5),
        acceleration=np.zeros(5),
        steering=rng.normal(0, 0.05, 5),
    )
    together = track(poses, states, wheelbase=WHEELBASE)
    for row in range(5):
        one = slice(row, row + 1)
        alone = BicycleState(
            pose=states.pose[one],
            speed=states.speed[one],
            acceleration=states.acceleration[one],
            steering=states.steering[one],
        )
        for got, want in zip(track(poses[one], alone, wheelbase=WHEELBASE), together, strict=True):
            np.testing.assert_allclose(got, want[one], atol=1e-12)


def test_resample_interpolates_headings_across_the_cut():
    poses = np.array([[0.0, 0.0, np.pi - 0.1], [2.0, 0.0, -np.pi + 0.1]])
    got = resample(poses, np.array([0.0, 0.2]))
    np.testing.assert_allclose(got[1], [1.0, 0.0, -np.pi], atol=1e-12)
    assert got.shape == (3, 3)


def test_bad_times_are_named():
    with pytest.raises(
        UsageError,
        match=r"^trajectory: 2 poses at 2 times; at least 2 poses at ascending times are needed$",
    ):
        resample(np.zeros((2, 3)), np.array([0.1, 0.1]))
