"""Branches from states before a failure: known answers, and the readable simulator against the compiled one."""

from dataclasses import replace

import numpy as np
import pytest
from tests.sim.scenario_builder import Lane, Mover, build_scenario, constant, line
from tests.sim.worlds import signalled_crossing

from drivetrain.errors import SimulationError
from drivetrain.sim.branching import Branches, FailureHistory, last_chances
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.scene_bank import build_bank

KEEP = 3 * 13 + 6
BRAKE = 6
"""Full braking, no steering."""
AT_ONCE = DrivingConfig(acceleration_lag_s=0.0, steering_lag_s=0.0, threads=1)
"""Actuators without a lag: braking distances have a closed form."""


def lane_with(*, speed, obstacle=None, half_width=1.15, end=400.0, frames=121):
    """A lane too narrow to pass anybody (or to turn much), with a standing car or a wall across it."""
    edges = [line((-60, -half_width), (end, -half_width)), line((end, half_width), (-60, half_width))]
    if end < 400.0:
        edges.append(line((end, -half_width), (end, half_width)))
    agents = [] if obstacle is None else [Mover(path=line((obstacle, 0), (obstacle + 1, 0)), arc_length=constant(0, 0))]
    return build_scenario(
        name=f"l{speed:.0f}{obstacle or end:.0f}",
        lanes=[Lane(points=line((-60, 0), (420, 0)))],
        edges=edges,
        ego=Mover(path=line((0, 0), (420, 0)), arc_length=constant(0, speed)),
        agents=agents,
        route=[0],
        frames=frames,
    )


def driven(scenarios, action=KEEP, config=AT_ONCE, seconds=5.0):
    """Hold one action in scenarios until all have ended, watched."""
    bank = build_bank(scenarios)
    env = DrivingEnv(
        bank, replace(config, num_worlds=len(bank)), sequential=True, automatic_reset=False, perturb=False,
        compute_ttc=True,
    )  # fmt: skip
    history = FailureHistory(seconds=seconds)
    env.reset(seed=0)
    history.begin(env)
    while env.state.running.any():
        history.take(env, env.step(np.full(len(bank), action)).final_rows)
    env.close()
    return history


def braking_distance(speed, lag):
    """Plain step by step: the way to a stand under full braking [m]."""
    deceleration, way = 0.0, 0.0
    while speed > 0:
        way += 0.1 * speed
        deceleration += 0.1 / (0.1 + lag) * (4.0 - deceleration)
        speed -= 0.1 * deceleration
    return way


@pytest.mark.parametrize("speed", [6.0, 9.0, 12.0, 15.0])
@pytest.mark.parametrize("lag", [0.0, 0.2])
def test_the_last_moment_to_brake_for_a_standing_car_is_that_of_the_braking_distance(speed, lag):
    scenario = lane_with(speed=speed, obstacle=70.2)
    config = replace(AT_ONCE, acceleration_lag_s=lag)
    found = last_chances(driven([scenario], config=config))[scenario.scenario_id]
    # Front to tail: the boxes are 4.6 m long, centres 70.2 m apart at the start.
    gap = 70.2 - 4.6 - speed * 0.1 * np.arange(130)
    assert found.failure == np.flatnonzero(gap <= 0)[0]
    distance = braking_distance(speed, lag)
    assert found.frame == np.flatnonzero(gap > distance)[-1]
    assert BRAKE in found.actions
    if lag == 0.0:  # the position follows the speed before the step: half a step of way more than v^2 / 2a
        assert distance == pytest.approx(speed**2 / (2 * 4.0) + speed * 0.1 / 2, abs=0.01)


def test_a_wall_too_near_cannot_be_avoided_from_the_start():
    # 12 m/s need 18 m and more, the front begins 15 m before the wall.
    scenario = lane_with(speed=12.0, end=17.3)
    found = last_chances(driven([scenario]))[scenario.scenario_id]
    assert found.frame is None
    assert found.from_start
    assert found.actions == ()
    assert found.seconds == pytest.approx(0.1 * found.failure)


def test_what_cannot_be_avoided_in_the_time_looked_at_may_have_been_earlier():
    scenario = lane_with(speed=12.0, obstacle=70.0)
    found = last_chances(driven([scenario], seconds=1.0))[scenario.scenario_id]
    assert found.frame is None
    assert not found.from_start
    assert found.seconds == pytest.approx(1.0)


def test_a_wide_road_is_left_by_steering_later_than_by_braking():
    narrow, wide = lane_with(speed=12.0, obstacle=70.0), lane_with(speed=12.0, obstacle=71.0, half_width=12.0)
    found = last_chances(driven([narrow, wide]))
    braked, steered = found[narrow.scenario_id], found[wide.scenario_id]
    assert steered.seconds < braked.seconds
    assert all(action % 13 != 6 for action in steered.actions)


def test_failures_side_by_side_are_those_alone():
    scenarios = [lane_with(speed=v, obstacle=70.0) for v in (6.0, 9.0, 12.0)]
    together = last_chances(driven(scenarios))
    for scenario in scenarios:
        name = scenario.scenario_id
        assert together[name] == last_chances(driven([scenario]))[name]


def test_the_readable_simulator_finds_the_same():
    scenarios = [lane_with(speed=9.0, obstacle=30.0, half_width=6.0), signalled_crossing(ego_state=2)]
    history = driven(scenarios, config=DrivingConfig(threads=1))
    assert len(history.failed) == 2
    for name, failed in history.failed.items():
        at = [failed.states[-k] for k in (3, 20) if k <= len(failed.states)]
        until = [failed.frame + 10] * len(at)
        assert history.bank is not None
        verdicts = []
        for backend in ("kernels", "oracle"):
            config = replace(history.config, backend=backend)
            branches = Branches(bank=history.bank, config=config, size=len(at))
            verdicts.append(branches.avoiding(at, until))
            branches.close()
        assert np.array_equal(*verdicts), name
        assert 0 < sum(v.sum() for v in verdicts) < 2 * verdicts[0].size


def test_the_recorded_action_repeats_the_failure():
    history = driven([lane_with(speed=9.0, obstacle=70.0)])
    ((_, failed),) = history.failed.items()
    assert history.bank is not None
    branches = Branches(bank=history.bank, config=history.config, size=len(failed.states))
    avoided = branches.avoiding(failed.states, [failed.frame] * len(failed.states))
    branches.close()
    assert not avoided[:, KEEP].any()


@pytest.mark.parametrize("traffic", ["replay", "idm"])
def test_a_restored_world_goes_on_bit_by_bit(traffic):
    config = DrivingConfig(traffic=traffic, threads=1)
    history = driven([signalled_crossing(ego_state=2)], config=config)
    ((_, failed),) = history.failed.items()
    assert history.bank is not None
    env = DrivingEnv(
        history.bank, replace(config, num_worlds=1), sequential=True, automatic_reset=False, perturb=False,
        compute_ttc=True,
    )  # fmt: skip
    for array, kept in zip(env.state, failed.states[-20], strict=True):
        array[...] = kept
    for known in failed.states[-19:]:
        env.step(np.array([KEEP]))
        for name, array in env.state._asdict().items():
            assert np.array_equal(array, getattr(known, name)), name
    env.step(np.array([KEEP]))
    assert env.state.frame[0] == failed.frame
    assert env.state.terminated[0] == 1
    env.close()


def test_worlds_that_start_anew_are_refused():
    env = DrivingEnv(build_bank([lane_with(speed=9.0)]), replace(AT_ONCE, num_worlds=1))
    with pytest.raises(SimulationError, match=r"^failures are branched in worlds of one ego that do not start anew"):
        FailureHistory().begin(env)
    with pytest.raises(SimulationError, match=r"^look back: 0\.05 s is less than one step; use 0\.1 or more$"):
        FailureHistory(seconds=0.05)
