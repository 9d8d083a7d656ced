"""Everybody moves to the next frame at once (docs/simulator.md, 'One step')."""

from __future__ import annotations

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.reset import enter_path
from drivetrain.sim.kernels.tables import (
    FIRST_FRAME,
    LAST_FRAME,
    LIGHT_START,
    LOG_START,
    NUM_LIGHTS,
    NUM_SLOTS,
    REAR,
    SLOT_START,
    WHEELBASE,
)
from drivetrain.sim.kernels.traffic import react, replay, replay_world
from drivetrain.sim.kernels.vehicle import decode_action, drive, place
from drivetrain.sim.scene_arrays import PRESENT, SPEED, STATE_ROWS
from drivetrain.sim.world import ACTION_COMMAND, ACTION_LOG, ACTION_POSE, REACTIVE


@kernel(inline=True)
def move_world(t, state, p, w, kind, action, before):
    """Advance every slot of a world to the next frame."""
    scene = state.scene[w]
    agent, mode = state.agents[w], state.mode[w]
    slots = t.scene[scene, NUM_SLOTS]
    first = t.scene[scene, SLOT_START]
    frame = state.frame[w] + 1
    logged = t.scene[scene, LOG_START] + frame * STATE_ROWS * slots
    if p.reactive_traffic == 1:
        for r in range(STATE_ROWS):
            for a in range(slots):
                before[r, a] = agent[r, a]
    replay_world(t.log, logged, slots, mode, agent)
    if p.reactive_traffic == 1:
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
                react(t.slot, t.span, t.light, lights, paths, g, before, agent, path_s, slots, a)
    for rank in range(p.rows_per_world):
        n = w * p.rows_per_world + rank
        if state.running[n] == 0:
            continue
        a = state.slot[n]
        g = first + a
        if kind == ACTION_LOG:
            replay(t.log, logged, slots, agent, a)
        elif kind == ACTION_POSE:
            place(agent, a, action, n)
        else:
            wheelbase = t.slot[g, WHEELBASE]
            acceleration, target, level = decode_action(kind, action, n, agent[SPEED, a], wheelbase)
            drive(
                agent,
                a,
                acceleration,
                target,
                wheelbase,
                t.slot[g, REAR],
                p.acceleration_lag,
                p.steering_lag,
            )
            shaping = 0.0
            if kind != ACTION_COMMAND and state.steps[n] > 0:
                shaping = (
                    p.shaping_acceleration * abs(acceleration - state.last_acceleration[n]) / 4.0
                    + p.shaping_steering * abs(level - state.last_level[n]) / 6.0
                )
            state.last_acceleration[n] = acceleration
            state.last_level[n] = level
            state.reward[n] = -shaping
    state.frame[w] = frame
