"""Where an agent is on its route (docs/simulator.md, 'Route and progress')."""

from __future__ import annotations

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.kernels.tables import POINT_COS, POINT_SIN, POINT_X, POINT_Y


@jit
def project(points, first, count, low, high, x, y):
    """Project (x, y) on points ``first..first + count``, searching [low, high]: (index, arc length, lateral offset)."""
    low = max(low, 0)
    high = min(high, count - 1)
    best = low
    best_d = 1e30
    for i in range(low, high + 1):
        dx = x - points[first + i, POINT_X]
        dy = y - points[first + i, POINT_Y]
        d2 = dx * dx + dy * dy
        if d2 < best_d:
            best_d = d2
            best = i
    k = first + best
    dx = x - points[k, POINT_X]
    dy = y - points[k, POINT_Y]
    along = dx * points[k, POINT_COS] + dy * points[k, POINT_SIN]
    along = min(max(along, -1.0), 1.0)
    return best, best + along, points[k, POINT_COS] * dy - points[k, POINT_SIN] * dx
