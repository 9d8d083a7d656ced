"""Self-play: a policy in the other vehicles, in both engines."""

import numpy as np
import pytest
from tests.sim.worlds import roundabout, signalled_crossing

from drivetrain.closed_loop.policy_traffic import PolicyDrivers, SelfPlayTraffic
from drivetrain.closed_loop.simple_planner import simple_planner
from drivetrain.closed_loop.simulation import one_by_one, simulate
from drivetrain.errors import SimulationError
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.scene_arrays import PRESENT, SPEED, X
from drivetrain.sim.scene_bank import build_bank
from drivetrain.sim.world import CONTROLLED, DRIVEN, REPLAYED

COAST = 3 * 13 + 6
BRAKE = 6


class Always:
    """A policy that always does the same, and remembers what it saw."""

    def __init__(self, action):
        self.action, self.seen = action, []

    def __call__(self, observation):
        self.seen.append(observation.copy())
        return np.full(len(observation), self.action)


def self_play(policy, scenarios, backend="kernels"):
    bank = build_bank(scenarios, all_controllable=True)
    config = DrivingConfig(num_worlds=len(scenarios), backend=backend)
    env = DrivingEnv(
        bank,
        config,
        sequential=True,
        automatic_reset=False,
        perturb=False,
        traffic_driver=PolicyDrivers(policy, DrivingConfig()),
    )
    env.reset(seed=0)
    return env


def test_everybody_with_a_route_is_driven_and_nobody_else():
    env = self_play(Always(COAST), [signalled_crossing(), roundabout()])
    controllable = env.bank.arrays.controllable
    for world, first in enumerate(env.bank.arrays.slot_start.tolist()):
        count = int(env.bank.arrays.num_slots[world])
        modes = env.state.mode[world, :count]
        assert modes[0] == CONTROLLED
        want = np.where(controllable[first + 1 : first + count], DRIVEN, REPLAYED)
        np.testing.assert_array_equal(modes[1:], want)
    assert (env.state.mode == DRIVEN).sum() == 3 + 3  # the car that waits at the red light has no drive


@pytest.mark.parametrize("action", [COAST, BRAKE])
def test_as_the_training_simulator_drives_all_of_them(action):
    """The same vehicles, seen and moved by the kernels of ``control: all``, until somebody's episode ends there."""
    scenarios = [roundabout()]
    policy = Always(action)
    env = self_play(policy, scenarios)
    together = DrivingEnv(
        env.bank,
        DrivingConfig(num_worlds=1, control="all", agents_per_world=4),
        sequential=True,
        automatic_reset=False,
        perturb=False,
    )
    observation = together.reset(seed=0)
    order = np.argsort(together.state.slot[1:]) + 1  # there the rows are drawn
    for _ in range(8):
        want = observation[order].copy()
        env.step(np.array([action]))
        np.testing.assert_allclose(policy.seen[-1], want, atol=2e-5)
        result = together.step(np.full(4, action))
        assert not (result.terminated | result.truncated).any()
        observation = result.observation
        np.testing.assert_allclose(env.state.agents, together.state.agents, atol=2e-5)


def test_both_simulators_leave_driven_vehicles_where_they_were_put():
    ends = []
    for backend in ("kernels", "oracle"):
        env = self_play(Always(BRAKE), [signalled_crossing()], backend)
        for _ in range(20):
            env.step(np.array([COAST]))
        ends.append(env.state.agents.copy())
    np.testing.assert_allclose(ends[0], ends[1], atol=2e-4)


def test_vehicles_come_and_go_with_their_log_whatever_they_do():
    """The car that turns left is in the log from frame 5 to 99; it enters as logged and brakes from there."""
    scenario = signalled_crossing()
    env = self_play(Always(BRAKE), [scenario])
    slot = 1 + int(np.flatnonzero(~scenario.agents.valid[0])[0])
    log = env.bank.log_of(0)
    present, speed, x = [], [], []
    for _ in range(110):
        env.state.running[0] = 1  # whatever happens to the ego
        env.step_log()
        present.append(bool(env.state.agents[0, PRESENT, slot]))
        speed.append(float(env.state.agents[0, SPEED, slot]))
        x.append(float(env.state.agents[0, X, slot]))
    np.testing.assert_array_equal(np.flatnonzero(present) + 1, np.arange(5, 100))
    assert x[4] == log[5, X, slot]
    assert speed[4] == log[5, SPEED, slot]
    assert speed[30] == 0.0  # 3 m/s at 4 m/s^2


def test_worlds_that_reset_themselves_are_refused():
    bank = build_bank([roundabout()], all_controllable=True)
    with pytest.raises(SimulationError, match="use automatic_reset=False"):
        DrivingEnv(bank, DrivingConfig(num_worlds=1), traffic_driver=PolicyDrivers(Always(0), DrivingConfig()))


def test_nuplans_closed_loop_with_a_policy_in_the_others(rollouts):
    scenario = rollouts["s0_simple_idm"].scenario

    def traffic(policy):
        return lambda one: SelfPlayTraffic(one, act=policy, driving=DrivingConfig())

    coasting, braking = Always(COAST), Always(BRAKE)
    ((coast,), (brake,)) = (
        simulate([scenario], planner=one_by_one(simple_planner), traffic=traffic(policy))
        for policy in (coasting, braking)
    )
    agents = scenario.agents
    driven = np.flatnonzero((coast.agents.position != brake.agents.position).any(axis=(0, 2)))
    assert agents.valid[0, driven].sum() == len(coasting.seen[0]) > 0
    replayed = np.setdiff1d(np.arange(len(agents.token)), driven)
    np.testing.assert_array_equal(coast.agents.valid[:-1], agents.valid[:-1])
    seen = agents.valid[:-1, replayed]
    np.testing.assert_array_equal(coast.agents.position[:-1, replayed][seen], agents.position[:-1, replayed][seen])
    first = agents.valid[0]
    np.testing.assert_allclose(coast.agents.position[0, first], agents.position[0, first], atol=1e-4)
    speed = np.hypot(*np.moveaxis(brake.agents.velocity[:, driven], -1, 0))
    assert (speed[60][agents.valid[0, driven]] == 0.0).all()
