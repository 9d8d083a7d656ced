"""Shapes as sets of polygons, compiled: strips along polylines, whether polygons meet, how far apart they lie.

A strip is what a round-jointed buffer of a polyline covers: a rectangle for every stretch and, on the outside of every
bend, a wedge between two of them. Numba infers types.
"""

# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

import math

from drivetrain.sim.kernel_cache import kernel

_SHORTEST = 1e-9
"""A stretch shorter than this has no direction [m]."""
_FLATTEST = 1e-6
"""A bend of less than this opens no wedge worth filling [rad]."""


@kernel
def bound(polygon, box):
    """Write the lower and upper corner of what encloses a polygon [P, 2] into ``box`` [4]."""
    box[0], box[1], box[2], box[3] = math.inf, math.inf, -math.inf, -math.inf
    for i in range(len(polygon)):
        x, y = polygon[i, 0], polygon[i, 1]
        box[0], box[1], box[2], box[3] = min(box[0], x), min(box[1], y), max(box[2], x), max(box[3], y)


@kernel
def enclose(boxes, count, box):
    """Write what encloses the first ``count`` boxes [., 4] into ``box`` [4]."""
    box[0], box[1], box[2], box[3] = math.inf, math.inf, -math.inf, -math.inf
    for i in range(count):
        box[0], box[1] = min(box[0], boxes[i, 0]), min(box[1], boxes[i, 1])
        box[2], box[3] = max(box[2], boxes[i, 2]), max(box[3], boxes[i, 3])


@kernel(inline=True)
def boxes_gap_squared(a, b):
    """Return the squared distance of two axis-parallel boxes [4]; 0 where they touch."""
    dx = max(a[0] - b[2], b[0] - a[2], 0.0)
    dy = max(a[1] - b[3], b[1] - a[3], 0.0)
    return dx * dx + dy * dy


@kernel
def write_box(x, y, heading, length, width, polygon):
    """Write the corners of a box, front left first, counter-clockwise, into ``polygon`` [4, 2]."""
    c, s = math.cos(heading), math.sin(heading)
    for i in range(4):
        ahead = 0.5 * length if i in (0, 3) else -0.5 * length
        left = 0.5 * width if i < 2 else -0.5 * width
        polygon[i, 0], polygon[i, 1] = x + ahead * c - left * s, y + ahead * s + left * c


@kernel
def write_strip(points, count, half_width, lengthen, parts, boxes):
    """Write the strip along a polyline as quadrilaterals [., 4, 2] with their boxes; return how many.

    Args:
        points: The polyline, the first ``count`` of [., 2].
        count: Number of its points.
        half_width: [m].
        lengthen: How far it is drawn out at both ends [m].
        parts: Room for two quadrilaterals per point.
        boxes: As many.
    """
    n = 0
    before_x, before_y = 0.0, 0.0
    last = count - 1
    while last > 0 and math.hypot(points[last, 0] - points[last - 1, 0], points[last, 1] - points[last - 1, 1]) <= (
        _SHORTEST
    ):
        last -= 1
    for i in range(last):
        ux, uy = points[i + 1, 0] - points[i, 0], points[i + 1, 1] - points[i, 1]
        length = math.hypot(ux, uy)
        if length <= _SHORTEST:
            continue
        ux, uy = ux / length, uy / length
        if n > 0:
            turn = before_x * uy - before_y * ux
            if abs(turn) > _FLATTEST:
                side = -half_width if turn > 0.0 else half_width
                px, py = points[i, 0], points[i, 1]
                mx, my = -(before_y + uy), before_x + ux
                norm = math.hypot(mx, my)
                wedge = parts[n]
                wedge[0, 0], wedge[0, 1] = px, py
                wedge[1, 0], wedge[1, 1] = px - side * before_y, py + side * before_x
                wedge[3, 0], wedge[3, 1] = px - side * uy, py + side * ux
                if norm > _SHORTEST:
                    wedge[2, 0], wedge[2, 1] = px + side * mx / norm, py + side * my / norm
                else:
                    wedge[2, 0], wedge[2, 1] = wedge[3, 0], wedge[3, 1]
                bound(wedge, boxes[n])
                n += 1
        back = lengthen if n == 0 else 0.0
        on = lengthen if i == last - 1 else 0.0
        ax, ay = points[i, 0] - back * ux, points[i, 1] - back * uy
        bx, by = points[i + 1, 0] + on * ux, points[i + 1, 1] + on * uy
        part = parts[n]
        part[0, 0], part[0, 1] = ax - half_width * uy, ay + half_width * ux
        part[1, 0], part[1, 1] = ax + half_width * uy, ay - half_width * ux
        part[2, 0], part[2, 1] = bx + half_width * uy, by - half_width * ux
        part[3, 0], part[3, 1] = bx - half_width * uy, by + half_width * ux
        bound(part, boxes[n])
        n += 1
        before_x, before_y = ux, uy
    return n


@kernel(inline=True)
def _point_stretch_squared(px, py, ax, ay, ux, uy, squared):
    share = 0.0
    if squared > 0.0:
        share = min(max(((px - ax) * ux + (py - ay) * uy) / squared, 0.0), 1.0)
    dx, dy = px - ax - share * ux, py - ay - share * uy
    return dx * dx + dy * dy


@kernel
def _stretches_squared(ax, ay, bx, by, cx, cy, dx, dy):
    """Return the squared distance of two stretches; 0 where they cross."""
    ux, uy, vx, vy = bx - ax, by - ay, dx - cx, dy - cy
    left_c = ux * (cy - ay) - uy * (cx - ax)
    left_d = ux * (dy - ay) - uy * (dx - ax)
    left_a = vx * (ay - cy) - vy * (ax - cx)
    left_b = vx * (by - cy) - vy * (bx - cx)
    if left_c * left_d < 0.0 and left_a * left_b < 0.0:
        return 0.0
    uu, vv = ux * ux + uy * uy, vx * vx + vy * vy
    return min(
        min(_point_stretch_squared(cx, cy, ax, ay, ux, uy, uu), _point_stretch_squared(dx, dy, ax, ay, ux, uy, uu)),
        min(_point_stretch_squared(ax, ay, cx, cy, vx, vy, vv), _point_stretch_squared(bx, by, cx, cy, vx, vy, vv)),
    )


@kernel
def _holds(polygon, x, y):
    inside = False
    before = len(polygon) - 1
    for i in range(len(polygon)):
        xi, yi, xj, yj = polygon[i, 0], polygon[i, 1], polygon[before, 0], polygon[before, 1]
        if (yi > y) != (yj > y) and x < (xj - xi) * (y - yi) / (yj - yi) + xi:
            inside = not inside
        before = i
    return inside


@kernel
def polygons_gap_squared(first, second):
    """Return the squared distance of two polygons [., 2], open rings; 0 where they meet."""
    if _holds(first, second[0, 0], second[0, 1]) or _holds(second, first[0, 0], first[0, 1]):
        return 0.0
    least = math.inf
    i0 = len(first) - 1
    for i in range(len(first)):
        j0 = len(second) - 1
        for j in range(len(second)):
            least = min(
                least,
                _stretches_squared(
                    first[i0, 0], first[i0, 1], first[i, 0], first[i, 1],
                    second[j0, 0], second[j0, 1], second[j, 0], second[j, 1],
                ),
            )  # fmt: skip
            if least == 0.0:
                return 0.0
            j0 = j
        i0 = i
    return least


@kernel
def meets(parts, boxes, count, polygon, box):
    """Return whether any of ``count`` polygons meets a polygon."""
    for i in range(count):
        if boxes_gap_squared(boxes[i], box) == 0.0 and polygons_gap_squared(parts[i], polygon) == 0.0:
            return True
    return False


@kernel
def gap_squared(parts, boxes, count, polygon, box, least):
    """Return the squared distance of a polygon from ``count`` others, or ``least`` if that is smaller."""
    for i in range(count):
        if boxes_gap_squared(boxes[i], box) < least:
            least = min(least, polygons_gap_squared(parts[i], polygon))
    return least
