"""Paths along lane centre lines as nuPlan's IDM follows them, compiled. P vertices.

Two habits of the reference shape what its vehicles do and are kept: a path that is put together loses its last vertex,
and a vertex that its successor repeats is left out. The heading of a vertex is that of the stretch that begins there;
between vertices it is interpolated. A path is an array [P, 4]: arc length [m], x, y [m], heading [rad].
Source: nuplan-devkit, ``observation/idm/utils.py``, ``path/utils.py``, ``path/interpolated_path.py``.
"""

# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

import math

from drivetrain.sim.kernel_cache import kernel

_SAME_POINT_M = 1e-8


@kernel(inline=True)
def _turned(first, second, share):
    """Return the heading a share of the way from one to another, in [-pi, pi)."""
    turn = (second - first + math.pi) % (2.0 * math.pi) - math.pi
    return (first + share * turn + math.pi) % (2.0 * math.pi) - math.pi


@kernel(inline=True)
def copy_pose(source, first, target, start):
    """Copy a pose from ``source[first:]`` to ``target[start:]``."""
    for k in range(3):
        target[start + k] = source[first + k]


@kernel
def path_at(path, count, progress, out):
    """Write x, y, heading at an arc length on a path into ``out`` [3]."""
    after = 1
    while after < count - 1 and path[after, 0] < progress:
        after += 1
    before = after - 1
    share = (progress - path[before, 0]) / (path[after, 0] - path[before, 0])
    share = min(max(share, 0.0), 1.0)
    out[0] = path[before, 1] + share * (path[after, 1] - path[before, 1])
    out[1] = path[before, 2] + share * (path[after, 2] - path[before, 2])
    out[2] = _turned(path[before, 3], path[after, 3], share)


@kernel(inline=True)
def clamped(path, count, progress):
    """Return the nearest arc length that lies on a path."""
    return max(path[0, 0], min(progress, path[count - 1, 0]))


@kernel
def poses_between(path, count, start, end, out):
    """Write the poses from one arc length to another (infinity: the end) into ``out``; return how many."""
    after = 0
    while after < count and path[after, 0] <= start:
        after += 1
    if after == count:
        copy_pose(path[count - 2], 1, out[0], 0)
        copy_pose(path[count - 1], 1, out[1], 0)
        return 2
    if end <= path[0, 0]:
        copy_pose(path[0], 1, out[0], 0)
        copy_pose(path[1], 1, out[1], 0)
        return 2
    path_at(path, count, start, out[0])
    n = 1
    while after < count and path[after, 0] < end:
        copy_pose(path[after], 1, out[n], 0)
        after += 1
        n += 1
    if end < math.inf:
        path_at(path, count, end, out[n])
        n += 1
    return n


@kernel
def measure_path(poses, count, path):
    """Write the path through ``count`` poses: without the last one, nor any that its successor repeats.

    Returns the number of vertices.
    """
    n, progress = 0, 0.0
    for i in range(count - 1):
        step = math.hypot(poses[i + 1, 0] - poses[i, 0], poses[i + 1, 1] - poses[i, 1])
        if step > _SAME_POINT_M:
            path[n, 0] = progress
            copy_pose(poses[i], 0, path[n], 1)
            n += 1
        progress += step
    return n
