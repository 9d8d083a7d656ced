"""Plane geometry of driving as pure, broadcasting functions: angles, frames, oriented boxes, segments.

A *frame* is an origin with a heading: x points forward, y to the left. Everything is computed in the
precision of what is passed in; the readable simulator passes float64. ``docs/simulator.md`` defines the tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[Any]
Number = Float | float
"""A number or an array of numbers; arguments broadcast against each other."""


def wrap_angle(angle: Number) -> Float:
    """Return the same direction in (-pi, pi]."""
    angle = np.asarray(angle)
    return angle - 2.0 * np.pi * np.ceil((angle - np.pi) / (2.0 * np.pi))


def rotate_into_frame(x: Number, y: Number, cos: Number, sin: Number) -> tuple[Float, Float]:
    """Express map-frame vectors in a frame whose heading has this cosine and sine (rotate by -heading)."""
    return np.asarray(x * cos + y * sin), np.asarray(y * cos - x * sin)


def cross(ax: Number, ay: Number, bx: Number, by: Number) -> Float:
    """Return the z component of a x b: positive where b points to the left of a."""
    return np.asarray(ax * by - ay * bx)


def box_box_gap(
    *,
    dx: Number,
    dy: Number,
    cos: Number,
    sin: Number,
    half_size: tuple[Number, Number],
    other_half_size: tuple[Number, Number],
) -> Float:
    """Separating-axis gap of two oriented boxes [m]: they touch exactly where it is at most zero.

    Args:
        dx: The other centre, forward in the first box's frame [m].
        dy: The other centre, to the left in the first box's frame [m].
        cos: Cosine of the other heading relative to the first.
        sin: Sine of the other heading relative to the first.
        half_size: Half length and half width of the first box [m].
        other_half_size: Half length and half width of the other box [m].

    Returns:
        The largest signed distance over the four face normals. Where the boxes are apart it is a lower bound
        of their distance; where they overlap, minus the least push that separates them.
    """
    (length, width), (other_length, other_width) = half_size, other_half_size
    q, p = np.abs(cos), np.abs(sin)
    dx2, dy2 = rotate_into_frame(dx, dy, cos, sin)
    along = np.abs(dx) - length - other_length * q - other_width * p
    across = np.abs(dy) - width - other_length * p - other_width * q
    along_other = np.abs(dx2) - other_length - length * q - width * p
    across_other = np.abs(dy2) - other_width - length * p - width * q
    return np.maximum(np.maximum(along, across), np.maximum(along_other, across_other))


def box_segment_gap(
    *, mx: Number, my: Number, ux: Number, uy: Number, half_length: Number, half_width: Number
) -> Float:
    """Separating-axis gap of a box and line segments: they touch exactly where it is at most zero.

    The third axis is the segment's normal, left unscaled: that part is an area [m^2], only its sign is meant.

    Args:
        mx: Midpoint of the segment, forward in the box's frame [m].
        my: Midpoint of the segment, to the left in the box's frame [m].
        ux: Half vector of the segment (from the midpoint to one end), forward [m].
        uy: Half vector of the segment, to the left [m].
        half_length: Of the box [m].
        half_width: Of the box [m].
    """
    along = np.abs(mx) - half_length - np.abs(ux)
    across = np.abs(my) - half_width - np.abs(uy)
    area = np.abs(cross(mx, my, ux, uy)) - half_length * np.abs(uy) - half_width * np.abs(ux)
    return np.maximum(np.maximum(along, across), area)


def closest_approach(dx: Number, dy: Number, ux: Number, uy: Number, *, horizon: float) -> tuple[Float, Float]:
    """Return when [s] and how near [m] two points come at constant velocities, within ``horizon`` seconds.

    Args:
        dx: Offset of the other point, x [m].
        dy: Offset of the other point, y [m].
        ux: Velocity of the other point relative to this one, x [m/s].
        uy: Velocity of the other point relative to this one, y [m/s].
        horizon: Longest time looked ahead [s].
    """
    time = np.clip(-(dx * ux + dy * uy) / (ux * ux + uy * uy + 1e-6), 0.0, horizon)
    return time, np.hypot(dx + ux * time, dy + uy * time)
