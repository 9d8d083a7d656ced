"""From proposals to a plan: all of them driven in the mind and judged, the best one taken. Compiled.

P proposals, K poses of each, S simulated steps, A objects. Numba infers types.
"""

# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from drivetrain.closed_loop.rule_based.forecast import (
    HALF_LENGTH,
    HALF_WIDTH,
    OBJECT_HEADING,
    OBJECT_X,
    OBJECT_Y,
    forecast,
)
from drivetrain.closed_loop.rule_based.judgement import (
    COLLISION,
    COMFORT,
    DANGER,
    DIRECTION,
    DRIVABLE_AREA,
    NEAR_EDGE,
    TROUBLE_S,
    TTC,
    feel,
    meet,
    stand,
)
from drivetrain.closed_loop.rule_based.path import LIMIT
from drivetrain.closed_loop.rule_based.proposals import foresee, nearest_vertex, place_on, propose, way_round
from drivetrain.closed_loop.rule_based.tracking import (
    POSE_HEADING,
    POSE_X,
    POSE_Y,
    SPEED,
    follow,
    wrapped,
)
from drivetrain.metrics.box_kernels import boxes_apart
from drivetrain.planners.tracker import STEP_S
from drivetrain.sim.kernel_cache import jit, kernel
from drivetrain.sim.scenario import Float64, Int64

PROGRESS_WEIGHT, TTC_WEIGHT, SPEED_WEIGHT, COMFORT_WEIGHT = 5.0, 5.0, 4.0, 2.0
"""As in nuPlan's score."""
LEAST_PROGRESS_M = 2.0
"""Where no proposal gets farther, all count as having got as far."""
MAX_OVERSPEED = 2.23
"""A drive on average this much too fast scores 0 [m/s]."""
HABIT = 0.01
"""Bonus of the path and offset that were driven so far."""
BLEND_S = 2.5
"""Within this time a proposal reaches its line."""
EDGE = 0.1
"""What driving along the very edge of the drivable area costs."""
RISK = 0.5
"""What being in danger all the time costs beside the score."""
DELAY = 0.02
"""Bonus of trouble at the end of the horizon over trouble at once: all else is zero there."""
BRAKE_S = 2.0
"""Where even the best proposal is in trouble within this time, the ego brakes as hard as it can."""
LOW_SPEED_GAIN = 1.2
"""Of the speed at low speeds, taken off below zero [1]."""
EMERGENCY_DECELERATION = 6.0
"""[m/s^2]."""


class Options(NamedTuple):
    """What is the same in all plans of all scenarios."""

    smoother: Float64
    """Of the tracker's speed fit, [K - 1, K - 1]."""
    fractions: Float64
    """Of the target speeds of the path."""
    windows: Int64
    """Of the comfort filters, [4]."""
    bounds: Float64
    """Of comfort, [5, 2]."""
    steps: int
    """Simulated steps S."""
    poses: int
    """Poses K of a proposal."""


class Lines(NamedTuple):
    """What proposals follow, path by path; L of them."""

    path: Int64
    """Number of the path, ascending, shape [L]."""
    offset: Float64
    """Beside it, to the left [m], shape [L]."""
    swerve: Int64
    """1, -1: past what stands in the way, to its left or right, by an offset that is found then; else 0, shape [L]."""
    bonus: Float64
    """What is added to the scores of its proposals, shape [L]."""


class Findings(NamedTuple):
    """What was made of the proposals, in order: line by line, fraction by fraction."""

    poses: Float64
    """[P, K, 3]."""
    states: Float64
    """Driven in the mind, [P, S + 1, 6]."""
    verdicts: Float64
    """See ``judgement``, [P, 8]."""
    values: Float64
    """Way along the path [m], speed limit compliance, score, [P, 3]."""


@jit
def choose(
    tables, lines, places, ego, sizes, objects, stops, stop_start, ground, past, operators, habit, options, driver, plan
):  # fmt: skip
    """Write the plan, poses [K, 3]; return the number of its proposal (-1: emergency braking), the best, and all.

    Args:
        tables: Paths, [N, P, 6].
        lines: What proposals follow.
        places: Vertex of each path near the rear axle, [N].
        ego: State as in ``tracking``, [6].
        sizes: Length, width, wheelbase, rear axle to centre [m].
        objects: See ``forecast``, [A, 9].
        stops: Arc lengths of closed stop lines, path by path.
        stop_start: First of each path and the end, [N + 1].
        ground: Around the paths.
        past: See ``feel``, [h, 3].
        operators: See ``feel``.
        habit: Line of the last plan.
        options: Constants.
        driver: Constants of the Intelligent Driver Model.
        plan: Result.
    """
    num_fractions = len(options.fractions)
    count = len(lines.path) * num_fractions
    found = Findings(
        poses=np.empty((count, options.poses, 3)),
        states=np.empty((count, options.steps + 1, 6)),
        verdicts=np.zeros((count, 8)),
        values=np.zeros((count, 3)),
    )
    expected = forecast(objects, options.steps)
    seen = np.empty((len(objects), options.steps + 1, 5))
    speeds, curvatures, ratio = np.empty(options.poses - 1), np.empty(options.poses - 1), np.empty(options.poses - 1)
    standing = np.empty((options.steps + 1, 2), dtype=np.bool_)
    signals, smooth = np.empty((len(past) + options.steps + 1, 4)), np.empty((len(past) + options.steps + 1, 2))
    ignored = touching(ego, sizes, objects)
    place = np.empty(2)
    blend = max(8.0, BLEND_S * ego[SPEED])
    before = -1
    for q in range(len(lines.path)):
        n = lines.path[q]
        table, at = tables[n], places[n]
        if n != before:
            foresee(table, objects, expected, seen)
            place[0], place[1] = place_on(table, at, ego[POSE_X], ego[POSE_Y])
            before = n
        offset, wanted = lines.offset[q], True
        if lines.swerve[q] != 0:
            offset = way_round(seen, place[0], ego[SPEED], sizes, lines.swerve[q])
            wanted = offset != 0.0
        for f in range(num_fractions):
            p = q * num_fractions + f
            poses, states, verdict = found.poses[p], found.states[p], found.verdicts[p]
            if not wanted:
                found.values[p, 0] = -math.inf
                continue
            propose(
                table, seen, stops[stop_start[n] : stop_start[n + 1]], place, max(ego[SPEED], 0.0),
                options.fractions[f], offset, blend, sizes, driver, options.steps, poses,
            )  # fmt: skip
            for column in range(6):
                states[0, column] = ego[column]
            follow(poses, options.smoother, sizes[2], states, speeds, curvatures, ratio)
            stand(states, sizes, ground, standing, verdict)
            meet(states, sizes, objects, expected, ignored, standing, verdict)
            verdict[COMFORT] = feel(states, sizes, past, operators, options.windows, options.bounds, signals, smooth)
            found.values[p, 0], found.values[p, 1] = advance(table, at, states)
    best = best_of(found, habit, num_fractions, lines)
    if found.verdicts[best, COLLISION] < 1.0 and found.verdicts[best, TROUBLE_S] <= BRAKE_S:
        brake(found.poses[best], max(ego[SPEED], 0.0), plan)
        return -1, best, found
    plan[:] = found.poses[best]
    return best, best, found


@kernel
def touching_one(ego, sizes, o):
    """Return whether an object is in contact with the ego."""
    c, s = math.cos(ego[POSE_HEADING]), math.sin(ego[POSE_HEADING])
    dx, dy = o[OBJECT_X] - ego[POSE_X] - sizes[3] * c, o[OBJECT_Y] - ego[POSE_Y] - sizes[3] * s
    relative = o[OBJECT_HEADING] - ego[POSE_HEADING]
    return not boxes_apart(
        dx * c + dy * s, dy * c - dx * s, math.cos(relative), math.sin(relative), 0.5 * sizes[0], 0.5 * sizes[1],
        o[HALF_LENGTH], o[HALF_WIDTH],
    )  # fmt: skip


@jit
def touching(ego, sizes, objects):
    """Return who is in contact with the ego already, [A]."""
    out = np.zeros(len(objects), dtype=np.bool_)
    for a in range(len(objects)):
        out[a] = touching_one(ego, sizes, objects[a])
    return out


@kernel
def advance(table, at, states):
    """Return how far a drive gets along a path [m], and its speed limit compliance."""
    first, _ = place_on(table, at, states[0, POSE_X], states[0, POSE_Y])
    over, along = 0.0, first
    for k in range(len(states)):
        state = states[k]
        at = nearest_vertex(table, state[POSE_X], state[POSE_Y], max(0, at - 1), min(len(table), at + 9), 1)
        limit = table[at, LIMIT]
        if limit > 0.0:
            over += max(0.0, abs(state[SPEED]) - limit)
        if k == len(states) - 1:
            along, _ = place_on(table, at, state[POSE_X], state[POSE_Y])
    return along - first, max(0.0, 1.0 - over / (MAX_OVERSPEED * len(states)))


@kernel
def best_of(found, habit, num_fractions, lines):
    """Write the scores of all proposals and return the best one, the first on ties."""
    verdicts, values = found.verdicts, found.values
    most = LEAST_PROGRESS_M
    for p in range(len(values)):
        if verdicts[p, COLLISION] * verdicts[p, DRIVABLE_AREA] * verdicts[p, DIRECTION] > 0.0:
            most = max(most, values[p, 0])
    best, highest = 0, -math.inf
    total = PROGRESS_WEIGHT + TTC_WEIGHT + SPEED_WEIGHT + COMFORT_WEIGHT
    for p in range(len(values)):
        if values[p, 0] == -math.inf:
            values[p, 2] = -math.inf
            continue
        v = verdicts[p]
        mean = (
            PROGRESS_WEIGHT * min(max(values[p, 0] / most, 0.0), 1.0)
            + TTC_WEIGHT * v[TTC]
            + SPEED_WEIGHT * values[p, 1]
            + COMFORT_WEIGHT * v[COMFORT]
        ) / total
        score = v[COLLISION] * v[DRIVABLE_AREA] * v[DIRECTION] * mean - EDGE * v[NEAR_EDGE] - RISK * v[DANGER]
        score += DELAY * min(v[TROUBLE_S], 4.0) / 4.0
        line = p // num_fractions
        score += lines.bonus[line]
        if line == habit:
            score += HABIT
        values[p, 2] = score
        if score > highest:
            best, highest = p, score
    return best


@kernel
def brake(poses, speed, plan):
    """Write poses that stop as soon as possible along those of a proposal."""
    way, at, passed, c, s = 0.0, 0, 0.0, math.cos(poses[0, 2]), math.sin(poses[0, 2])
    last = len(poses) - 1
    # The tracker aims at the speed a second ahead: from a low one only a speed below zero makes it brake hard. The
    # next plan comes before the ego rolls back.
    lowest = -min(EMERGENCY_DECELERATION, LOW_SPEED_GAIN * speed)
    for k in range(len(plan)):
        if way < 0.0:
            plan[k, 0], plan[k, 1], plan[k, 2] = poses[0, 0] + way * c, poses[0, 1] + way * s, poses[0, 2]
            way += speed * STEP_S
            continue
        while at < last - 1:
            step = math.hypot(poses[at + 1, 0] - poses[at, 0], poses[at + 1, 1] - poses[at, 1])
            if passed + step > way:
                break
            passed += step
            at += 1
        step = math.hypot(poses[at + 1, 0] - poses[at, 0], poses[at + 1, 1] - poses[at, 1])
        share = min((way - passed) / step, 1.0) if step > 1e-6 else 0.0
        for column in range(2):
            plan[k, column] = poses[at, column] + share * (poses[at + 1, column] - poses[at, column])
        plan[k, 2] = poses[at, 2] + share * wrapped(poses[at + 1, 2] - poses[at, 2])
        way += speed * STEP_S
        speed = max(speed - EMERGENCY_DECELERATION * STEP_S, lowest)
