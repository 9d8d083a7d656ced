"""Where an agent is on its route (docs/simulator.md, 'Route and progress')."""

from __future__ import annotations

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.lanes import LANES, floats, load, numbers, select, where_least
from drivetrain.sim.kernels.tables import LINE_COS, LINE_SIN

FAR = 1e30


@kernel(inline=True)
def nearest_point(line, first, count, low, high, x, y):
    """Return the lowest index of least distance to (x, y) in [low, high], clamped to the line."""
    low = max(low, 0)
    high = min(high, count - 1)
    best, least = numbers(low), floats(FAR)
    for i in range(low, high + 1, LANES):
        dx = load(line, first + i) - x
        dy = load(line, first + count + i) - y
        squared = dx * dx + dy * dy
        number = numbers(i)
        is_better = (squared < least) & (number <= high)
        least = select(is_better, squared, least)
        best = select(is_better, number, best)
    return where_least(least, best)


@kernel(inline=True)
def place(line, first, count, index, x, y):
    """Return (arc length, lateral offset) of a point beside the point ``index`` of a line."""
    k = first + index
    dx = x - line[k]
    dy = y - line[k + count]
    c, s = line[k + LINE_COS * count], line[k + LINE_SIN * count]
    along = min(max(dx * c + dy * s, -1.0), 1.0)
    return index + along, c * dy - s * dx


@kernel(inline=True)
def project(line, first, count, low, high, x, y):
    """Project (x, y) on the line of ``count`` points whose rows begin at ``first``, searching [low, high].

    Returns (index, arc length, lateral offset).
    """
    index = nearest_point(line, first, count, low, high, x, y)
    arc, offset = place(line, first, count, index, x, y)
    return index, arc, offset
