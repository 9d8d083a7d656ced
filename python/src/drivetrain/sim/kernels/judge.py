"""What happened to a row in a step: events, progress, reward, flags, sums of its episode."""

from __future__ import annotations

import numpy as np

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.events import (
    STOP_LINE_HALF_WIDTH,
    collision_events,
    offroad_event,
    red_light_event,
    time_to_collision_event,
)
from drivetrain.sim.kernels.observe import clip, find_cell
from drivetrain.sim.kernels.route import project
from drivetrain.sim.kernels.tables import (
    BOX_START,
    BOX_WIDTH,
    GOAL_S,
    HALF_LENGTH,
    HALF_WIDTH,
    LAST_FRAME,
    LIGHT_START,
    LINE_LIMIT,
    MAP_ROW,
    NUM_FRAMES,
    NUM_LIGHTS,
    NUM_SLOTS,
    ROUTE_COUNT,
    ROUTE_START,
    SLOT_START,
    STOP_COUNT,
    STOP_START,
)
from drivetrain.sim.kernels.vehicle import DT
from drivetrain.sim.reward import OVERSPEED_SCALE, PROGRESS_REWARD
from drivetrain.sim.scene_arrays import ACCELERATION, COS, SIN, SPEED, X, Y
from drivetrain.sim.world import (
    ANY_EVENT,
    AT_FAULT,
    COLLISION,
    GOAL,
    LAST_COMPLETION,
    NUM_JERK,
    NUM_STEPS,
    OFFROAD,
    RED_LIGHT,
    SUM_JERK,
    SUM_LATERAL,
    SUM_OVERSPEED,
    SUM_REWARD,
    SUM_SPEED,
)

SEARCH_BACK = 4
SEARCH_AHEAD = 8
MIN_GOAL_DISTANCE = 5.0


@kernel(inline=True)
def completion(start, furthest, goal):
    """Return route completion, 1 throughout where there is no goal."""
    if goal - start < MIN_GOAL_DISTANCE:
        return 1.0
    return clip((furthest - start) / (goal - start), 0.0, 1.0)


@kernel(inline=True)
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
    index, arc, offset = project(t.route, first, count, i0 - SEARCH_BACK, i0 + SEARCH_AHEAD, x, y)
    goal, start = t.slot[g, GOAL_S], state.start_s[n]
    half = t.slot[g, HALF_LENGTH]
    furthest = max(state.max_s[n], arc)
    bits = collision_events(t.box, t.scene[scene, BOX_START], t.scene[scene, BOX_WIDTH], agent, slots, a)
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
    limit = t.route[first + LINE_LIMIT * count + index]
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
    ended = bits & p.ending != 0
    last = frame + 1 >= t.scene[scene, NUM_FRAMES] or state.steps[n] >= p.horizon or frame >= t.span[g, LAST_FRAME]
    state.terminated[n] = 1 if ended else 0
    state.truncated[n] = 1 if last and not ended else 0


@kernel(inline=True)
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
