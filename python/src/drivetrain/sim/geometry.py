"""Plane geometry of driving as pure, broadcasting NumPy functions: angles, frames, oriented boxes, segments, polylines.

A *frame* is an origin with a heading: x points forward, y to the left. Everything is computed in the precision of
what is passed in; the readable simulator passes float64. Sign and box conventions stand in ``docs/simulator.md``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.floating]


def wrap_angle(angle: ArrayLike) -> Float:
    """Return the same direction in (-pi, pi]."""
    angle = np.asarray(angle)
    return angle - 2.0 * np.pi * np.ceil((angle - np.pi) / (2.0 * np.pi))


def rotate_into_frame(x: ArrayLike, y: ArrayLike, cos: ArrayLike, sin: ArrayLike) -> tuple[Float, Float]:
    """Express map-frame vectors in a frame whose heading has this cosine and sine (rotation by -heading)."""
    x, y, cos, sin = np.asarray(x), np.asarray(y), np.asarray(cos), np.asarray(sin)
    return x * cos + y * sin, y * cos - x * sin


def cross(ax: ArrayLike, ay: ArrayLike, bx: ArrayLike, by: ArrayLike) -> Float:
    """Return the z component of a x b: positive where b points to the left of a."""
    return np.asarray(ax) * np.asarray(by) - np.asarray(ay) * np.asarray(bx)


def box_box_gap(
    *,
    dx: ArrayLike,
    dy: ArrayLike,
    cos: ArrayLike,
    sin: ArrayLike,
    half_size: tuple[ArrayLike, ArrayLike],
    other_half_size: tuple[ArrayLike, ArrayLike],
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
        The largest signed distance over the four face normals. Where the boxes are apart it is a lower bound of
        their distance; where they overlap, minus the least push that separates them.
    """
    length, width = (np.asarray(size) for size in half_size)
    other_length, other_width = (np.asarray(size) for size in other_half_size)
    q, p = np.abs(cos), np.abs(sin)
    dx2, dy2 = rotate_into_frame(dx, dy, cos, sin)
    return np.maximum.reduce(
        np.broadcast_arrays(
            np.abs(dx) - length - other_length * q - other_width * p,
            np.abs(dy) - width - other_length * p - other_width * q,
            np.abs(dx2) - other_length - length * q - width * p,
            np.abs(dy2) - other_width - length * p - width * q,
        )
    )


def box_segment_gap(
    *, mx: ArrayLike, my: ArrayLike, ux: ArrayLike, uy: ArrayLike, half_length: ArrayLike, half_width: ArrayLike
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
    abs_ux, abs_uy = np.abs(ux), np.abs(uy)
    return np.maximum.reduce(
        np.broadcast_arrays(
            np.abs(mx) - half_length - abs_ux,
            np.abs(my) - half_width - abs_uy,
            np.abs(cross(mx, my, ux, uy)) - half_length * abs_uy - half_width * abs_ux,
        )
    )


def box_corners(*, x: float, y: float, heading: float, half_length: float, half_width: float) -> Float:
    """Corners of an oriented box in the map frame [m], counter-clockwise from the front left, shape [4, 2]."""
    forward = np.array([np.cos(heading), np.sin(heading)])
    left = np.array([-forward[1], forward[0]])
    signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return np.array([[x, y] + a * half_length * forward + b * half_width * left for a, b in signs])


def closest_approach(
    dx: ArrayLike, dy: ArrayLike, ux: ArrayLike, uy: ArrayLike, *, horizon: float
) -> tuple[Float, Float]:
    """Return when [s] and how near [m] two points come at constant velocities, within ``horizon`` seconds.

    Args:
        dx: Offset of the other point, x [m].
        dy: Offset of the other point, y [m].
        ux: Velocity of the other point relative to this one, x [m/s].
        uy: Velocity of the other point relative to this one, y [m/s].
        horizon: Longest time looked ahead [s].
    """
    dx, dy, ux, uy = np.asarray(dx), np.asarray(dy), np.asarray(ux), np.asarray(uy)
    time = np.clip(-(dx * ux + dy * uy) / (ux * ux + uy * uy + 1e-6), 0.0, horizon)
    return time, np.hypot(dx + ux * time, dy + uy * time)
