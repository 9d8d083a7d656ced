"""nuPlan's reactive vehicles of one scenario, moved one after another. Compiled; see ``reactive_traffic``.

V vehicles, P places for vertices of a path, Q places for parts of a shape, B boxes of others, R stop polygons.
"""

# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivetrain.closed_loop.intelligent_driver import DriverConstants, acceleration
from drivetrain.closed_loop.path_kernels import clamped, copy_pose, measure_path, path_at, poses_between
from drivetrain.closed_loop.shape_kernels import (
    bound,
    boxes_gap_squared,
    enclose,
    gap_squared,
    meets,
    write_box,
    write_strip,
)
from drivetrain.sim.kernel_cache import jit, kernel
from drivetrain.sim.scenario import LightState

MAX_SEGMENTS = 5
MIN_PATH_M = 20.0
RADIUS_M = 100.0
_GREEN, _RED = int(LightState.GREEN), int(LightState.RED)
FULL = -1
"""There was no room for a path or a shape."""


class Vehicles(NamedTuple):
    """The vehicles of a scenario."""

    alive: NDArray[np.bool_]
    """False once it was out of range, shape [V]."""
    size: NDArray[np.float64]
    """Length, width [m], shape [V, 2]."""
    progress: NDArray[np.float64]
    """Arc length of the centre on its path [m], shape [V]."""
    speed: NDArray[np.float64]
    """[m/s], shape [V]."""
    target_speed: NDArray[np.float64]
    """[m/s], shape [V]."""
    driver: NDArray[np.float64]
    """Headway [s], least gap [m], acceleration, braking [m/s^2], factor of target speeds, shape [V, 5]."""
    pose: NDArray[np.float64]
    """x, y [m], heading [rad] of the centre, shape [V, 3]."""
    route: NDArray[np.int64]
    """The last lane rows it entered or will enter, oldest first, shape [V, 5]."""
    route_length: NDArray[np.int64]
    """How many there are, shape [V]."""
    path: NDArray[np.float64]
    """Arc length [m], x, y [m], heading [rad] of each vertex, shape [V, P, 4]."""
    path_length: NDArray[np.int64]
    """Number of vertices, shape [V]."""
    parts: NDArray[np.float64]
    """Polygons that its shape consists of, shape [V, Q, 4, 2]."""
    part_boxes: NDArray[np.float64]
    """What encloses each of them, shape [V, Q, 4]."""
    num_parts: NDArray[np.int64]
    """shape [V]."""


class Around(NamedTuple):
    """What vehicles look at, beside each other."""

    boxes: NDArray[np.float64]
    """Corners of the ego and of replayed objects, the ego first, shape [B, 4, 2]."""
    ego_speed: float
    ego_heading: float
    light_fid: NDArray[np.int64]
    """Connector of each light by the source's id, shape [K]."""
    light_state: NDArray[np.uint8]
    """shape [K]."""
    stop_start: NDArray[np.int64]
    """First stop polygon of each light, shape [K + 1]."""
    ring_start: NDArray[np.int64]
    """First vertex of each stop polygon, shape [R + 1]."""
    ring: NDArray[np.float64]
    """Open rings, shape [., 2]."""


@kernel(inline=True)
def _is_open(lanes, row, around):
    state = -1
    for k in range(len(around.light_fid)):
        if around.light_fid[k] == lanes.fid[row]:
            state = int(around.light_state[k])
    return state == _GREEN if lanes.needs_green[row] else state != _RED


@kernel
def _extend(v, i, lanes, around, headway, poses):
    """Append lanes until the path is long enough; returns FULL where there is no room."""
    path = v.path[i]
    while path[v.path_length[i] - 1, 0] - v.progress[i] < MIN_PATH_M + v.target_speed[i] * headway:
        row = v.route[i, v.route_length[i] - 1]
        best, least = -1, math.inf
        for k in range(lanes.next_start[row], lanes.next_start[row + 1]):
            following = lanes.next[k]
            if _is_open(lanes, following, around) and (best < 0 or lanes.curvature[following] < least):
                best, least = following, lanes.curvature[following]
        if best < 0:
            return 0
        first, end = lanes.start[best], lanes.start[best + 1]
        count = v.path_length[i]
        if count + 1 + end - first > len(poses) or count + 1 + end - first > len(path):
            return FULL
        n = poses_between(path, count, clamped(path, count, v.progress[i]), math.inf, poses)
        for k in range(first, end):
            copy_pose(lanes.pose[k], 0, poses[n], 0)
            n += 1
        v.path_length[i] = measure_path(poses, n, path)
        v.progress[i] = 0.0
        if v.route_length[i] == MAX_SEGMENTS:
            for k in range(MAX_SEGMENTS - 1):
                v.route[i, k] = v.route[i, k + 1]
        else:
            v.route_length[i] += 1
        v.route[i, v.route_length[i] - 1] = best
    return 0


@kernel(inline=True)
def _is_nearer(squared, middle, least, least_middle):
    """Of several equally near shapes the reference's spatial index gives the southernmost."""
    return squared < least or (squared == least and middle < least_middle)


@kernel
def _leader(v, i, lanes, around, parts, boxes, count, corridor, box):
    """Return the squared gap to what is nearest among all that meets the corridor, and its speed along the heading.

    The gap is infinite where nothing does.
    """
    least, least_middle, speed = math.inf, math.inf, 0.0
    heading = v.pose[i, 2]
    enclose(boxes, count, corridor)
    for j in range(len(v.alive)):
        if j == i or not v.alive[j]:
            continue
        enclose(v.part_boxes[j], v.num_parts[j], box)
        if boxes_gap_squared(corridor, box) > 0.0:
            continue
        middle, met, squared = box[1] + box[3], False, math.inf
        for k in range(v.num_parts[j]):
            if not met and boxes_gap_squared(corridor, v.part_boxes[j, k]) == 0.0:
                met = meets(parts, boxes, count, v.parts[j, k], v.part_boxes[j, k])
        if not met:
            continue
        for k in range(v.num_parts[j]):
            squared = gap_squared(
                v.parts[i], v.part_boxes[i], v.num_parts[i], v.parts[j, k], v.part_boxes[j, k], squared
            )
        if _is_nearer(squared, middle, least, least_middle):
            least, least_middle, speed = squared, middle, v.speed[j] * math.cos(v.pose[j, 2] - heading)
    for j in range(len(around.boxes)):
        bound(around.boxes[j], box)
        if boxes_gap_squared(corridor, box) > 0.0 or not meets(parts, boxes, count, around.boxes[j], box):
            continue
        squared = gap_squared(v.parts[i], v.part_boxes[i], v.num_parts[i], around.boxes[j], box, math.inf)
        if _is_nearer(squared, box[1] + box[3], least, least_middle):
            least, least_middle = squared, box[1] + box[3]
            speed = around.ego_speed * math.cos(around.ego_heading - heading) if j == 0 else 0.0
    for k in range(len(around.light_fid)):
        if around.light_state[k] != _RED:
            continue
        concerned = False
        for r in range(v.route_length[i]):
            concerned = concerned or lanes.fid[v.route[i, r]] == around.light_fid[k]
        for q in range(around.stop_start[k], around.stop_start[k + 1]) if concerned else range(0):
            ring = around.ring[around.ring_start[q] : around.ring_start[q + 1]]
            bound(ring, box)
            if boxes_gap_squared(corridor, box) > 0.0 or not meets(parts, boxes, count, ring, box):
                continue
            squared = gap_squared(v.parts[i], v.part_boxes[i], v.num_parts[i], ring, box, math.inf)
            if _is_nearer(squared, box[1] + box[3], least, least_middle):
                least, least_middle, speed = squared, box[1] + box[3], 0.0
    return least, speed


@kernel
def _update_shape(v, i, headway, poses):
    """Move the pose to the progress and stretch the shape ahead by what the headway covers."""
    path, count = v.path[i], v.path_length[i]
    half = 0.5 * v.size[i, 0]
    path_at(path, count, clamped(path, count, v.progress[i]), v.pose[i])
    start = clamped(path, count, v.progress[i] - half)
    end = clamped(path, count, v.progress[i] + half + v.speed[i] * headway)
    n = poses_between(path, count, start, end, poses)
    n = write_strip(poses, n, 0.5 * v.size[i, 1], 0.0, v.parts[i], v.part_boxes[i])
    write_box(v.pose[i, 0], v.pose[i, 1], v.pose[i, 2], v.size[i, 0], v.size[i, 1], v.parts[i, n])
    bound(v.parts[i, n], v.part_boxes[i, n])
    v.num_parts[i] = n + 1


@jit
def move_vehicles(first, v, lanes, around, ego_x, ego_y, seconds):
    """Move vehicles from number ``first`` on; return the number of the one that lacks room, else how many there are."""
    if first == 0:
        for i in range(len(v.alive)):
            if math.hypot(v.pose[i, 0] - ego_x, v.pose[i, 1] - ego_y) > RADIUS_M:
                v.alive[i] = False
    places = v.path.shape[1] + 2
    poses, corridor, box = np.empty((places, 3)), np.empty(4), np.empty(4)
    parts, boxes = np.empty((2 * places, 4, 2)), np.empty((2 * places, 4))
    for i in range(first, len(v.alive)):
        if not v.alive[i]:
            continue
        headway, min_gap, max_acceleration, max_deceleration, speed_factor = v.driver[i]
        if _extend(v, i, lanes, around, headway, poses) == FULL or v.parts.shape[1] < 2 * v.path_length[i] + 3:
            return i
        path, count = v.path[i], v.path_length[i]
        n = poses_between(path, count, clamped(path, count, v.progress[i]), math.inf, poses)
        n = write_strip(poses, n, 0.5 * v.size[i, 1], 0.0, parts, boxes)
        squared, lead_speed = _leader(v, i, lanes, around, parts, boxes, n, corridor, box)
        gap = math.sqrt(squared)
        if squared == math.inf:
            gap, lead_speed = path[count - 1, 0] - v.progress[i] - 0.5 * v.size[i, 0], 0.0
        limit = lanes.limit[v.route[i, v.route_length[i] - 1]]
        if limit > 0.0:
            v.target_speed[i] = speed_factor * limit
        driver = DriverConstants(v.target_speed[i], min_gap, headway, max_acceleration, max_deceleration)
        change = acceleration(v.speed[i], v.target_speed[i], gap, lead_speed, driver)
        v.progress[i] += seconds * v.speed[i]
        v.speed[i] = max(v.speed[i] + seconds * change, 0.0)
        _update_shape(v, i, headway, poses)
    return len(v.alive)
