"""Tests on a finished drive: does anything overlap, and would a driver that only follows have come through?"""

from __future__ import annotations

import math

import numpy as np

from drivetrain.data.synthetic.kernels.columns import DT, PH, PV, PX, PY
from drivetrain.data.synthetic.kernels.path_frame import project, value_at
from drivetrain.sim.kernel_cache import jit

STUCK = 0.2
"""A follower that covers less than this share of the expert's distance is stuck."""


@jit
def overlap(a, b):
    """Return whether two oriented boxes (centre x, y, heading, half length, half width) touch."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    reach = a[3] + a[4] + b[3] + b[4]
    if dx * dx + dy * dy > reach * reach:
        return False
    c, s, e, g = math.cos(a[2]), math.sin(a[2]), math.cos(b[2]), math.sin(b[2])
    q, p = abs(c * e + s * g), abs(s * e - c * g)
    return (
        abs(dx * c + dy * s) <= a[3] + b[3] * q + b[4] * p
        and abs(dy * c - dx * s) <= a[4] + b[3] * p + b[4] * q
        and abs(dx * e + dy * g) <= b[3] + a[3] * q + a[4] * p
        and abs(dy * e - dx * g) <= b[4] + a[3] * p + a[4] * q
    )


@jit
def first_overlap(boxes, ignore_from):
    """Return (frame, i, j) of the first overlap of two boxes, or (-1, -1, -1).

    boxes: [F, N, 6] centre x, y, heading, half length, half width, valid; pairs with both indices at or above
    ``ignore_from`` (pedestrians among themselves) are not tested.
    """
    for f in range(len(boxes)):
        for i in range(min(boxes.shape[1], ignore_from)):
            for j in range(i + 1, boxes.shape[1]):
                if boxes[f, i, 5] > 0.0 and boxes[f, j, 5] > 0.0 and overlap(boxes[f, i], boxes[f, j]):
                    return f, i, j
    return -1, -1, -1


@jit
def follower_fails(path, s, d, v, rear, boxes, stops, lights, distance):
    """Return whether a driver that keeps to its path and follows what is on it collides or gets stuck.

    It obeys speed limits, leads and red lights, but neither slows for bends, nor yields, nor plans around anything:
    what a plain intelligent-driver planner does among the recorded traffic. Being struck from behind is not its fault.

    Args:
        path: Points of the ego's path, shape [., 8].
        s: Arc length it starts at [m].
        d: Offset it starts with [m].
        v: Speed it starts with [m/s].
        rear: From the rear axle forward to the box centre [m].
        boxes: As in ``first_overlap``; row 0 is the ego, whose size it has.
        stops: Stop lines on the path: s [m], signal group; shape [., 2].
        lights: State of the signal groups, shape [F, groups].
        distance: What the expert covers [m].
    """
    me = np.zeros(5)
    me[3], me[4] = boxes[0, 0, 3], boxes[0, 0, 4]
    begin, dt, limit = s, 2.0 * DT, path[:, PV].max()
    for f in range(0, len(boxes) - 2, 2):
        h = value_at(path, s, PH)
        me[0] = value_at(path, s, PX) - d * math.sin(h) + rear * math.cos(h)
        me[1] = value_at(path, s, PY) + d * math.cos(h) + rear * math.sin(h)
        me[2] = h
        gap, lead_speed = 1e9, 0.0
        front = s + rear + me[3]
        for j in range(1, boxes.shape[1]):
            if boxes[f, j, 5] == 0.0 or boxes[f + 2, j, 5] == 0.0:
                continue
            dx, dy = boxes[f, j, 0] - me[0], boxes[f, j, 1] - me[1]
            if dx * dx + dy * dy > 60.0 * 60.0:
                continue
            behind = dx * math.cos(h) + dy * math.sin(h) < -0.5 * me[3]
            if v > 0.3 and not behind and overlap(me, boxes[f, j]):
                return True
            js, jd, k = project(
                path, max(0, int(s) - 5), min(len(path) - 1, int(s) + 65), boxes[f, j, 0], boxes[f, j, 1]
            )
            turned = abs(math.sin(boxes[f, j, 2] - path[k, PH]))
            along = boxes[f, j, 3] * (1.0 - turned) + boxes[f, j, 4] * turned
            across = boxes[f, j, 4] * (1.0 - turned) + boxes[f, j, 3] * turned
            if js > s + rear and abs(jd - d) < across + me[4] + 0.2 and js - along - front < gap:
                gap = js - along - front
                dx, dy = boxes[f + 2, j, 0] - boxes[f, j, 0], boxes[f + 2, j, 1] - boxes[f, j, 1]
                lead_speed = max(0.0, (dx * math.cos(path[k, PH]) + dy * math.sin(path[k, PH])) / dt)
        for m in range(len(stops)):
            to_line = stops[m, 0] - front
            if lights[f, int(stops[m, 1])] > 0 and v * v / 6.0 < to_line + 0.5 and to_line < gap:
                gap, lead_speed = max(to_line, 0.3), 0.0
        want = 1.0 + max(0.0, 1.5 * v + v * (v - lead_speed) / (2.0 * math.sqrt(3.0)))
        acc = min(max(1.0 - (v / limit) ** 4 - (want / max(gap, 0.1)) ** 2, -4.0), 1.0)
        s += v * dt
        d -= d * min(1.0, v * dt / 15.0)
        v = max(0.0, v + acc * dt)
    return s - begin < STUCK * distance
