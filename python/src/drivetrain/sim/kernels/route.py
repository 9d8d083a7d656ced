"""Where an agent is on its route (docs/simulator.md, 'Route and progress')."""

from __future__ import annotations

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.kernels.tables import WAY_COS, WAY_SIN


@jit
def project(xy, way, first, count, low, high, x, y):
    """Project (x, y) on points ``first..first + count``, searching [low, high]: (index, arc length, lateral offset)."""
    low = max(low, 0)
    high = min(high, count - 1)
    best = low
    best_d = 1e30
    for i in range(low, high + 1):
        dx = x - xy[first + i, 0]
        dy = y - xy[first + i, 1]
        d2 = dx * dx + dy * dy
        if d2 < best_d:
            best_d = d2
            best = i
    k = first + best
    dx = x - xy[k, 0]
    dy = y - xy[k, 1]
    along = dx * way[k, WAY_COS] + dy * way[k, WAY_SIN]
    along = min(max(along, -1.0), 1.0)
    return best, best + along, way[k, WAY_COS] * dy - way[k, WAY_SIN] * dx
