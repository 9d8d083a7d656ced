"""Reactive traffic: IDM along the logged path, as ``docs/simulator.md`` defines it, in plain float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.geometry import cross
from drivetrain.sim.oracle.scene import Route, SceneView, Slots
from drivetrain.sim.oracle.vehicle import DT, state_rows
from drivetrain.sim.scenario import LightState
from drivetrain.sim.scene_arrays import SPEED, STEERING
from drivetrain.sim.scene_bank import PLAIN_DRIVER

HARDEST_BRAKING = -4.0
LEADER_REACH = 60.0
"""Slots whose centre is farther than this are not looked at [m]."""
GAP_FLOOR = 0.1
"""Smaller gaps count as this [m]."""
SIDE_ROOM = 0.2
"""A slot whose side is farther than this from the own side is not in the way [m]."""
YELLOW_BRAKING = 2.5
"""A yellow light is respected if it can be with less braking than this [m/s^2]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leader:
    """What is ahead on the path."""

    gap: float
    """Bumper to bumper [m]; infinite where the path is free."""
    speed: float
    """Along the path [m/s]."""
    slack: float
    """How closely it was decided who leads [m]."""


FREE = Leader(gap=np.inf, speed=0.0, slack=np.inf)


def leading_vehicle(path: Route, slots: Slots, slot: int, s: float) -> Leader:
    """Return the nearest present slot in the way of a vehicle at arc length ``s`` of its path."""
    own = int(np.floor(s + 0.5))
    best, ahead = FREE, []
    for j in slots.others(slot):
        reach = LEADER_REACH - float(np.hypot(slots.x[j] - slots.x[slot], slots.y[j] - slots.y[slot]))
        i, index_slack = path.nearest(float(slots.x[j]), float(slots.y[j]), own - 2, own + 40)
        lateral = cross(path.cos[i], path.sin[i], slots.x[j] - path.x[i], slots.y[j] - path.y[i])
        room = float(slots.half_width[j] + slots.half_width[slot] + SIDE_ROOM - abs(lateral))
        gap = float(i - s - slots.half_length[slot] - slots.half_length[j])
        ahead.append((gap, min(abs(reach), abs(room), index_slack), i))
        if reach >= 0.0 and room > 0.0 and own < i < own + 40 and gap < best.gap:
            speed = slots.velocity_x[j] * path.cos[i] + slots.velocity_y[j] * path.sin[i]
            best = Leader(gap=gap, speed=max(float(speed), 0.0), slack=0.0)
    # Only what might lead instead, or further on by one point, makes a decision close.
    decisive = [closeness for gap, closeness, i in ahead if i >= own and gap < best.gap + 1.5]
    rivals = sorted(gap for gap, closeness, i in ahead if own < i < own + 40 and abs(gap - best.gap) < 1e-3)
    tie = 0.0 if len(rivals) > 1 else np.inf
    return Leader(gap=best.gap, speed=best.speed, slack=min([tie, *decisive]))


def stop_line(path: Route, lights: tuple[NDArray[np.int64], NDArray[np.int64]], front: float, speed: float) -> Leader:
    """Return the nearest red or yellow stop line ahead that the vehicle must, or still can, respect."""
    state = lights[0]
    slack = np.inf
    for s_stop, light in zip(path.stop_s, path.stop_light, strict=True):
        d = float(s_stop) - front
        slack = min(slack, abs(d))
        if d < 0.0 or state[light] not in (LightState.RED, LightState.YELLOW):
            continue
        if state[light] == LightState.YELLOW:
            slack = min(slack, abs(speed**2 - 2.0 * d * YELLOW_BRAKING))
            if speed**2 >= 2.0 * d * YELLOW_BRAKING:
                continue
        return Leader(gap=d, speed=0.0, slack=slack)
    return Leader(gap=np.inf, speed=0.0, slack=slack)


def idm_acceleration(
    speed: float, desired_speed: float, leader: Leader, driver: Sequence[float] = PLAIN_DRIVER
) -> float:
    """Return dv/dt of the Intelligent Driver Model [m/s^2]; a driver is as in ``SceneArrays.driver``."""
    headway, min_gap, max_acceleration, comfortable_braking = driver
    closing = speed * (speed - leader.speed) / (2.0 * np.sqrt(max_acceleration * comfortable_braking))
    wanted_gap = min_gap + speed * headway + closing
    interaction = (wanted_gap / max(leader.gap, GAP_FLOOR)) ** 2
    rate = max_acceleration * (1.0 - (speed / desired_speed) ** 4 - interaction)
    return float(np.clip(rate, HARDEST_BRAKING, max_acceleration))


def pose_on_path(path: Route, s: float) -> tuple[float, float, float]:
    """Return x, y (linear between points) and heading (of the nearer point) at an arc length of a path."""
    last = len(path.x) - 1
    i = min(int(s), last - 1)
    part = min(s - i, 1.0)
    near = min(round(s), last)
    x = path.x[i] + part * (path.x[i + 1] - path.x[i])
    y = path.y[i] + part * (path.y[i + 1] - path.y[i])
    return float(x), float(y), float(np.arctan2(path.sin[near], path.cos[near]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """Where a reactive vehicle is one step later."""

    rows: NDArray[np.float64]
    """State rows, shape [STATE_ROWS]."""
    path_s: float
    """Arc length on its path [m]."""
    slack: float
    """How closely the decisions were taken."""


def start_of_path(path: Route, x: float, y: float) -> float:
    """Return the arc length at which a vehicle at a logged position enters its path [m]."""
    index, _ = path.nearest(x, y, 0, len(path.x))
    return max(path.place(index, x, y)[0], 0.0)


def react(scene: SceneView, frame: int, slots: Slots, slot: int, s: float) -> Motion:
    """Move one reactive vehicle from ``frame`` to the next, given everybody at ``frame``."""
    path, speed = scene.path(slot), float(slots.state[SPEED, slot])
    vehicle = leading_vehicle(path, slots, slot, s)
    line = stop_line(path, scene.lights(frame), s + float(slots.half_length[slot]), speed)
    leader = vehicle if vehicle.gap <= line.gap else line
    desired = float(scene.arrays.desired_speed[scene.first_slot + slot])
    driver = scene.arrays.driver[scene.first_slot + slot].tolist()
    acceleration = idm_acceleration(speed, desired, leader, driver)
    new_speed = max(0.0, speed + acceleration * DT)
    new_s = s + speed * DT
    x, y, heading = pose_on_path(path, new_s)
    rows = state_rows(
        x=x,
        y=y,
        heading=heading,
        speed=new_speed,
        acceleration=acceleration,
        steering=float(slots.state[STEERING, slot]),  # nobody sees it; it stays
    )
    return Motion(rows=rows, path_s=new_s, slack=min(vehicle.slack, line.slack, abs(new_s % 1.0 - 0.5)))
