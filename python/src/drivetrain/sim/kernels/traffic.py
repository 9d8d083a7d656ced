"""Agents that no policy drives: replayed from the log, or reactive (docs/simulator.md, 'Reactive traffic')."""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.lanes import LANES, load, numbers, select, store
from drivetrain.sim.kernels.route import project
from drivetrain.sim.kernels.tables import (
    DESIRED_SPEED,
    HALF_LENGTH,
    HALF_WIDTH,
    LINE_COS,
    LINE_SIN,
    LINE_Y,
    PATH_COUNT,
    PATH_START,
    PATH_STOP_COUNT,
    PATH_STOP_START,
)
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
from drivetrain.sim.world import ALL_REACT, EVERY_OTHER_REACTS, REPLAYED

# Columns of ``driver``.
IDM_HEADWAY, IDM_GAP, IDM_ACCELERATION, IDM_BRAKING = range(4)
HARDEST_BRAKING = -4.0
WINDOW_BACK = 2
WINDOW_AHEAD = 40
SIDE_MARGIN = 0.2
YELLOW_BRAKING = 2.5
RED, YELLOW = int(LightState.RED), int(LightState.YELLOW)


@kernel(inline=True)
def traffic_reacts(p, w):
    """Return whether the traffic of world ``w`` drives by IDM."""
    return p.reactive_traffic == ALL_REACT or (
        p.reactive_traffic == EVERY_OTHER_REACTS and (p.first_world + w) % 2 == 1
    )


@kernel(inline=True)
def replay_world(log, frame_start, slots, mode, agent):
    """Copy the logged states of all REPLAYED slots; ``frame_start`` is the frame's first value in the log."""
    width = agent.shape[1]
    for v in range(0, slots, LANES):
        replayed = (load(mode, v) == REPLAYED) & (numbers(v) < slots)
        for r in range(STATE_ROWS):
            at = r * width + v
            store(agent, at, select(replayed, load(log, frame_start + r * slots + v), load(agent, at)))


@kernel
def replay(log, frame_start, slots, agent, a):
    """Copy the logged state of slot ``a``."""
    for r in range(STATE_ROWS):
        agent[r, a] = log[frame_start + r * slots + a]


@kernel
def follow_gap(slot, path, g, a, first, count, agent, slots, arc):
    """Return (gap to, speed of) the nearest agent ahead on the path of slot ``a``; a huge gap if there is none."""
    own = int(math.floor(arc + 0.5))
    half, width = slot[g, HALF_LENGTH], slot[g, HALF_WIDTH]
    best_gap, best_speed = 1e9, 0.0
    for j in range(slots):
        if j == a or agent[PRESENT, j] == 0.0:
            continue
        dx, dy = agent[X, j] - agent[X, a], agent[Y, j] - agent[Y, a]
        if dx * dx + dy * dy > 3600.0:
            continue
        index, _, lateral = project(path, first, count, own - WINDOW_BACK, own + WINDOW_AHEAD, agent[X, j], agent[Y, j])
        # At the window's last point a vehicle may be anywhere beyond it.
        if (
            index <= own
            or index >= own + WINDOW_AHEAD
            or abs(lateral) >= slot[g - a + j, HALF_WIDTH] + width + SIDE_MARGIN
        ):
            continue
        gap = index - arc - half - slot[g - a + j, HALF_LENGTH]
        if gap < best_gap:
            best_gap = gap
            c, s = path[first + LINE_COS * count + index], path[first + LINE_SIN * count + index]
            best_speed = max(agent[VELOCITY_X, j] * c + agent[VELOCITY_Y, j] * s, 0.0)
    return best_gap, best_speed


@kernel
def stop_gap(light, light_start, path_stop, first, count, front, speed):
    """Return the gap from ``front`` to the nearest closed stop line; a huge gap if there is none."""
    best = 1e9
    for k in range(first, first + count):
        gap = path_stop[k, 0] - front
        if gap < 0.0 or gap >= best:
            continue
        state = light[light_start + int(path_stop[k, 1]), 0]
        if state == RED or (state == YELLOW and speed * speed / (2.0 * max(gap, 1e-3)) < YELLOW_BRAKING):
            best = gap
    return best


@kernel
def idm_acceleration(driver, g, speed, desired, gap, lead_speed):
    """Intelligent driver model of slot ``g``, exponent 4, clipped to what its driver does [m/s^2]."""
    fastest = driver[g, IDM_ACCELERATION]
    closing = speed * (speed - lead_speed) / (2.0 * math.sqrt(fastest * driver[g, IDM_BRAKING]))
    wanted = driver[g, IDM_GAP] + speed * driver[g, IDM_HEADWAY] + closing
    ratio = speed / desired
    value = fastest * (1.0 - ratio**4 - (wanted / max(gap, 0.1)) ** 2)
    return min(max(value, HARDEST_BRAKING), fastest)


@kernel
def react(slot, driver, span, light, light_start, paths, g, before, agent, path_s, slots, a):
    """Move reactive slot ``a`` by one step, seeing only the state ``before`` the step."""
    path, path_stop = paths
    arc, speed = float(path_s[a]), float(before[SPEED, a])
    first, count = span[g, PATH_START], span[g, PATH_COUNT]
    gap, lead = follow_gap(slot, path, g, a, first, count, before, slots, arc)
    front = arc + slot[g, HALF_LENGTH]
    closed = stop_gap(light, light_start, path_stop, span[g, PATH_STOP_START], span[g, PATH_STOP_COUNT], front, speed)
    if closed < gap:
        gap, lead = closed, 0.0
    acceleration = idm_acceleration(driver, g, speed, slot[g, DESIRED_SPEED], gap, lead)
    arc = min(arc + speed * DT, count - 1.0)
    path_s[a] = np.float32(arc)
    new_speed = max(0.0, speed + acceleration * DT)
    i = min(int(arc), count - 2)
    k = first + i
    share = arc - i
    near = k + 1 if share >= 0.5 else k
    c, s = path[near + LINE_COS * count], path[near + LINE_SIN * count]
    y = k + LINE_Y * count
    agent[X, a] = np.float32(path[k] + share * (path[k + 1] - path[k]))
    agent[Y, a] = np.float32(path[y] + share * (path[y + 1] - path[y]))
    agent[COS, a] = c
    agent[SIN, a] = s
    agent[SPEED, a] = np.float32(new_speed)
    agent[HEADING, a] = np.float32(math.atan2(s, c))
    agent[ACCELERATION, a] = np.float32(acceleration)
    agent[VELOCITY_X, a] = np.float32(new_speed * c)
    agent[VELOCITY_Y, a] = np.float32(new_speed * s)
    agent[PRESENT, a] = 1.0
