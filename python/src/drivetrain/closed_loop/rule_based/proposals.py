"""What may be driven: offsets beside a path, with speeds of the Intelligent Driver Model. Compiled.

A objects, K steps of 0.1 s. An object is the leader of a proposal where it will be in its
corridor then. Numba infers types.
"""

# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

import math

from drivetrain.closed_loop.intelligent_driver import acceleration
from drivetrain.closed_loop.rule_based.forecast import (
    FORECAST_HEADING,
    FORECAST_SPEED,
    FORECAST_X,
    FORECAST_Y,
    HALF_LENGTH,
    HALF_WIDTH,
    OBJECT_SPEED,
    OBJECT_X,
    OBJECT_Y,
)
from drivetrain.closed_loop.rule_based.path import CAP, HEADING, SPACING_M, TARGET, X, Y
from drivetrain.planners.tracker import STEP_S
from drivetrain.sim.kernel_cache import kernel

REAR, FRONT, RIGHT, LEFT, ALONG = range(5)
"""Columns of an object seen from a path: arc lengths between which it lies, offsets between which it lies (to the left)
[m], speed along the path [m/s]."""
CORRIDOR_MARGIN_M = 0.2
"""Whatever is this near to the corridor is in it."""
PASSING_M = 0.4
"""Room left beside what stands in the way."""
PASSING_S = 5.0
"""What stands is passed from this time before it on."""
STANDING_SPEED = 0.5
"""Whoever is no faster can be passed [m/s]."""
FARTHEST_ASIDE_M = 3.2
"""Nothing is passed by a larger offset."""
_ASIDE_M = 25.0
"""Objects farther from the path are not looked at."""
_NOWHERE = 1e9
_COARSE = 8
SUDDEN_M = 1.0
"""A proposal may lie this far beside the ego [m]."""


@kernel
def nearest_vertex(table, x, y, low, high, stride):
    """Return the vertex in [low, high) nearest to a point, the first on ties."""
    best, least = low, math.inf
    for i in range(low, high, stride):
        squared = (table[i, X] - x) ** 2 + (table[i, Y] - y) ** 2
        if squared < least:
            best, least = i, squared
    return best


@kernel
def find_vertex(table, x, y):
    """Return the vertex of a path nearest to a point."""
    at = nearest_vertex(table, x, y, 0, len(table), _COARSE)
    return nearest_vertex(table, x, y, max(0, at - _COARSE), min(len(table), at + _COARSE + 1), 1)


@kernel(inline=True)
def place_on(table, i, x, y):
    """Return arc length and offset to the left of a point [m] seen from vertex ``i``."""
    c, s = math.cos(table[i, HEADING]), math.sin(table[i, HEADING])
    dx, dy = x - table[i, X], y - table[i, Y]
    return i * SPACING_M + dx * c + dy * s, dy * c - dx * s


@kernel
def foresee(table, objects, expected, seen):
    """Write where objects will lie, seen from a path, into ``seen`` [A, K + 1, 5]; far ones lie nowhere.

    Args:
        table: The path.
        objects: [A, 9].
        expected: What :func:`forecast` gave, [A, K + 1, 6].
        seen: Result.
    """
    for a in range(len(objects)):
        o = objects[a]
        at = find_vertex(table, o[OBJECT_X], o[OBJECT_Y])
        for k in range(expected.shape[1]):
            e = expected[a, k]
            if k > 0:
                if o[OBJECT_SPEED] == 0.0:
                    for column in range(5):
                        seen[a, k, column] = seen[a, 0, column]
                    continue
                at = nearest_vertex(
                    table, e[FORECAST_X], e[FORECAST_Y], max(0, at - 6), min(len(table), at + 7), 1
                )  # fmt: skip
            along, aside = place_on(table, at, e[FORECAST_X], e[FORECAST_Y])
            if abs(aside) > _ASIDE_M:
                seen[a, k, REAR], seen[a, k, FRONT] = -_NOWHERE, -_NOWHERE
                seen[a, k, RIGHT], seen[a, k, LEFT], seen[a, k, ALONG] = _NOWHERE, _NOWHERE, 0.0
                continue
            relative = e[FORECAST_HEADING] - table[at, HEADING]
            q, p = abs(math.cos(relative)), abs(math.sin(relative))
            half_along = o[HALF_LENGTH] * q + o[HALF_WIDTH] * p
            half_aside = o[HALF_LENGTH] * p + o[HALF_WIDTH] * q
            seen[a, k, REAR], seen[a, k, FRONT] = along - half_along, along + half_along
            seen[a, k, RIGHT], seen[a, k, LEFT] = aside - half_aside, aside + half_aside
            seen[a, k, ALONG] = e[FORECAST_SPEED] * math.cos(relative)


@kernel(inline=True)
def offset_at(way, start, target, blend):
    """Return the offset that is asked for ``way`` metres ahead, and its slope.

    The tracker is left to close a gap of up to ``SUDDEN_M``; what is more fades over ``blend`` metres.
    """
    rise = start - target
    rise -= min(max(rise, -SUDDEN_M), SUDDEN_M)
    u = min(max(way / blend, 0.0), 1.0)
    v = 1.0 - u
    return target + rise * (1.0 + 2.0 * u) * v * v, -6.0 * rise * u * v / blend


@kernel
def _leader(seen, k, centre, front, half_width, start, target, blend, axle):
    """Return gap [m] and speed [m/s] of the nearest object in the corridor ahead at step ``k``."""
    gap, speed = math.inf, 0.0
    for a in range(len(seen)):
        rear, end = seen[a, k, REAR], seen[a, k, FRONT]
        if 0.5 * (rear + end) < centre or rear - front >= gap:
            continue
        aside, _ = offset_at(max(rear, centre) - axle, start, target, blend)
        reach = half_width + CORRIDOR_MARGIN_M
        if seen[a, k, RIGHT] < aside + reach and seen[a, k, LEFT] > aside - reach:
            gap, speed = rear - front, max(seen[a, k, ALONG], 0.0)
    return gap, speed


@kernel
def propose(table, seen, stops, place, speed, fraction, target, blend, sizes, driver, steps, poses):
    """Write a proposal's rear-axle poses, [K, 3].

    Args:
        table: The path.
        seen: What :func:`foresee` gave, for ``steps`` steps; later its last step holds.
        stops: Arc lengths of closed stop lines ahead of the front bumper [m].
        place: Arc length and offset of the rear axle [m].
        speed: Now [m/s].
        fraction: Of the target speeds of the path that is aimed at.
        target: Offset that is aimed at [m].
        blend: Way within which it is reached [m].
        sizes: Length, width, wheelbase, rear axle to centre of the ego [m].
        driver: Constants of the Intelligent Driver Model.
        steps: How many steps are foreseen.
        poses: Result.
    """
    axle, start = place[0], place[1]
    half_width, lever = 0.5 * sizes[1], sizes[3]
    nose = lever + 0.5 * sizes[0]
    origin, last = axle, len(table) - 2
    for k in range(len(poses)):
        i = min(max(int(axle / SPACING_M), 0), last)
        f = axle / SPACING_M - i
        offset, lean = offset_at(axle - origin, start, target, blend)
        heading = table[i, HEADING] + min(max(f, 0.0), 1.0) * (table[i + 1, HEADING] - table[i, HEADING])
        poses[k, 0] = table[i, X] + f * (table[i + 1, X] - table[i, X]) - offset * math.sin(heading)
        poses[k, 1] = table[i, Y] + f * (table[i + 1, Y] - table[i, Y]) + offset * math.cos(heading)
        poses[k, 2] = heading + math.atan(lean)
        wanted = min(fraction * table[i, TARGET], table[i, CAP])
        centre, front = axle + lever, axle + nose
        gap, lead = _leader(
            seen, min(k, steps), centre, front, half_width, start, target, blend, origin
        )  # fmt: skip
        change = -driver.max_deceleration
        if wanted > 0.1:
            change = acceleration(speed, wanted, max(gap, 0.0), lead, driver)
        for line in stops:
            ahead = line - front
            if ahead > -1.0:
                change = min(change, acceleration(speed, max(wanted, 0.1), max(ahead, 0.0), 0.0, driver))
        axle += speed * STEP_S
        speed = max(speed + change * STEP_S, 0.0)


@kernel
def way_round(seen, axle, speed, sizes, side):
    """Return the offset that leads past what stands in the way, 0 where nothing does or there is no such offset.

    Args:
        seen: What :func:`foresee` gave.
        axle: Arc length of the rear axle [m].
        speed: Of the ego [m/s].
        sizes: Length, width, wheelbase, rear axle to centre of the ego [m].
        side: 1: to the left, -1: to the right.
    """
    half_width = 0.5 * sizes[1]
    reach = axle + sizes[3] + 0.5 * sizes[0] + 15.0 + PASSING_S * max(speed, 0.0)
    offset, changed = 0.0, True
    while changed:
        changed = False
        for a in range(len(seen)):
            o = seen[a, 0]
            if abs(o[ALONG]) > STANDING_SPEED or o[FRONT] < axle - sizes[0] or o[REAR] > reach:
                continue
            room = half_width + PASSING_M
            if o[RIGHT] < offset + room - 1e-6 and o[LEFT] > offset - room + 1e-6:
                offset = o[LEFT] + room if side > 0 else o[RIGHT] - room
                changed = True
                if abs(offset) > FARTHEST_ASIDE_M:
                    return 0.0
    return offset
