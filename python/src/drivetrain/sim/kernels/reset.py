"""Begin an episode: choose scene, frame and controlled slots, copy the logged states (docs/simulator.md, 'Reset')."""

from __future__ import annotations

import numpy as np

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.draws import draw_index, draw_uniform
from drivetrain.sim.kernels.route import project
from drivetrain.sim.kernels.tables import (
    FIRST_FRAME,
    IS_CONTROLLABLE,
    IS_REACTIVE,
    LAST_FRAME,
    LOG_START,
    NUM_FRAMES,
    NUM_SLOTS,
    PATH_COUNT,
    PATH_START,
    ROUTE_COUNT,
    ROUTE_START,
    SLOT_START,
)
from drivetrain.sim.kernels.traffic import replay_world, traffic_reacts
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    PRESENT,
    SPEED,
    STATE_ROWS,
    VELOCITY_X,
    VELOCITY_Y,
    X,
    Y,
)
from drivetrain.sim.world import (
    CONTROLLED,
    DRAW_FRAME,
    DRAW_SCENE,
    DRAW_SLOT,
    DRAW_SPEED,
    NUM_SUMS,
    REACTIVE,
    REPLAYED,
)

MIN_FRAMES_LEFT = 50


@kernel
def choose_slot(span, first, slots, frame, mode, rank, seed, world, episode):
    """Return the slot of the rank-th row of a world: the ego, then drawn controllable slots present now; -1 if none."""
    if rank == 0:
        return 0
    free = 0
    for a in range(1, slots):
        g = first + a
        if span[g, IS_CONTROLLABLE] and mode[a] != CONTROLLED and span[g, FIRST_FRAME] <= frame < span[g, LAST_FRAME]:
            free += 1
    if free == 0:
        return -1
    pick = draw_index(free, seed, world, episode, DRAW_SLOT, rank)
    for a in range(1, slots):
        g = first + a
        if span[g, IS_CONTROLLABLE] and mode[a] != CONTROLLED and span[g, FIRST_FRAME] <= frame < span[g, LAST_FRAME]:
            if pick == 0:
                return a
            pick -= 1
    return -1


@kernel(inline=True)
def reset_row(t, state, p, w, n, a):
    """Start an episode of row ``n`` driving slot ``a``."""
    scene = state.scene[w]
    g = t.scene[scene, SLOT_START] + a
    agent = state.agents[w]
    world = p.first_world + w
    factor = draw_uniform(p.speed_low, p.speed_high, p.seed, world, state.episode[w], DRAW_SPEED, a)
    agent[SPEED, a] = np.float32(max(agent[SPEED, a], 0.0) * factor)
    agent[VELOCITY_X, a] = agent[SPEED, a] * agent[2, a]
    agent[VELOCITY_Y, a] = agent[SPEED, a] * agent[3, a]
    first, count = t.span[g, ROUTE_START], t.span[g, ROUTE_COUNT]
    index, arc, offset = project(t.route, first, count, 0, count, agent[X, a], agent[Y, a])
    state.slot[n] = a
    state.has_slot[n] = 1
    state.running[n] = 1
    state.steps[n] = 0
    state.route_index[n] = index
    state.route_s[n] = arc
    state.route_offset[n] = offset
    state.start_s[n] = arc
    state.max_s[n] = arc
    state.last_acceleration[n] = 0.0
    state.last_level[n] = 0.0
    state.executed[n, 0] = agent[ACCELERATION, a]
    state.executed[n, 1] = 0.0
    for k in range(NUM_SUMS):
        state.sums[n, k] = 0.0


@kernel
def enter_path(span, path, g, agent, path_s, a):
    """Put a reactive slot that just appeared onto its path."""
    first, count = span[g, PATH_START], span[g, PATH_COUNT]
    _, arc, _ = project(path, first, count, 0, count, agent[X, a], agent[Y, a])
    path_s[a] = max(arc, 0.0)


@kernel(inline=True)
def reset_world(t, state, p, w):
    """Begin the next episode of a world: choose scene, frame and controlled slots, copy the logged states."""
    world = p.first_world + w
    state.episode[w] += 1
    episode = state.episode[w]
    num_scenes = len(t.scene)
    if p.sequential == 1:
        scene = (world + episode * p.num_worlds_global) % num_scenes
    else:
        scene = draw_index(num_scenes, p.seed, world, episode, DRAW_SCENE, 0)
    frame = 0
    if p.random_start == 1 and episode == 0:
        latest = max(t.scene[scene, NUM_FRAMES] - MIN_FRAMES_LEFT, 1)
        frame = draw_index(latest, p.seed, world, episode, DRAW_FRAME, 0)
    state.scene[w] = scene
    state.frame[w] = frame
    agent, mode = state.agents[w], state.mode[w]
    slots = t.scene[scene, NUM_SLOTS]
    for r in range(STATE_ROWS):
        for a in range(slots, agent.shape[1]):
            agent[r, a] = 0.0
    first_slot = t.scene[scene, SLOT_START]
    for a in range(len(mode)):
        mode[a] = REPLAYED
    replay_world(t.log, t.scene[scene, LOG_START] + frame * STATE_ROWS * slots, slots, mode, agent)
    if traffic_reacts(p, w):
        for a in range(slots):
            if t.span[first_slot + a, IS_REACTIVE]:
                mode[a] = REACTIVE
                if agent[PRESENT, a] > 0.0:
                    enter_path(t.span, t.path, first_slot + a, agent, state.path_s[w], a)
    for rank in range(p.rows_per_world):
        n = w * p.rows_per_world + rank
        a = choose_slot(t.span, first_slot, slots, frame, mode, rank, p.seed, world, episode)
        if a < 0:
            state.has_slot[n] = 0
            state.running[n] = 0
        else:
            mode[a] = CONTROLLED
            reset_row(t, state, p, w, n, a)
