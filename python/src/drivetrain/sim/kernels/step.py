"""One step of a range of worlds: move, events, reward, flags, reset, observe; fused per world.

Worlds are independent: any split of them over threads or batches gives the same bits.
"""

from __future__ import annotations

import numpy as np

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.kernels.events import (
    STOP_LINE_HALF_WIDTH,
    collision_events,
    offroad_event,
    red_light_event,
    time_to_collision_event,
)
from drivetrain.sim.kernels.observe import SIZE, clip, find_cell, observe
from drivetrain.sim.kernels.observe_agents import work_arrays
from drivetrain.sim.kernels.prefetch import prefetch
from drivetrain.sim.kernels.reset import enter_path, reset_world
from drivetrain.sim.kernels.route import project
from drivetrain.sim.kernels.tables import (
    FIRST_FRAME,
    GOAL_S,
    HALF_LENGTH,
    HALF_WIDTH,
    LAST_FRAME,
    LIGHT_START,
    LOG_START,
    MAP_ROW,
    NUM_FRAMES,
    NUM_LIGHTS,
    NUM_SLOTS,
    REAR,
    ROUTE_COUNT,
    ROUTE_START,
    SLOT_START,
    STOP_COUNT,
    STOP_START,
    WAY_LIMIT,
    WHEELBASE,
)
from drivetrain.sim.kernels.traffic import react, replay, replay_world
from drivetrain.sim.kernels.vehicle import DT, decode_action, drive, place
from drivetrain.sim.reward import OVERSPEED_SCALE, PROGRESS_REWARD
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    COS,
    PRESENT,
    SIN,
    SPEED,
    STATE_ROWS,
    X,
    Y,
)
from drivetrain.sim.world import (
    ACTION_COMMAND,
    ACTION_LOG,
    ACTION_POSE,
    ANY_EVENT,
    AT_FAULT,
    COLLISION,
    GOAL,
    LAST_COMPLETION,
    NUM_JERK,
    NUM_STEPS,
    NUM_SUMS,
    OFFROAD,
    REACTIVE,
    RED_LIGHT,
    REMOVED,
    SUM_JERK,
    SUM_LATERAL,
    SUM_OVERSPEED,
    SUM_REWARD,
    SUM_SPEED,
)

SEARCH_BACK = 4
SEARCH_AHEAD = 8
MIN_GOAL_DISTANCE = 5.0
WORLDS_AHEAD = 3
"""How many worlds earlier their memory is asked for."""
ROUTE_WINDOW = 76
"""Route points from SEARCH_BACK behind to the farthest one observed."""
ENDING = COLLISION | OFFROAD | RED_LIGHT | GOAL


@jit(inline=True)
def completion(start, furthest, goal):
    """Return route completion, 1 throughout where there is no goal."""
    if goal - start < MIN_GOAL_DISTANCE:
        return 1.0
    return clip((furthest - start) / (goal - start), 0.0, 1.0)


@jit(inline=True)
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
                enter_path(t.span, t.path_xy, t.path_way, g, agent, path_s, a)
            else:
                paths = (t.path_xy, t.path_way, t.path_stop)
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


@jit(inline=True)
def score_row(t, state, p, w, n):
    """Compute events, progress, reward and flags of a running row after the move."""
    scene, frame = state.scene[w], state.frame[w]
    agent = state.agents[w]
    a = state.slot[n]
    first_slot = t.scene[scene, SLOT_START]
    g = first_slot + a
    slots = t.scene[scene, NUM_SLOTS]
    speed = agent[SPEED, a]
    x, y = agent[X, a], agent[Y, a]
    first, count = t.span[g, ROUTE_START], t.span[g, ROUTE_COUNT]
    i0 = state.route_index[n]
    index, arc, offset = project(t.route_xy, t.route_way, first, count, i0 - SEARCH_BACK, i0 + SEARCH_AHEAD, x, y)
    goal, start = t.slot[g, GOAL_S], state.start_s[n]
    half = t.slot[g, HALF_LENGTH]
    furthest = max(state.max_s[n], arc)
    bits = collision_events(t.slot, first_slot, agent, slots, a)
    cell, _, _ = find_cell(t.map_corner, t.map, t.scene[scene, MAP_ROW], x, y)
    if cell >= 0:
        bits |= offroad_event(t.cell, t.edge, cell, x, y, agent[COS, a], agent[SIN, a], half, t.slot[g, HALF_WIDTH])
    if abs(offset) < STOP_LINE_HALF_WIDTH:
        lights = t.scene[scene, LIGHT_START] + frame * t.scene[scene, NUM_LIGHTS]
        stops, num_stops = t.span[g, STOP_START], t.span[g, STOP_COUNT]
        # Rounded as it is stored: else a front that lands on the line is neither before nor past it.
        front = np.float32(arc) + half
        bits |= red_light_event(t.light, lights, t.stop, stops, num_stops, frame, state.route_s[n] + half, front)
    if goal - start >= MIN_GOAL_DISTANCE and furthest >= goal:
        bits |= GOAL
    if p.compute_ttc == 1:
        bits |= time_to_collision_event(t.slot, first_slot, agent, slots, a)
    penalty = 0.0
    if bits & AT_FAULT:
        penalty = p.penalty_at_fault
    elif bits & COLLISION:
        penalty = p.penalty_other
    if bits & OFFROAD:
        penalty = max(penalty, p.penalty_offroad)
    if bits & RED_LIGHT:
        penalty = max(penalty, p.penalty_red_light)
    before = completion(start, state.max_s[n], goal)
    after = completion(start, furthest, goal)
    limit = t.route_way[first + index, WAY_LIMIT]
    over = max(speed - limit, 0.0) if limit > 0.0 else 0.0
    reward = -penalty
    if bits & (COLLISION | OFFROAD | RED_LIGHT) == 0:
        lane = 1.0 - 0.5 * clip((abs(offset) - 0.5) / 2.5, 0.0, 1.0)
        reward = PROGRESS_REWARD * (after - before) * lane * clip(1.0 - over / OVERSPEED_SCALE, 0.0, 1.0)
    state.route_index[n] = index
    state.route_s[n] = arc
    state.route_offset[n] = offset
    state.max_s[n] = furthest
    state.steps[n] += 1
    state.events[n] = bits
    state.reward[n] += reward
    state.valid[n] = 1
    add_sums(state, n, bits, reward, agent[ACCELERATION, a], over, after, speed, offset)
    ended = bits & ENDING != 0
    last = frame + 1 >= t.scene[scene, NUM_FRAMES] or state.steps[n] >= p.horizon or frame >= t.span[g, LAST_FRAME]
    state.terminated[n] = 1 if ended else 0
    state.truncated[n] = 1 if last and not ended else 0


@jit(inline=True)
def add_sums(state, n, bits, reward, acceleration, over, completed, speed, offset):
    """Add a step to the row's episode sums."""
    sums = state.sums
    sums[n, SUM_REWARD] += reward
    if state.steps[n] >= 2:
        sums[n, SUM_JERK] += abs(acceleration - state.executed[n, 1]) / (2.0 * DT)
        sums[n, NUM_JERK] += 1.0
    state.executed[n, 1] = state.executed[n, 0]
    state.executed[n, 0] = acceleration
    sums[n, SUM_OVERSPEED] += over
    sums[n, ANY_EVENT] = float(int(sums[n, ANY_EVENT]) | bits)
    sums[n, LAST_COMPLETION] = completed
    sums[n, SUM_SPEED] += speed
    sums[n, SUM_LATERAL] += abs(offset)
    sums[n, NUM_STEPS] += 1.0


@jit(inline=True)
def observe_row(t, state, w, n, out, work):
    """Write the observation of row ``n``; zeros where it drives nothing."""
    if state.running[n] == 0:
        for k in range(SIZE):
            out[k] = 0.0
        return
    observe(
        t,
        state.scene[w],
        state.frame[w],
        state.agents[w],
        state.slot[n],
        state.route_index[n],
        state.route_s[n],
        state.route_offset[n],
        out,
        work,
    )


@jit(inline=True)
def end_episodes(state, w, low, high):
    """Remove agents whose episode ended; returns whether nobody runs any more."""
    running = 0
    for n in range(low, high):
        if state.terminated[n] == 1 or state.truncated[n] == 1:
            state.running[n] = 0
            state.mode[w, state.slot[n]] = REMOVED
            state.agents[w, PRESENT, state.slot[n]] = 0.0
        running += state.running[n]
    return running == 0


@jit
def observe_worlds(t, state, p, first, end, observation):
    """Observe the present state of worlds ``first..end``."""
    work = work_arrays()
    for w in range(first, end):
        for n in range(w * p.rows_per_world, (w + 1) * p.rows_per_world):
            observe_row(t, state, w, n, observation[n], work)


@jit
def reset_worlds(t, state, p, first, end, observation):
    """Start worlds ``first..end`` anew and observe."""
    for w in range(first, end):
        state.episode[w] = -1
        reset_world(t, state, p, w)
    observe_worlds(t, state, p, first, end, observation)


@jit(inline=True)
def look_ahead(t, state, p, w):
    """Ask for what world ``w`` will read in this step."""
    scene = state.scene[w]
    slots = t.scene[scene, NUM_SLOTS]
    frame_size = STATE_ROWS * slots
    prefetch(t.log, t.scene[scene, LOG_START] + (state.frame[w] + 1) * frame_size, frame_size)
    state_size = state.agents.shape[1] * state.agents.shape[2]
    prefetch(state.agents, w * state_size, state_size)
    g = t.scene[scene, SLOT_START]
    prefetch(t.slot, g * t.slot.shape[1], slots * t.slot.shape[1])
    n = w * p.rows_per_world
    at = t.span[g + state.slot[n], ROUTE_START] + max(state.route_index[n] - SEARCH_BACK, 0)
    prefetch(t.route_xy, 2 * at, 2 * ROUTE_WINDOW)
    prefetch(t.route_way, 3 * at, 3 * ROUTE_WINDOW)


@jit
def step_worlds(t, state, p, first, end, kind, action, observation, final, final_sums, automatic):
    """Advance worlds ``first..end`` by one step.

    ``final`` and ``final_sums`` receive the last observation and the sums of rows whose episode ended.
    ``automatic`` 1: worlds that are over reset at once; 0: they stay as they are.
    """
    work = work_arrays()
    before = np.empty((STATE_ROWS, state.agents.shape[2]), dtype=np.float32)
    for w in range(first, end):
        if w + WORLDS_AHEAD < end:
            look_ahead(t, state, p, w + WORLDS_AHEAD)
        low, high = w * p.rows_per_world, (w + 1) * p.rows_per_world
        alive = 0
        for n in range(low, high):
            state.reward[n] = 0.0
            state.events[n] = 0
            state.terminated[n] = 0
            state.truncated[n] = 0
            state.valid[n] = 0
            alive += state.running[n]
        if alive > 0:
            move_world(t, state, p, w, kind, action, before)
            for n in range(low, high):
                if state.running[n] == 1:
                    score_row(t, state, p, w, n)
        # Two passes over the rows with one place that observes: first the last look of those that ended, then all.
        for last_look in (True, False):
            if not last_look and end_episodes(state, w, low, high) and automatic == 1:
                reset_world(t, state, p, w)
            for n in range(low, high):
                ended = state.terminated[n] == 1 or state.truncated[n] == 1
                if last_look and not ended:
                    continue
                if last_look:
                    for k in range(NUM_SUMS):
                        final_sums[n, k] = state.sums[n, k]
                observe_row(t, state, w, n, final[n] if last_look else observation[n], work)
