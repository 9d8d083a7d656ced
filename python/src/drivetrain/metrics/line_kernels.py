"""Compiled loop over a polyline: how far along it the nearest place to a point lies. Numba infers types."""

# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import math

from drivetrain.sim.kernel_cache import kernel


@kernel
def arc_lengths(line, points, out):
    """Write for each point [N, 2] the arc length of the nearest place on a line [V, 2] into ``out`` [N].

    Of several places equally near the first counts; distances are computed as GEOS does, so that it sees the same
    ones as equal. A place before the line's start is exactly 0.
    """
    for n in range(len(points)):
        x, y = points[n, 0], points[n, 1]
        nearest, place, start = math.inf, 0.0, 0.0
        for v in range(len(line) - 1):
            ux, uy = line[v + 1, 0] - line[v, 0], line[v + 1, 1] - line[v, 1]
            dx, dy = x - line[v, 0], y - line[v, 1]
            squared = ux * ux + uy * uy
            length = math.sqrt(squared)
            share = (dx * ux + dy * uy) / squared if squared > 0.0 else 0.0
            if share <= 0.0:
                share, away = 0.0, math.sqrt(dx * dx + dy * dy)
            elif share >= 1.0:
                share, away = 1.0, math.sqrt((x - line[v + 1, 0]) ** 2 + (y - line[v + 1, 1]) ** 2)
            else:
                away = abs((dx * uy - dy * ux) / squared) * length
            if away < nearest:
                nearest, place = away, start + share * length
            start += length
        out[n] = place
