"""Compiled loops over boxes: first contacts and times to collision.

T frames, A agents.

Boxes that only touch are in contact, as in a polygon predicate. Everything happens in float64, relative to the ego,
so that neither the size of map coordinates nor their order matters. Numba infers types.
"""

# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import math

from drivetrain.sim.kernel_cache import kernel

AHEAD_COS = math.cos(math.radians(30.0))
"""An agent is ahead if its centre lies less than 30 degrees off the ego's heading, seen from the rear axle."""
BEHIND_COS = math.cos(math.radians(150.0))
"""An agent is behind if its centre lies more than 150 degrees off."""
NUM_LOOKS = 29
LOOK_STEP_S = 0.1
"""A time to collision is one of 0.1, 0.2 .. 2.9 s."""
STANDING_SPEED = 0.005
"""An ego no faster has no time to collision [m/s]."""
SLACK_M = 1e-6
"""Circles that decide which boxes are looked at are this much larger, so that rounding loses no touching pair [m]."""


@kernel(inline=True)
def boxes_apart(dx, dy, cos, sin, half_length, half_width, other_half_length, other_half_width):
    """Return whether a line separates two boxes; (dx, dy) and the angle are the other's in the first one's frame."""
    q, p = abs(cos), abs(sin)
    if abs(dx) > half_length + other_half_length * q + other_half_width * p:
        return True
    if abs(dy) > half_width + other_half_length * p + other_half_width * q:
        return True
    if abs(dx * cos + dy * sin) > other_half_length + half_length * q + half_width * p:
        return True
    return abs(dy * cos - dx * sin) > other_half_width + half_length * p + half_width * q


@kernel
def first_not_finite(position, heading, velocity, valid):
    """Return frame and agent of the first shown box with a value that is not finite, (-1, -1) where there is none."""
    for i in range(valid.shape[0]):
        for a in range(valid.shape[1]):
            total = position[i, a, 0] + position[i, a, 1] + heading[i, a] + velocity[i, a, 0] + velocity[i, a, 1]
            if valid[i, a] and not math.isfinite(total):
                return i, a
    return -1, -1


@kernel
def first_contacts(centre, heading, half_size, position, agent_heading, agent_size, valid, out):
    """Write the first frame in which each agent's box meets the ego's into ``out`` [A], -1 where none does."""
    out[:] = -1
    ego_radius = math.hypot(half_size[0], half_size[1]) + SLACK_M
    for i in range(len(centre)):
        x, y = centre[i, 0], centre[i, 1]
        for a in range(len(out)):
            if out[a] >= 0 or not valid[i, a]:
                continue
            dx, dy = position[i, a, 0] - x, position[i, a, 1] - y
            half_length, half_width = 0.5 * agent_size[a, 0], 0.5 * agent_size[a, 1]
            reach = ego_radius + half_length + half_width
            if dx * dx + dy * dy > reach * reach:
                continue
            c, s = math.cos(heading[i]), math.sin(heading[i])
            relative = agent_heading[i, a] - heading[i]
            if not boxes_apart(
                dx * c + dy * s, dy * c - dx * s, math.cos(relative), math.sin(relative),
                half_size[0], half_size[1], half_length, half_width,
            ):  # fmt: skip
                out[a] = i


@kernel
def first_overlap(dx, dy, ux, uy, cos, sin, half_size, half_length, half_width, before):
    """Return the first look below ``before`` at which two moving boxes meet, else ``before``; ego frame, 1-based."""
    reach = math.hypot(half_size[0], half_size[1]) + math.hypot(half_length, half_width) + SLACK_M
    first, last = 1, before - 1
    speed2 = ux * ux + uy * uy
    if speed2 > 1e-12:
        # Times at which the circles round both boxes meet; a root early or late by rounding is widened by a look.
        middle = -(dx * ux + dy * uy) / speed2
        across = dx * uy - dy * ux
        square = reach * reach - across * across / speed2
        if square < 0.0:
            return before
        half = math.sqrt(square / speed2)
        if middle + half < 0.0 or middle - half > NUM_LOOKS * LOOK_STEP_S + LOOK_STEP_S:
            return before
        first = max(first, int((middle - half) / LOOK_STEP_S) - 1)
        last = min(last, int(min((middle + half) / LOOK_STEP_S, 1e6)) + 2)
    for look in range(first, last + 1):
        t = look * LOOK_STEP_S
        if not boxes_apart(dx + ux * t, dy + uy * t, cos, sin, half_size[0], half_size[1], half_length, half_width):
            return look
    return before


@kernel
def first_overlaps(
    pose, lever, velocity, half_size, sideways, first_contact,
    position, agent_heading, agent_velocity, agent_size, valid, is_static, along_heading, out,
):  # fmt: skip
    """Write the first look at which a candidate meets the ego into ``out`` [T], NUM_LOOKS + 1 where none does.

    Args:
        pose: Rear axle x, y, heading, [T, 3].
        lever: From the rear axle to the box centre [m].
        velocity: The ego's constant velocity from each frame on, in its own frame [m/s], [T, 2].
        half_size: Half length and half width of the ego [m].
        sideways: Frames in which agents beside the ego are candidates too, [T].
        first_contact: Frame of each agent's first contact, -1 where none: from it on it is no candidate, [A].
        position: Box centres of the agents [m], [T, A, 2].
        agent_heading: [T, A].
        agent_velocity: In the map frame [m/s], [T, A, 2].
        agent_size: Length and width [m], [A, 2].
        valid: [T, A].
        is_static: Agents that stand whatever their velocity, [A].
        along_heading: Whether agents move along their heading with the magnitude of their velocity.
        out: Result.
    """
    radius = math.hypot(half_size[0], half_size[1]) + SLACK_M
    horizon = NUM_LOOKS * LOOK_STEP_S
    for i in range(len(out)):
        best = NUM_LOOKS + 1
        c, s = math.cos(pose[i, 2]), math.sin(pose[i, 2])
        speed = math.hypot(velocity[i, 0], velocity[i, 1])
        if speed <= STANDING_SPEED:
            out[i] = best
            continue
        for a in range(len(first_contact)):
            if not valid[i, a] or 0 <= first_contact[a] <= i:
                continue
            dx, dy = position[i, a, 0] - pose[i, 0], position[i, a, 1] - pose[i, 1]
            ahead, left = dx * c + dy * s, dy * c - dx * s
            # Cheapest first: most agents are behind or beside the ego.
            if not sideways[i] and ahead <= 0.0:
                continue
            vx, vy = 0.0, 0.0
            if not is_static[a]:
                vx, vy = float(agent_velocity[i, a, 0]), float(agent_velocity[i, a, 1])
            agent_speed = math.sqrt(vx * vx + vy * vy)
            half_length, half_width = 0.5 * agent_size[a, 0], 0.5 * agent_size[a, 1]
            reach = radius + lever + half_length + half_width + horizon * (speed + agent_speed)
            distance2 = ahead * ahead + left * left
            if distance2 > reach * reach:
                continue
            distance = math.sqrt(distance2)
            if not (ahead > AHEAD_COS * distance or (sideways[i] and ahead >= BEHIND_COS * distance)):
                continue
            relative = agent_heading[i, a] - pose[i, 2]
            cos, sin = math.cos(relative), math.sin(relative)
            if along_heading:
                ux, uy = agent_speed * cos, agent_speed * sin
            else:
                ux, uy = vx * c + vy * s, vy * c - vx * s
            best = first_overlap(
                ahead - lever, left, ux - velocity[i, 0], uy - velocity[i, 1], cos, sin, half_size, half_length,
                half_width, best,
            )  # fmt: skip
        out[i] = best
