"""Plane curves that roads are drawn with: arcs, joins, parallel lines, resampling. Polylines are float64 [n, 2]."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Polyline = NDArray[np.float64]


def wrap(angle: float) -> float:
    """Return the angle in [-pi, pi)."""
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


def unit(heading: float) -> NDArray[np.float64]:
    """Return the unit vector of a heading [rad]."""
    return np.array([math.cos(heading), math.sin(heading)])


def arc_lengths(line: Polyline) -> NDArray[np.float64]:
    """Return the distance of each vertex from the first along the line [m], shape [n]."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    return np.concatenate([[0.0], np.cumsum(steps)])


def headings(line: Polyline) -> NDArray[np.float64]:
    """Return the unwrapped tangent heading at each vertex [rad], shape [n]; end tangents are one-sided."""
    edge = np.diff(line, axis=0)
    length = np.hypot(edge[:, 0], edge[:, 1])[:, None]
    direction = edge / length
    tangent = np.vstack([direction[:1], direction[:-1] + direction[1:], direction[-1:]])
    return np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))


def resample(line: Polyline, step: float) -> Polyline:
    """Return the line with equally spaced vertices at most ``step`` [m] apart; both ends are kept exactly."""
    s = arc_lengths(line)
    count = max(1, math.ceil(s[-1] / step - 1e-9))
    at = np.linspace(0.0, s[-1], count + 1)
    out = np.column_stack([np.interp(at, s, line[:, 0]), np.interp(at, s, line[:, 1])])
    out[0], out[-1] = line[0], line[-1]
    return out


def parallel(line: Polyline, offset: float, tangents: NDArray[np.float64] | None = None) -> Polyline:
    """Return the line moved to its left by ``offset`` [m] (right where negative)."""
    angle = headings(line) if tangents is None else tangents
    return line + offset * np.column_stack([-np.sin(angle), np.cos(angle)])


def bent_line(
    start: NDArray[np.float64], heading: float, pieces: list[tuple[float, float]], step: float = 2.0
) -> tuple[Polyline, NDArray[np.float64]]:
    """Return a line of constant-curvature pieces and its exact tangents [rad].

    Args:
        start: First vertex [m], shape [2].
        heading: First tangent [rad].
        pieces: (length [m], curvature [1/m]) one after another.
        step: Largest distance between vertices [m].
    """
    points, angles = [np.asarray(start, dtype=np.float64)[None]], [np.array([heading])]
    for length, curvature in pieces:
        count = max(1, math.ceil(length / step))
        s = np.linspace(0.0, length, count + 1)[1:]
        base, h0 = points[-1][-1], float(angles[-1][-1])
        h = h0 + curvature * s
        # Chord form: stable for any curvature, exact for an arc.
        chord = s * np.sinc(curvature * s / (2.0 * math.pi))
        mid = h0 + 0.5 * curvature * s
        points.append(base + np.column_stack([chord * np.cos(mid), chord * np.sin(mid)]))
        angles.append(h)
    return np.vstack(points), np.concatenate(angles)


def bezier(p0: NDArray[np.float64], h0: float, p1: NDArray[np.float64], h1: float, handle: float = 0.4) -> Polyline:
    """Return a cubic from pose to pose; ``handle`` is the length of both handles as a share of the chord."""
    reach = handle * float(np.hypot(*(p1 - p0)))
    a, b = p0 + reach * unit(h0), p1 - reach * unit(h1)
    t = np.linspace(0.0, 1.0, max(8, int(reach / handle)) + 1)[:, None]
    line = (1 - t) ** 3 * p0 + 3 * (1 - t) ** 2 * t * a + 3 * (1 - t) * t**2 * b + t**3 * p1
    line[0], line[-1] = p0, p1
    return line


def join(p0: NDArray[np.float64], h0: float, p1: NDArray[np.float64], h1: float, step: float = 1.0) -> Polyline:
    """Return a smooth line from pose to pose: straight, circular arc, straight; a cubic where no arc fits."""
    turn = wrap(h1 - h0)
    u0, u1, gap = unit(h0), unit(h1), p1 - p0
    if abs(turn) > 0.12 and abs(turn) < 2.8:
        cross = u0[0] * u1[1] - u0[1] * u1[0]
        t0 = (gap[0] * u1[1] - gap[1] * u1[0]) / cross
        t1 = (u0[0] * gap[1] - u0[1] * gap[0]) / cross
        if t0 > 1e-6 and t1 > 1e-6:
            t = min(t0, t1)
            radius = t / math.tan(abs(turn) / 2.0)
            pieces = [(t0 - t, 0.0), (radius * abs(turn), math.copysign(1.0 / radius, turn)), (t1 - t, 0.0)]
            line, _ = bent_line(p0, h0, [p for p in pieces if p[0] > 1e-9], step)
            line[-1] = p1
            return resample(line, step)
    return resample(bezier(p0, h0, p1, h1), step)
