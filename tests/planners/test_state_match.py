"""The log re-driven with the discrete actions."""

from dataclasses import replace

import numpy as np
import pytest
from tests.sim.worlds import parked_car_road, roundabout, straight_road

from drivetrain.planners.state_match import match_actions
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.scene_arrays import X, Y
from drivetrain.sim.scene_bank import build_bank

COAST = 3 * 13 + 6
"""Acceleration 0, steering 0."""


def redriven(scenario, steps):
    """Actions, and the distance to the log after every step [m]."""
    bank = build_bank([scenario])
    config = DrivingConfig(num_worlds=1, threads=1)
    env = DrivingEnv(bank, config, sequential=True, automatic_reset=False, perturb=False)
    env.reset(seed=0)
    actions, errors = [], []
    for _ in range(steps):
        action = match_actions(bank.arrays, env.state)
        env.step(action)
        if not env.state.running[0]:
            break
        logged = bank.log_of(0)[env.state.frame[0]]
        errors.append(np.hypot(env.state.agents[0, X, 0] - logged[X, 0], env.state.agents[0, Y, 0] - logged[Y, 0]))
        actions.append(int(action[0]))
    return np.array(actions), np.array(errors)


def test_constant_speed_is_coasting():
    actions, errors = redriven(straight_road(), 60)
    assert set(actions) == {COAST}
    assert errors.max() < 1e-3


def test_braking_is_followed():
    """The log brakes at 1.2 m/s^2: the commands average that while it lasts (7.5 s from 9 m/s)."""
    actions, errors = redriven(parked_car_road(), 60)
    assert errors.max() < 0.35
    commands = -4.0 + (actions // 13) * 8.0 / 6.0
    assert commands[5:60].mean() == pytest.approx(-1.2, abs=0.15)


def test_a_turn_is_followed():
    """Into a ring of 18 m radius at 6.5 m/s; the log turns within one step, which no vehicle can: 0.5 m are allowed."""
    ring = roundabout()
    alone = replace(ring, agents=replace(ring.agents, valid=np.zeros_like(ring.agents.valid)))
    actions, errors = redriven(alone, 110)
    assert len(errors) > 100
    assert errors.max() < 0.5
    turning = actions[75:100] % 13 - 6
    assert turning.mean() > 1.0  # to the left; (1/18) / 0.0947 = (k/6)^2 at 6.5 m/s gives k = 4.6
