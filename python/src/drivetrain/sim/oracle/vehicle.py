"""How a controlled vehicle moves: actions and the kinematic bicycle of ``docs/simulator.md``, in plain float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.geometry import wrap_angle
from drivetrain.sim.oracle.scene import Agent
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    COS,
    HEADING,
    PRESENT,
    SIN,
    SPEED,
    STATE_ROWS,
    STEERING,
    VELOCITY_X,
    VELOCITY_Y,
    X,
    Y,
)
from drivetrain.sim.world import ACTION_COMMAND, ACTION_CONTINUOUS, ACTION_DISCRETE, StepParameters

Float64 = NDArray[np.float64]

DT = 0.1
MAX_STEERING = np.pi / 3.0
ACCELERATIONS = (-4.0, -8.0 / 3.0, -4.0 / 3.0, 0.0, 4.0 / 3.0, 8.0 / 3.0, 4.0)
NUM_STEERINGS = 13


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """What a vehicle is told to do, and what the shaping terms see of it."""

    acceleration: float
    """[m/s^2]"""
    steering: float
    """Steering target [rad]."""
    level: float
    """Steering level, -6..6."""


def curvature_limit(speed: float) -> float:
    """Sharpest curvature that may be asked for at a speed [1/m]."""
    return min(0.2, 4.0 / max(speed, 0.1) ** 2)


def decode_action(kind: int, action: NDArray[np.floating], agent: Agent) -> Command:
    """Paragraphs 'Discrete action', 'Continuous action' and 'Command'; ``action`` is one row's numbers."""
    first, second = float(action[0]), float(action[1])
    if kind == ACTION_COMMAND:
        return Command(acceleration=first, steering=second, level=0.0)
    if kind == ACTION_DISCRETE:
        k = int(first)
        u = -1.0 + (k % NUM_STEERINGS) / 6.0
        acceleration, share, level = ACCELERATIONS[k // NUM_STEERINGS], np.sign(u) * u**2, k % NUM_STEERINGS - 6.0
    else:
        assert kind == ACTION_CONTINUOUS
        acceleration, share, level = 4.0 * first, second, 6.0 * second
    curvature = share * curvature_limit(agent.speed)
    return Command(acceleration=acceleration, steering=float(np.arctan(agent.wheelbase * curvature)), level=level)


def drive(agent: Agent, command: Command, parameters: StepParameters) -> Float64:
    """Paragraph 'Vehicle': return the agent's state rows one step later, shape [STATE_ROWS]."""
    a = agent.acceleration + DT / (DT + parameters.acceleration_lag) * (command.acceleration - agent.acceleration)
    follow = DT / (DT + parameters.steering_lag)
    steering = np.clip(agent.steering + follow * (command.steering - agent.steering), -MAX_STEERING, MAX_STEERING)
    v, rear = agent.speed, agent.rear_axle_to_center
    x = agent.x - rear * agent.cos + v * agent.cos * DT
    y = agent.y - rear * agent.sin + v * agent.sin * DT
    heading = float(wrap_angle(agent.heading + v * np.tan(agent.steering) / agent.wheelbase * DT))
    speed = v + a * DT
    if speed < 0.0:
        speed, a = 0.0, -v / DT
    return state_rows(
        x=x + rear * np.cos(heading),
        y=y + rear * np.sin(heading),
        heading=heading,
        speed=speed,
        acceleration=a,
        steering=float(steering),
    )


def state_rows(*, x: float, y: float, heading: float, speed: float, acceleration: float, steering: float) -> Float64:
    """Return the state rows of somebody present who moves where it points, shape [STATE_ROWS]."""
    rows = np.zeros(STATE_ROWS)
    rows[[X, Y, COS, SIN]] = x, y, np.cos(heading), np.sin(heading)
    rows[[SPEED, HEADING, ACCELERATION, STEERING]] = speed, heading, acceleration, steering
    rows[[VELOCITY_X, VELOCITY_Y, PRESENT]] = speed * np.cos(heading), speed * np.sin(heading), 1.0
    return rows


def pose_rows(action: NDArray[np.floating], agent: Agent) -> Float64:
    """Paragraph 'Pose': box centre x, y, heading, speed, acceleration are given; the steering stays."""
    x, y, heading, speed, acceleration = (float(value) for value in action[:5])
    heading = float(wrap_angle(heading))
    return state_rows(x=x, y=y, heading=heading, speed=speed, acceleration=acceleration, steering=agent.steering)
