"""Where an agent is on its route (docs/simulator.md, 'Route and progress')."""

from __future__ import annotations

from drivetrain.sim.kernel_cache import jit


@jit
def project(xs, ys, cs, sn, first, end, low, high, x, y):
    """Project a point on route points ``first..end``, searching indices [low, high]: (index, arc length, offset)."""
    low = max(low, 0)
    high = min(high, end - first - 1)
    best = low
    best_d = 1e30
    for i in range(low, high + 1):
        dx = x - xs[first + i]
        dy = y - ys[first + i]
        d2 = dx * dx + dy * dy
        if d2 < best_d:
            best_d = d2
            best = i
    k = first + best
    dx = x - xs[k]
    dy = y - ys[k]
    along = dx * cs[k] + dy * sn[k]
    along = min(max(along, -1.0), 1.0)
    return best, best + along, cs[k] * dy - sn[k] * dx
