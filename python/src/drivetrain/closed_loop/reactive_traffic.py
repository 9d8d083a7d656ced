"""nuPlan's reactive traffic: vehicles that follow centre lines by the Intelligent Driver Model.

What the reference does is kept, also where it is odd: vehicles exist only if they stand in a lane at the first frame
and fit there; cyclists vanish; a vehicle more than 100 m away is gone for good; a vehicle without a leader brakes for
the end of its path; a vehicle reaches 1.5 s ahead of itself, so that gaps are too short; vehicles move one after
another; only a green light opens a connector that lists a stop line.
Source: nuplan-devkit, ``observation/idm_agents.py``, ``observation/idm``.
"""

from __future__ import annotations

import numpy as np
import shapely

from drivetrain.closed_loop.intelligent_driver import DriverConstants
from drivetrain.closed_loop.lane_arrays import lane_arrays
from drivetrain.closed_loop.lane_geometry import LaneGeometry, geometry_of
from drivetrain.closed_loop.moment import EgoMoment, Moment, ObservedObjects, box_corners
from drivetrain.closed_loop.path_kernels import measure_path, path_at
from drivetrain.closed_loop.traffic_kernels import MAX_SEGMENTS, Around, Vehicles, move_vehicles
from drivetrain.sim.scenario import AgentType, Float64, Int64, Scenario
from drivetrain.sim.traffic_kinds import draw_drivers

CONSTANTS = DriverConstants()
REPLAYED_TYPES = (
    *(AgentType.PEDESTRIAN, AgentType.BARRIER, AgentType.CZONE_SIGN, AgentType.TRAFFIC_CONE),
    AgentType.GENERIC_OBJECT,
)
_ROOM = 64
"""Places for vertices of a path at first; doubled where they do not suffice."""


class ReactiveTraffic:
    """The objects of one scenario: vehicles that react, everything else but cyclists replayed."""

    def __init__(self, scenario: Scenario, *, kind: str = "idm") -> None:
        """Put the vehicles of the first frame on their lanes.

        Args:
            scenario: What to simulate.
            kind: Who drives, one of ``traffic_kinds.REACTING``; ``idm``: nuPlan's drivers.
        """
        self._scenario = scenario
        self._lanes = lane_arrays(scenario.map)
        self._replayed = np.flatnonzero(np.isin(scenario.agents.type, REPLAYED_TYPES))
        self._frame = 0
        geometry = geometry_of(scenario.map)
        self._lights = _light_arrays(geometry, scenario)
        self._column, self._vehicles = _settle(geometry, scenario, self._replayed, kind)

    def objects(self) -> ObservedObjects:
        """Return who is present now."""
        vehicles, agents = self._vehicles, self._scenario.agents
        alive = np.flatnonzero(vehicles.alive)
        columns = self._column[alive]
        pose = vehicles.pose[alive]
        direction = np.column_stack([np.cos(pose[:, 2]), np.sin(pose[:, 2])])
        moving = ObservedObjects(
            column=columns,
            type=agents.type[columns],
            size=vehicles.size[alive],
            position=pose[:, :2],
            heading=pose[:, 2],
            velocity=vehicles.speed[alive, None] * direction,
        )
        return moving.with_others(ObservedObjects.logged(agents, self._frame, self._replayed))

    def advance(self, moment: Moment, seconds: float) -> None:
        """Move on to the next frame; vehicles see the ego as it was, lights and replayed objects as they will be."""
        self._frame = moment.frame + 1
        ego = moment.ego
        replayed = ObservedObjects.logged(self._scenario.agents, self._frame, self._replayed)
        around = self._lights._replace(
            boxes=np.concatenate([_ego_corners(ego)[None], replayed.corners]),
            ego_speed=float(np.hypot(*ego.velocity)),
            ego_heading=float(ego.pose[2]),
            light_state=self._scenario.lights.state[self._frame],
        )
        x, y = ego.centre.tolist()
        done, count = 0, len(self._vehicles.alive)
        while done < count:
            done = move_vehicles(done, self._vehicles, self._lanes, around, x, y, seconds)
            if done < count:
                self._vehicles = _with_more_room(self._vehicles)


def _settle(geometry: LaneGeometry, scenario: Scenario, replayed: Int64, kind: str) -> tuple[Int64, Vehicles]:
    """Return the vehicles that fit on their lanes in the first frame, and which agents they are."""
    agents, table = scenario.agents, scenario.map.lanes
    logged = EgoMoment(
        pose=scenario.ego.pose[0],
        velocity=scenario.ego.velocity[0],
        acceleration=0.0,
        steering=0.0,
        vehicle=scenario.ego.vehicle,
    )
    taken = [shapely.Polygon(box) for box in ObservedObjects.logged(agents, 0, replayed).corners]
    taken.append(shapely.Polygon(_ego_corners(logged)))
    seen = np.flatnonzero(agents.valid[0] & (agents.type == AgentType.VEHICLE))
    hits = geometry.index.hits(agents.position[0, seen])
    in_intersection = geometry.index.intersections.holds(agents.position[0, seen])
    target_speed = CONSTANTS.target_speed
    columns: list[int] = []
    rows: list[int] = []
    targets: list[float] = []
    snapped: list[Float64] = []
    for i, column in enumerate(seen.tolist()):
        segments = hits.lanes[i] or (hits.connectors[i] if in_intersection[i] else ())
        segments = [row for row in segments if len(table.baseline[row]) > 2]
        if not segments:
            continue
        poses = [geometry.nearest_pose(row, agents.position[0, column]) for row in segments]
        best = int(np.argmin([abs(pose[2] - float(agents.heading[0, column])) for pose in poses]))
        size = agents.size[column].astype(np.float64)
        box = shapely.Polygon(box_corners(poses[best][None, :2], poses[best][2:], size[None])[0])
        if shapely.intersects(np.array(taken, dtype=object), box).any():
            continue
        taken.append(box)
        if table.speed_limit_known[segments[best]]:  # else the limit of the vehicle before, as in the reference
            target_speed = float(table.speed_limit[segments[best]])
        columns.append(column)
        rows.append(segments[best])
        targets.append(target_speed)
        snapped.append(poses[best])
    return np.array(columns, dtype=np.int64), _vehicles(geometry, scenario, kind, columns, rows, targets, snapped)


def _vehicles(
    geometry: LaneGeometry,
    scenario: Scenario,
    kind: str,
    columns: list[int],
    rows: list[int],
    targets: list[float],
    snapped: list[Float64],
) -> Vehicles:
    lanes, agents, count = lane_arrays(scenario.map), scenario.agents, len(columns)
    room = max([_ROOM, *(int(lanes.start[row + 1] - lanes.start[row]) for row in rows)])
    drivers = draw_drivers(kind, scenario.scenario_id, agents.token[columns])
    vehicles = Vehicles(
        alive=np.ones(count, dtype=np.bool_),
        size=agents.size[columns].astype(np.float64).reshape(count, 2),
        progress=np.zeros(count),
        speed=np.hypot(*agents.velocity[0, columns].astype(np.float64).reshape(count, 2).T),
        target_speed=drivers[:, 4] * np.array(targets, dtype=np.float64),
        driver=drivers,
        pose=np.zeros((count, 3)),
        route=np.zeros((count, MAX_SEGMENTS), dtype=np.int64),
        route_length=np.ones(count, dtype=np.int64),
        path=np.zeros((count, room, 4)),
        path_length=np.zeros(count, dtype=np.int64),
        parts=np.zeros((count, 2 * room + 3, 4, 2)),
        part_boxes=np.zeros((count, 2 * room + 3, 4)),
        num_parts=np.ones(count, dtype=np.int64),
    )
    for i, (column, row) in enumerate(zip(columns, rows, strict=True)):
        poses = lanes.pose[lanes.start[row] : lanes.start[row + 1]]
        path, length = vehicles.path[i], measure_path(poses, len(poses), vehicles.path[i])
        vehicles.route[i, 0] = row
        vehicles.path_length[i] = length
        vehicles.progress[i] = geometry.index.arc_length(row, agents.position[0, column][None])[0]
        path_at(path, length, min(vehicles.progress[i], path[length - 1, 0]), vehicles.pose[i])
        corners = box_corners(snapped[i][None, :2], snapped[i][2:], vehicles.size[i][None])[0]
        vehicles.parts[i, 0] = corners
        vehicles.part_boxes[i, 0] = [*corners.min(axis=0), *corners.max(axis=0)]
    return vehicles


def _light_arrays(geometry: LaneGeometry, scenario: Scenario) -> Around:
    """Return what vehicles see of the lights; the rest is filled in frame by frame."""
    lanes = scenario.lights.lane.tolist()
    areas = [geometry.stop_areas(row) for row in lanes]
    rings = [shapely.get_coordinates(area.exterior)[:-1] for found in areas for area in found]
    return Around(
        boxes=np.zeros((0, 4, 2)),
        ego_speed=0.0,
        ego_heading=0.0,
        light_fid=scenario.map.lanes.source_id[lanes],
        light_state=np.zeros(len(lanes), dtype=np.uint8),
        stop_start=np.cumsum([0, *(len(found) for found in areas)], dtype=np.int64),
        ring_start=np.cumsum([0, *(len(ring) for ring in rings)], dtype=np.int64),
        ring=np.concatenate([np.zeros((0, 2)), *rings]),
    )


def _with_more_room(vehicles: Vehicles) -> Vehicles:
    def grown(array: Float64, places: int) -> Float64:
        larger = np.zeros((array.shape[0], places, *array.shape[2:]))
        larger[:, : array.shape[1]] = array
        return larger

    room = 2 * vehicles.path.shape[1]
    return vehicles._replace(
        path=grown(vehicles.path, room),
        parts=grown(vehicles.parts, 2 * room + 3),
        part_boxes=grown(vehicles.part_boxes, 2 * room + 3),
    )


def _ego_corners(ego: EgoMoment) -> Float64:
    size = np.array([[ego.vehicle.length, ego.vehicle.width]])
    return box_corners(ego.centre[None], ego.pose[2:], size)[0]
