"""Everybody moves to the next frame at once (docs/simulator.md, 'One step')."""

from __future__ import annotations

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.drive_rows import COMMANDED, LEVEL, STATE_OUT
from drivetrain.sim.kernels.lanes import LANES
from drivetrain.sim.kernels.reset import enter_path
from drivetrain.sim.kernels.tables import (
    FIRST_FRAME,
    LAST_FRAME,
    LIGHT_START,
    LOG_START,
    NUM_LIGHTS,
    NUM_SLOTS,
    SLOT_START,
)
from drivetrain.sim.kernels.traffic import react, replay, replay_world, traffic_reacts
from drivetrain.sim.kernels.vehicle import place
from drivetrain.sim.scene_arrays import PRESENT, STATE_ROWS
from drivetrain.sim.world import ACTION_COMMAND, ACTION_LOG, ACTION_POSE, REACTIVE


@kernel(inline=True)
def move_world(t, state, p, w, kind, action, before, moves, first_row):
    """Advance every slot of a world to the next frame; ``moves`` holds the driven rows, counted from ``first_row``."""
    scene = state.scene[w]
    agent, mode = state.agents[w], state.mode[w]
    slots = t.scene[scene, NUM_SLOTS]
    first = t.scene[scene, SLOT_START]
    frame = state.frame[w] + 1
    logged = t.scene[scene, LOG_START] + frame * STATE_ROWS * slots
    reacts = traffic_reacts(p, w)
    if reacts:
        for r in range(STATE_ROWS):
            for a in range(slots):
                before[r, a] = agent[r, a]
    replay_world(t.log, logged, slots, mode, agent)
    if reacts:
        lights = t.scene[scene, LIGHT_START] + (frame - 1) * t.scene[scene, NUM_LIGHTS]
        path_s = state.path_s[w]
        for a in range(slots):
            if mode[a] != REACTIVE:
                continue
            g = first + a
            if frame > t.span[g, LAST_FRAME] or frame < t.span[g, FIRST_FRAME]:
                agent[PRESENT, a] = 0.0
            elif frame == t.span[g, FIRST_FRAME]:
                replay(t.log, logged, slots, agent, a)
                enter_path(t.span, t.path, g, agent, path_s, a)
            else:
                paths = (t.path, t.path_stop)
                react(t.slot, t.driver, t.span, t.light, lights, paths, g, before, agent, path_s, slots, a)
    for n in range(w * p.rows_per_world, (w + 1) * p.rows_per_world):
        if state.running[n] == 0:
            continue
        a = state.slot[n]
        if kind == ACTION_LOG:
            replay(t.log, logged, slots, agent, a)
        elif kind == ACTION_POSE:
            place(agent, a, action, n)
        else:
            group, lane = (n - first_row) // LANES % len(moves), (n - first_row) % LANES
            for r in range(STATE_OUT):
                agent[r, a] = moves[group, r, lane]
            acceleration, level = moves[group, COMMANDED, lane], moves[group, LEVEL, lane]
            if kind != ACTION_COMMAND and state.steps[n] > 0:
                state.reward[n] = -(
                    p.shaping_acceleration * abs(acceleration - state.last_acceleration[n]) / 4.0
                    + p.shaping_steering * abs(level - state.last_level[n]) / 6.0
                )
            state.last_acceleration[n] = acceleration
            state.last_level[n] = level
    state.frame[w] = frame
