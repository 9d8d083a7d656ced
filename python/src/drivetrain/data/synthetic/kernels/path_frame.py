"""Vehicles in the frame of a path: arc length s, offset d to the left."""

from __future__ import annotations

import math

from drivetrain.data.synthetic.kernels.columns import ACTIVE, LENGTH, PH, PX, PY, REAR, WIDTH, H, V, X, Y
from drivetrain.sim.kernel_cache import jit

SIGHT = 110.0
"""Others farther away than this do not matter [m]."""


@jit
def wrap(angle):
    """Return the angle in [-pi, pi)."""
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


@jit
def value_at(path, s, column):
    """Return a column of a path, linear between its vertices."""
    k = min(max(int(s), 0), len(path) - 2)
    u = min(max(s - k, 0.0), 1.0)
    return path[k, column] * (1.0 - u) + path[k + 1, column] * u


@jit
def project(path, first, last, x, y):
    """Return s, d and the vertex nearest to a point, searching vertices first..last."""
    best, at = 1e18, first
    for k in range(first, last + 1, 4):
        q = (path[k, PX] - x) ** 2 + (path[k, PY] - y) ** 2
        if q < best:
            best, at = q, k
    for k in range(max(first, at - 3), min(last, at + 3) + 1):
        q = (path[k, PX] - x) ** 2 + (path[k, PY] - y) ** 2
        if q < best:
            best, at = q, k
    c, s = math.cos(path[at, PH]), math.sin(path[at, PH])
    dx, dy = x - path[at, PX], y - path[at, PY]
    return at + dx * c + dy * s, dy * c - dx * s, at


@jit
def see(t, i, path, where, frenet):
    """Fill ``frenet`` [A, 6] for all others: s, d, speed along, half size along and across, whether it is seen."""
    first, last = max(0, where - 25), min(len(path) - 1, where + 115)
    for j in range(len(t.st)):
        frenet[j, 5] = 0.0
        if j == i or t.st[j, ACTIVE] == 0.0:
            continue
        x = t.st[j, X] + t.par[j, REAR] * math.cos(t.st[j, H])
        y = t.st[j, Y] + t.par[j, REAR] * math.sin(t.st[j, H])
        if (x - t.st[i, X]) ** 2 + (y - t.st[i, Y]) ** 2 > SIGHT * SIGHT:
            continue
        s, d, k = project(path, first, last, x, y)
        if abs(d) > 14.0:
            continue
        angle = t.st[j, H] - path[k, PH]
        c, n = abs(math.cos(angle)), abs(math.sin(angle))
        frenet[j, 0], frenet[j, 1], frenet[j, 2] = s, d, t.st[j, V] * math.cos(angle)
        frenet[j, 3] = 0.5 * (c * t.par[j, LENGTH] + n * t.par[j, WIDTH])
        frenet[j, 4] = 0.5 * (n * t.par[j, LENGTH] + c * t.par[j, WIDTH])
        frenet[j, 5] = 1.0
