"""Agents that no policy drives: replayed from the log, or reactive (docs/simulator.md, 'Reactive traffic')."""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.kernels.route import project
from drivetrain.sim.kernels.vehicle import DT
from drivetrain.sim.scenario import LightState
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    COS,
    HEADING,
    PRESENT,
    SIN,
    SPEED,
    STATE_ROWS,
    VELOCITY_X,
    VELOCITY_Y,
    X,
    Y,
)

IDM_ACCELERATION = 1.0
IDM_BRAKING = 2.0
IDM_HEADWAY = 1.5
IDM_GAP = 1.0
WINDOW_BACK = 2
WINDOW_AHEAD = 40
SIDE_MARGIN = 0.2
YELLOW_BRAKING = 2.5
RED, YELLOW = int(LightState.RED), int(LightState.YELLOW)


@jit
def replay(bank, scene, frame, agent, a):
    """Copy the logged state of slot ``a`` at a frame."""
    slots = bank.num_slots[scene]
    start = bank.log_start[scene] + frame * STATE_ROWS * slots + a
    for r in range(STATE_ROWS):
        agent[r, a] = bank.log[start + r * slots]


@jit
def follow_gap(bank, g, agent, slots, a, arc):
    """Return (gap to, speed of) the nearest agent ahead on the path of slot ``a``; a huge gap if there is none."""
    first, end = bank.path_start[g], bank.path_start[g + 1]
    own = int(math.floor(arc + 0.5))
    half, width = bank.half_length[g], bank.half_width[g]
    scene_first = g - a
    best_gap, best_speed = 1e9, 0.0
    for j in range(slots):
        if j == a or agent[PRESENT, j] == 0.0:
            continue
        dx, dy = agent[X, j] - agent[X, a], agent[Y, j] - agent[Y, a]
        if dx * dx + dy * dy > 3600.0:
            continue
        index, _, lateral = project(
            bank.path_x, bank.path_y, bank.path_cos, bank.path_sin, first, end,
            own - WINDOW_BACK, own + WINDOW_AHEAD, agent[X, j], agent[Y, j],
        )  # fmt: skip
        if index <= own or abs(lateral) >= bank.half_width[scene_first + j] + width + SIDE_MARGIN:
            continue
        gap = index - arc - half - bank.half_length[scene_first + j]
        if gap < best_gap:
            best_gap = gap
            k = first + index
            best_speed = max(agent[VELOCITY_X, j] * bank.path_cos[k] + agent[VELOCITY_Y, j] * bank.path_sin[k], 0.0)
    return best_gap, best_speed


@jit
def stop_gap(bank, scene, frame, g, arc, speed):
    """Return the gap to the nearest closed stop line on the path of slot ``g``; a huge gap if there is none."""
    best = 1e9
    lights = bank.num_lights[scene]
    front = arc + bank.half_length[g]
    for k in range(bank.path_stop_start[g], bank.path_stop_start[g + 1]):
        gap = bank.path_stop_s[k] - front
        if gap < 0.0 or gap >= best:
            continue
        state = bank.light_state[bank.light_start[scene] + frame * lights + bank.path_stop_light[k]]
        if state == RED or (state == YELLOW and speed * speed / (2.0 * max(gap, 1e-3)) < YELLOW_BRAKING):
            best = gap
    return best


@jit
def idm_acceleration(speed, desired, gap, lead_speed):
    """Intelligent driver model, exponent 4, clipped to [-4, 1] [m/s^2]."""
    closing = speed * (speed - lead_speed) / (2.0 * math.sqrt(IDM_ACCELERATION * IDM_BRAKING))
    wanted = IDM_GAP + speed * IDM_HEADWAY + closing
    ratio = speed / desired
    value = IDM_ACCELERATION * (1.0 - ratio**4 - (wanted / max(gap, 0.1)) ** 2)
    return min(max(value, -4.0), 1.0)


@jit
def react(bank, scene, frame, before, agent, path_s, slots, a):
    """Move reactive slot ``a`` by one step, seeing only the state ``before`` the step."""
    g = bank.slot_start[scene] + a
    arc, speed = float(path_s[a]), float(before[SPEED, a])
    gap, lead = follow_gap(bank, g, before, slots, a, arc)
    closed = stop_gap(bank, scene, frame, g, arc, speed)
    if closed < gap:
        gap, lead = closed, 0.0
    acceleration = idm_acceleration(speed, bank.desired_speed[g], gap, lead)
    points = bank.path_start[g + 1] - bank.path_start[g]
    arc = min(arc + speed * DT, points - 1.0)
    path_s[a] = np.float32(arc)
    new_speed = max(0.0, speed + acceleration * DT)
    i = min(int(arc), points - 2)
    k = bank.path_start[g] + i
    share = arc - i
    near = k + 1 if share >= 0.5 else k
    c, s = bank.path_cos[near], bank.path_sin[near]
    agent[X, a] = np.float32(bank.path_x[k] + share * (bank.path_x[k + 1] - bank.path_x[k]))
    agent[Y, a] = np.float32(bank.path_y[k] + share * (bank.path_y[k + 1] - bank.path_y[k]))
    agent[COS, a] = c
    agent[SIN, a] = s
    agent[SPEED, a] = np.float32(new_speed)
    agent[HEADING, a] = np.float32(math.atan2(s, c))
    agent[ACCELERATION, a] = np.float32(acceleration)
    agent[VELOCITY_X, a] = np.float32(new_speed * c)
    agent[VELOCITY_Y, a] = np.float32(new_speed * s)
    agent[PRESENT, a] = 1.0
