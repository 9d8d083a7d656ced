"""nuPlan's IDMPlanner: along the route's centre lines, with the speed of the Intelligent Driver Model.

Source: nuplan-devkit, ``planner/idm_planner.py``, ``planner/abstract_idm_planner.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from drivetrain.closed_loop.intelligent_driver import DriverConstants
from drivetrain.closed_loop.lane_path import LanePath, centre_line_poses
from drivetrain.closed_loop.moment import EgoMoment, Moment, box_corners
from drivetrain.closed_loop.route_plan import lanes_of_route, plan_lanes
from drivetrain.errors import DataError
from drivetrain.metrics.map_index import MapIndex, index_of
from drivetrain.planners.tracker import resample
from drivetrain.sim.scenario import AgentType, Float64, LaneKind, LightState, Scenario

CONSTANTS = DriverConstants(max_deceleration=3.0)
_SAMPLES = 16
_SAMPLE_S = 0.5
_RADIUS_M = 40.0
_MOVING_TYPES = (AgentType.VEHICLE, AgentType.PEDESTRIAN, AgentType.BICYCLE)


def idm_planner(scenario: Scenario) -> IdmPlan:
    """Return IDMPlanner for a scenario."""
    return IdmPlan(scenario)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Surroundings:
    """What may be ahead: boxes near the ego and areas closed by a red light."""

    shapes: np.ndarray
    speed: Float64
    """0 for what stands still by its kind [m/s]."""
    heading: Float64
    """[rad]; meaningless where the speed is 0."""


class IdmPlan:
    """IDMPlanner at work in one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        """Look up the route; the path is found in the first frame."""
        self._index = index_of(scenario.map)
        self._route = scenario.route.tolist()
        self._lights = _route_lights(self._index, self._route, scenario)
        self._path: LanePath | None = None
        self._line = shapely.LineString()
        self._target_speed = 0.0

    def __call__(self, moment: Moment) -> Float64:
        """Return rear-axle poses every 0.1 s for 8 s, shape [81, 3]."""
        if self._path is None:
            self._path = self._begin(moment.ego)
        path, ego = self._path, moment.ego
        around = self._surroundings(moment)
        progress = float(shapely.line_locate_point(self._line, shapely.Point(*ego.centre)))
        speed = float(ego.velocity[0])
        centre, heading = ego.centre, float(ego.pose[2])
        poses = [path.at(path.clamp(progress))]
        for _ in range(_SAMPLES):
            gap, lead_speed = self._leader(path, progress, centre, heading, around, ego)
            acceleration = CONSTANTS.acceleration(speed, self._target_speed, gap, lead_speed)
            progress, speed = progress + _SAMPLE_S * speed, max(speed + _SAMPLE_S * acceleration, 0.0)
            poses.append(path.at(path.clamp(progress)))
            centre, heading = poses[-1][:2], float(poses[-1][2])
        centres = np.array(poses)
        back = ego.vehicle.rear_axle_to_center * np.column_stack([np.cos(centres[:, 2]), np.sin(centres[:, 2])])
        centres[:, :2] -= back
        return resample(centres, _SAMPLE_S * np.arange(_SAMPLES + 1))

    def _begin(self, ego: EgoMoment) -> LanePath:
        footprint = _footprint(ego, ego.centre, float(ego.pose[2]))
        lanes = plan_lanes(self._index, self._route, ego.centre, footprint)
        table = self._index.map.lanes
        speed = float(np.hypot(*ego.velocity))
        known = bool(table.speed_limit_known[lanes[0]])
        self._target_speed = max(float(table.speed_limit[lanes[0]]) if known else CONSTANTS.target_speed, speed)
        poses = np.concatenate([centre_line_poses(table.baseline[row]) for row in lanes])
        self._line = shapely.LineString(poses[:, :2])
        path = LanePath.through(poses)
        if path is None:
            raise DataError("the lanes of the route have no length")
        return path

    def _surroundings(self, moment: Moment) -> _Surroundings:
        objects = moment.objects
        near = np.flatnonzero(np.hypot(*(objects.position - moment.ego.centre).T) < _RADIUS_M)
        moving = np.isin(objects.type[near], _MOVING_TYPES)
        red = [area for light, area in self._lights if moment.light_state[light] == LightState.RED]
        still = np.zeros(len(red))
        return _Surroundings(
            shapes=np.array([*shapely.polygons(objects.corners[near]), *red], dtype=object),
            speed=np.append(np.where(moving, np.hypot(*objects.velocity[near].T), 0.0), still),
            heading=np.append(objects.heading[near], still),
        )

    def _leader(
        self, path: LanePath, progress: float, centre: Float64, heading: float, around: _Surroundings, ego: EgoMoment
    ) -> tuple[float, float]:
        """Return the gap to what is ahead [m] and its speed along the ego's heading [m/s]."""
        box = shapely.Polygon(_footprint(ego, centre, heading))
        ahead = path.between(path.clamp(progress), path.clamp(progress + self._target_speed * _SAMPLES * _SAMPLE_S))
        corridor = shapely.LineString(ahead[:, :2]).buffer(ego.vehicle.width / 2, cap_style="square")
        met = np.flatnonzero(shapely.intersects(around.shapes, corridor) | shapely.intersects(around.shapes, box))
        if not len(met):
            return path.end - progress - ego.vehicle.length / 2, 0.0
        distance = shapely.distance(around.shapes[met], box)
        nearest = int(met[np.argmin(distance)])
        return float(distance.min()), float(around.speed[nearest] * np.cos(around.heading[nearest] - heading))


def _route_lights(index: MapIndex, route: list[int], scenario: Scenario) -> list[tuple[int, object]]:
    """Return the lights of connectors whose id is on the route, each with the area it closes."""
    allowed = {index.fid[row] for row in lanes_of_route(index, route)}
    found = []
    for light, row in enumerate(scenario.lights.lane.tolist()):
        area = index.area(row)
        if index.fid[row] in allowed and area is not None and scenario.map.lanes.kind[row] == LaneKind.CONNECTOR:
            found.append((light, area))
    return found


def _footprint(ego: EgoMoment, centre: Float64, heading: float) -> Float64:
    size = np.array([[ego.vehicle.length, ego.vehicle.width]])
    return box_corners(centre[None], np.array([heading]), size)[0]
