"""nuPlan's reactive traffic: vehicles that follow centre lines by the Intelligent Driver Model.

A vehicles that react.

What the reference does is kept, also where it is odd: vehicles exist only if they stand in a lane at the first frame
and fit there; cyclists vanish; a vehicle more than 100 m away is gone for good; a vehicle without a leader brakes for
the end of its path; a vehicle reaches 1.5 s ahead of itself, so that gaps are too short; vehicles move one after
another; only a green light opens a connector that lists a stop line.
Source: nuplan-devkit, ``observation/idm_agents.py``, ``observation/idm``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import shapely
from tests.closed_loop.lane_path import LanePath, centre_line_poses

from drivetrain.closed_loop.intelligent_driver import DriverConstants, acceleration
from drivetrain.closed_loop.lane_geometry import geometry_of
from drivetrain.closed_loop.moment import EgoMoment, Moment, ObservedObjects, box_corners
from drivetrain.sim.scenario import AgentType, Float64, LightState, Scenario

CONSTANTS = DriverConstants()
REPLAYED_TYPES = (
    *(AgentType.PEDESTRIAN, AgentType.BARRIER, AgentType.CZONE_SIGN, AgentType.TRAFFIC_CONE),
    AgentType.GENERIC_OBJECT,
)
_MIN_PATH_M = 20.0
_RADIUS_M = 100.0
_MAX_SEGMENTS = 5


@dataclass(kw_only=True, slots=True)
class _Vehicle:
    column: int
    size: Float64
    route: deque[int]
    path: LanePath
    progress: float
    speed: float
    target_speed: float
    pose: Float64
    shape: shapely.Geometry


class LiteralTraffic:
    """The objects of one scenario: vehicles that react, everything else but cyclists replayed."""

    def __init__(self, scenario: Scenario) -> None:
        """Put the vehicles of the first frame on their lanes."""
        self._scenario = scenario
        self._geometry = geometry_of(scenario.map)
        self._index = self._geometry.index
        types = scenario.agents.type
        self._replayed = np.flatnonzero(np.isin(types, REPLAYED_TYPES))
        self._frame = 0
        self._vehicles: list[_Vehicle] = []
        self._settle()

    def objects(self) -> ObservedObjects:
        """Return who is present now."""
        vehicles, agents = self._vehicles, self._scenario.agents
        columns = np.array([v.column for v in vehicles], dtype=np.int64)
        pose = np.array([v.pose for v in vehicles]).reshape(len(vehicles), 3)
        speed = np.array([v.speed for v in vehicles])
        direction = np.column_stack([np.cos(pose[:, 2]), np.sin(pose[:, 2])])
        moving = ObservedObjects(
            column=columns,
            type=agents.type[columns],
            size=agents.size[columns].astype(np.float64),
            position=pose[:, :2],
            heading=pose[:, 2],
            velocity=speed[:, None] * direction,
        )
        return moving.with_others(ObservedObjects.logged(agents, self._frame, self._replayed))

    def advance(self, moment: Moment, seconds: float) -> None:
        """Move on to the next frame; vehicles see the ego as it was, lights and replayed objects as they will be."""
        self._frame = moment.frame + 1
        scenario = self._scenario
        ego = moment.ego
        replayed = ObservedObjects.logged(scenario.agents, self._frame, self._replayed)
        state = scenario.lights.state[self._frame]
        fid = np.array([self._index.fid[row] for row in scenario.lights.lane], dtype=np.int64)
        green = set(fid[state == LightState.GREEN].tolist())
        red = {
            int(f): int(row)
            for f, row in zip(fid[state == LightState.RED], scenario.lights.lane[state == LightState.RED], strict=True)
        }
        self._vehicles = [v for v in self._vehicles if np.hypot(*(v.pose[:2] - ego.centre)) <= _RADIUS_M]
        around = [_ego_box(ego), *shapely.polygons(replayed.corners)]
        for vehicle in self._vehicles:
            self._plan(vehicle, green, red)
            self._drive(vehicle, around, ego, red, seconds)

    def _settle(self) -> None:
        scenario, agents = self._scenario, self._scenario.agents
        ego = scenario.ego
        ego_now = EgoMoment(
            pose=ego.pose[0], velocity=ego.velocity[0], acceleration=0.0, steering=0.0, vehicle=ego.vehicle
        )
        taken = [*shapely.polygons(ObservedObjects.logged(agents, 0, self._replayed).corners), _ego_box(ego_now)]
        vehicles = np.flatnonzero(agents.valid[0] & (agents.type == AgentType.VEHICLE))
        hits = self._index.hits(agents.position[0, vehicles])
        in_junction = self._index.intersections.holds(agents.position[0, vehicles])
        table = scenario.map.lanes
        target_speed = CONSTANTS.target_speed
        for i, column in enumerate(vehicles.tolist()):
            segments = hits.lanes[i] or (hits.connectors[i] if in_junction[i] else ())
            if not segments:
                continue
            centre, heading = agents.position[0, column], float(agents.heading[0, column])
            poses = [self._geometry.nearest_pose(row, centre) for row in segments]
            best = int(np.argmin([abs(pose[2] - heading) for pose in poses]))
            row, pose = segments[best], poses[best]
            size = agents.size[column].astype(np.float64)
            box = _box(pose, size)
            if shapely.intersects(np.array(taken, dtype=object), box).any():
                continue
            taken.append(box)
            path = LanePath.through(centre_line_poses(table.baseline[row]))
            if table.speed_limit_known[row]:
                target_speed = float(table.speed_limit[row])
            if path is None:
                continue
            progress = float(self._index.arc_length(row, centre[None])[0])
            self._vehicles.append(
                _Vehicle(
                    column=column,
                    size=size,
                    route=deque([row], maxlen=_MAX_SEGMENTS),
                    path=path,
                    progress=progress,
                    speed=float(np.hypot(*agents.velocity[0, column].astype(np.float64))),
                    target_speed=target_speed,
                    pose=path.at(path.clamp(progress)),
                    shape=box,
                )
            )

    def _plan(self, vehicle: _Vehicle, green: set[int], red: Iterable[int]) -> None:
        lanes = self._scenario.map.lanes
        while vehicle.path.end - vehicle.progress < _MIN_PATH_M + vehicle.target_speed * CONSTANTS.headway:
            open_rows = [
                row
                for row in self._index.successors(vehicle.route[-1])
                if (self._index.fid[row] in green if len(lanes.stop_polygons[row]) else self._index.fid[row] not in red)
            ]
            if not open_rows:
                return
            straightest = open_rows[int(np.argmin([start_curvature(lanes.baseline[row]) for row in open_rows]))]
            vehicle.route.append(straightest)
            ahead = vehicle.path.ahead_of(vehicle.path.clamp(vehicle.progress))
            path = LanePath.through(np.concatenate([ahead, centre_line_poses(lanes.baseline[straightest])]))
            assert path is not None
            vehicle.path, vehicle.progress = path, 0.0

    def _stop_lines(self, vehicle: _Vehicle, red: dict[int, int]) -> list[shapely.Geometry]:
        rows = dict.fromkeys(red[f] for row in vehicle.route if (f := self._index.fid[row]) in red)
        return [shape for row in rows for shape in self._geometry.stop_areas(row)]

    def _drive(
        self, vehicle: _Vehicle, around: list[shapely.Geometry], ego: EgoMoment, red: dict[int, int], seconds: float
    ) -> None:
        path = vehicle.path
        ahead = path.ahead_of(path.clamp(vehicle.progress))
        corridor = shapely.LineString(ahead[:, :2]).buffer(vehicle.size[1] / 2, cap_style="flat")
        others = [v for v in self._vehicles if v is not vehicle]
        shapes = np.array([*(v.shape for v in others), *around, *self._stop_lines(vehicle, red)], dtype=object)
        met = np.flatnonzero(shapely.intersects(shapes, corridor))
        if len(met):
            distance = shapely.distance(shapes[met], vehicle.shape)
            nearest, gap = int(met[np.argmin(distance)]), float(distance.min())
            if nearest < len(others):
                lead_speed = others[nearest].speed * np.cos(others[nearest].pose[2] - vehicle.pose[2])
            elif nearest == len(others):
                lead_speed = np.hypot(*ego.velocity) * np.cos(ego.pose[2] - vehicle.pose[2])
            else:
                lead_speed = 0.0
        else:
            gap, lead_speed = path.end - vehicle.progress - vehicle.size[0] / 2, 0.0
        lanes = self._scenario.map.lanes
        if lanes.speed_limit_known[vehicle.route[-1]]:
            vehicle.target_speed = float(lanes.speed_limit[vehicle.route[-1]])
        change = acceleration(vehicle.speed, vehicle.target_speed, gap, float(lead_speed), CONSTANTS)
        vehicle.progress += seconds * vehicle.speed
        vehicle.speed = max(vehicle.speed + seconds * change, 0.0)
        vehicle.pose = path.at(path.clamp(vehicle.progress))
        half = vehicle.size[0] / 2
        covered = path.between(
            path.clamp(vehicle.progress - half),
            path.clamp(vehicle.progress + half + vehicle.speed * CONSTANTS.headway),
        )
        strip = shapely.LineString(covered[:, :2]).buffer(vehicle.size[1] / 2, cap_style="flat")
        vehicle.shape = shapely.union(strip, _box(vehicle.pose, vehicle.size))


def start_curvature(points: Float64) -> float:
    line = shapely.LineString(points)
    reach = min(2.0, line.length / 2)
    a, b, c = (np.array(line.interpolate(share * reach).coords[0]) for share in (0, 1, 2))
    z, y, x = sorted([np.hypot(*(b - a)), np.hypot(*(c - b)), np.hypot(*(c - a))])
    area = (x + (y + z)) * (z - (x - y)) * (z + (x - y)) * (x + (y - z))
    return 0.0 if area < 1e-6 else float(np.sqrt(area) / (x * y * z))


def _box(pose: Float64, size: Float64) -> shapely.Geometry:
    return shapely.Polygon(box_corners(pose[None, :2], pose[2:], size[None])[0])


def _ego_box(ego: EgoMoment) -> shapely.Geometry:
    return _box(np.array([*ego.centre, ego.pose[2]]), np.array([ego.vehicle.length, ego.vehicle.width]))
