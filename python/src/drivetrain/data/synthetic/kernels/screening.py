"""Tests on a finished drive: does anything overlap, and would a driver that only follows have come through?"""

from __future__ import annotations

import math

from drivetrain.sim.kernel_cache import jit


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
