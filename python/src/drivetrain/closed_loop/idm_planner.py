"""nuPlan's IDMPlanner: along the route's centre lines, with the speed of the Intelligent Driver Model.

Source: nuplan-devkit, ``planner/idm_planner.py``, ``planner/abstract_idm_planner.py``.
"""

# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import shapely

from drivetrain.closed_loop.intelligent_driver import DriverConstants, acceleration
from drivetrain.closed_loop.lane_arrays import lane_arrays
from drivetrain.closed_loop.moment import EgoMoment, Moment
from drivetrain.closed_loop.path_kernels import measure_path, path_at, poses_between
from drivetrain.closed_loop.route_plan import lanes_of_route, plan_lanes
from drivetrain.closed_loop.shape_kernels import (
    bound,
    boxes_gap_squared,
    enclose,
    meets,
    polygons_gap_squared,
    write_box,
    write_strip,
)
from drivetrain.errors import DataError
from drivetrain.metrics.line_kernels import arc_lengths
from drivetrain.metrics.map_index import MapIndex, index_of
from drivetrain.planners.tracker import resample
from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.scenario import AgentType, Float64, Int64, LightState, Scenario

CONSTANTS = DriverConstants(max_deceleration=3.0)
_SAMPLES = 16
_SAMPLE_S = 0.5
_RADIUS_M = 40.0
_MOVING_TYPES = (AgentType.VEHICLE, AgentType.PEDESTRIAN, AgentType.BICYCLE)


def idm_planner(scenario: Scenario) -> IdmPlan:
    """Return IDMPlanner for a scenario."""
    return IdmPlan(scenario)


class Surroundings(NamedTuple):
    """What may be ahead: boxes near the ego and areas closed by a red light. S of them."""

    ring_start: Int64
    """First vertex of each, shape [S + 1]."""
    ring: Float64
    """Open rings, shape [., 2]."""
    speed: Float64
    """0 for what stands still by its kind [m/s], shape [S]."""
    heading: Float64
    """[rad], shape [S]; meaningless where the speed is 0."""


class IdmPlan:
    """IDMPlanner at work in one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        """Look up the route; the path is found in the first frame."""
        self._index = index_of(scenario.map)
        self._route = scenario.route.tolist()
        self._lights = _route_lights(self._index, self._route, scenario)
        self._path: Float64 | None = None
        self._line = np.zeros((0, 2))
        self._target_speed = 0.0

    def __call__(self, moment: Moment) -> Float64:
        """Return rear-axle poses every 0.1 s for 8 s, shape [81, 3]."""
        if self._path is None:
            self._path = self._begin(moment.ego)
        ego = moment.ego
        centres = np.empty((_SAMPLES + 1, 3))
        vehicle = ego.vehicle
        arc_lengths(self._line, ego.centre[None], progress := np.empty(1))
        drive_along(
            self._path, progress[0], float(ego.velocity[0]), self._target_speed, np.append(ego.centre, ego.pose[2]),
            self._surroundings(moment), vehicle.length, vehicle.width, CONSTANTS, centres,
        )  # fmt: skip
        back = vehicle.rear_axle_to_center * np.column_stack([np.cos(centres[:, 2]), np.sin(centres[:, 2])])
        centres[:, :2] -= back
        return resample(centres, _SAMPLE_S * np.arange(_SAMPLES + 1, dtype=np.float64))

    def _begin(self, ego: EgoMoment) -> Float64:
        """Find the way along the route; returns the path."""
        footprint = np.empty((4, 2))
        write_box(*ego.centre, ego.pose[2], ego.vehicle.length, ego.vehicle.width, footprint)
        rows = plan_lanes(self._index, self._route, ego.centre, footprint)
        lanes = lane_arrays(self._index.map)
        limit, speed = float(lanes.limit[rows[0]]), float(np.hypot(*ego.velocity))
        self._target_speed = max(limit or CONSTANTS.target_speed, speed)
        poses = np.concatenate([lanes.pose[lanes.start[row] : lanes.start[row + 1]] for row in rows])
        self._line = np.ascontiguousarray(poses[:, :2])
        path = np.empty((len(poses), 4))
        count = measure_path(poses, len(poses), path)
        if count < 2:
            raise DataError("the lanes of the route have no length")
        return path[:count].copy()

    def _surroundings(self, moment: Moment) -> Surroundings:
        objects = moment.objects
        near = np.flatnonzero(np.hypot(*(objects.position - moment.ego.centre).T) < _RADIUS_M)
        moving = np.isin(objects.type[near], _MOVING_TYPES)
        red = [ring for light, ring in self._lights if moment.light_state[light] == LightState.RED]
        still, corners = np.zeros(len(red)), 4 * np.arange(len(near) + 1)
        return Surroundings(
            ring_start=np.append(corners, corners[-1] + np.cumsum([len(ring) for ring in red], dtype=np.int64)),
            ring=np.concatenate([objects.corners[near].reshape(-1, 2), *red]),
            speed=np.append(np.where(moving, np.hypot(*objects.velocity[near].T), 0.0), still),
            heading=np.append(objects.heading[near], still),
        )


@jit
def drive_along(path, progress, speed, target_speed, pose, around, length, width, driver, out):
    """Write the poses of the box centre on the path, half a second apart, into ``out`` [17, 3].

    At each of them the corridor ahead and the box are looked at anew; the others stay where they are.
    """
    count, start, end = len(path), path[0, 0], path[len(path) - 1, 0]
    ahead, reach = np.empty((count + 2, 3)), target_speed * _SAMPLES * _SAMPLE_S
    parts, boxes = np.empty((2 * count + 8, 4, 2)), np.empty((2 * count + 8, 4))
    corridor, box = np.empty(4), np.empty(4)
    path_at(path, count, max(start, min(progress, end)), out[0])
    for sample in range(1, _SAMPLES + 1):
        from_s, to_s = max(start, min(progress, end)), max(start, min(progress + reach, end))
        n = write_strip(ahead, poses_between(path, count, from_s, to_s, ahead), 0.5 * width, 0.5 * width, parts, boxes)
        write_box(pose[0], pose[1], pose[2], length, width, parts[n])
        bound(parts[n], boxes[n])
        enclose(boxes, n + 1, corridor)
        least, middle, gap, lead_speed = math.inf, math.inf, end - progress - 0.5 * length, 0.0
        for j in range(len(around.speed)):
            ring = around.ring[around.ring_start[j] : around.ring_start[j + 1]]
            bound(ring, box)
            if boxes_gap_squared(corridor, box) > 0.0 or not meets(parts, boxes, n + 1, ring, box):
                continue
            squared = polygons_gap_squared(parts[n], ring)
            if squared < least or (squared == least and box[1] + box[3] < middle):
                least, middle, gap = squared, box[1] + box[3], math.sqrt(squared)
                lead_speed = around.speed[j] * math.cos(around.heading[j] - pose[2])
        change = acceleration(speed, target_speed, gap, lead_speed, driver)
        progress += _SAMPLE_S * speed
        speed = max(speed + _SAMPLE_S * change, 0.0)
        path_at(path, count, max(start, min(progress, end)), out[sample])
        pose = out[sample]


def _route_lights(index: MapIndex, route: list[int], scenario: Scenario) -> list[tuple[int, Float64]]:
    """Return the lights of connectors whose id is on the route, each with the area it closes as open rings."""
    allowed = {index.fid[row] for row in lanes_of_route(index, route)}
    return [
        (light, shapely.get_coordinates(part.exterior)[:-1])
        for light, row in enumerate(scenario.lights.lane.tolist())
        if index.fid[row] in allowed and (area := index.area(row)) is not None
        for part in shapely.get_parts(area)
    ]
