"""One drive that is simulated elsewhere, as our planners see it: a scenario that unfolds, and its moments.

A objects, K lights. What the other simulator tells comes in its own words (global coordinates, texts that name tracks,
ids of roadblocks and lane connectors); here it becomes a scenario and moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.closed_loop.moment import EgoMoment, Moment, ObservedObjects
from drivetrain.closed_loop.simulation import StartTeam, Team
from drivetrain.closed_loop.unfolding import beginning, no_agents
from drivetrain.data.stop_points import stop_point
from drivetrain.errors import DataError
from drivetrain.planners.trajectory import fault_of
from drivetrain.sim.scenario import (
    EgoTrack,
    Float64,
    Int32,
    Int64,
    Knowledge,
    LaneKind,
    Lights,
    LightState,
    RoadMap,
    Scenario,
    UInt8,
    VehicleParameters,
)

MOST_TRACKS = 4096
"""Tracks that are told apart; more at once are refused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mission:
    """What a planner is told before it starts."""

    name: str
    """Of the drive, for errors."""
    roadblocks: tuple[int, ...]
    """The source's ids, in order."""
    goal: Float64 | None
    """Global x, y [m], heading [rad], shape [3]; None: not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What a planner is told at one frame, in global coordinates."""

    time_us: int
    vehicle: VehicleParameters
    pose: Float64
    """Rear axle x, y [m], heading [rad], shape [3]."""
    velocity: Float64
    """Longitudinal, lateral velocity of the rear axle in the body frame [m/s], shape [2]."""
    acceleration: float
    """Longitudinal [m/s^2]."""
    steering: float
    """Front-wheel angle [rad]."""
    tokens: tuple[str, ...]
    """A text for each object that stays with it, A of them."""
    type: UInt8
    """AgentType, shape [A]."""
    boxes: Float64
    """Centre x, y [m], heading [rad], length, width [m], velocity x, y [m/s], shape [A, 7]."""
    light_connector: Int64
    """The source's ids of lane connectors whose light is known, shape [K]."""
    light_state: UInt8
    """LightState each shows, shape [K]."""


class OutsideDrive:
    """A team at work in one drive that another program simulates."""

    def __init__(self, road: RoadMap, mission: Mission, planner: StartTeam) -> None:
        """Take a mission; the planner starts to work at the first observation."""
        self._road, self._mission, self._planner = road, mission, planner
        self._route = _route_rows(road, mission)
        self._light_lane = _connectors_of(road, self._route)
        self._light_row = {int(road.lanes.source_id[lane]): row for row, lane in enumerate(self._light_lane.tolist())}
        self._column: dict[str, int] = {}
        self._free = list(range(MOST_TRACKS - 1, -1, -1))
        self._frame = 0
        self._team: Team | None = None

    def plan(self, seen: Observation) -> Float64:
        """Return rear-axle x, y [m] (global), heading [rad] every 0.1 s from now on, shape [K, 3].

        Raises:
            DrivetrainError: The drive cannot be planned; the planner's own errors are passed on as they are.
        """
        if len(seen.tokens) > MOST_TRACKS:
            raise DataError(f"{len(seen.tokens)} tracked objects at once, at most {MOST_TRACKS} can be told apart")
        moment = self._moment(seen)
        if self._team is None:
            self._team = self._planner([self._begin(moment)])
        (answer,) = self._team.plan({0: moment}).values()
        self._frame += 1
        if isinstance(answer, Exception):
            raise answer
        fault = fault_of(answer, moment.ego.pose[:2])
        if fault is not None:
            raise fault
        return answer + np.array([*self._road.origin, 0.0])

    def _moment(self, seen: Observation) -> Moment:
        origin = self._road.origin
        state = np.full(len(self._light_lane), LightState.UNKNOWN, dtype=np.uint8)
        for connector, shown in zip(seen.light_connector.tolist(), seen.light_state.tolist(), strict=True):
            if connector in self._light_row:
                state[self._light_row[connector]] = shown
        return Moment(
            frame=self._frame,
            time_us=seen.time_us,
            ego=EgoMoment(
                pose=seen.pose - np.array([*origin, 0.0]),
                velocity=seen.velocity,
                acceleration=seen.acceleration,
                steering=seen.steering,
                vehicle=seen.vehicle,
            ),
            objects=ObservedObjects(
                column=self._columns(seen.tokens),
                type=seen.type,
                size=seen.boxes[:, 3:5],
                position=seen.boxes[:, :2] - origin,
                heading=seen.boxes[:, 2],
                velocity=seen.boxes[:, 5:7],
            ),
            light_state=state,
        )

    def _begin(self, moment: Moment) -> Scenario:
        road, mission, ego = self._road, self._mission, moment.ego
        lights = len(self._light_lane)
        points = [stop_point(road, int(lane)) for lane in self._light_lane]
        goal = mission.goal
        scenario = Scenario(
            scenario_id=mission.name,
            scenario_type="unknown",
            log_name=mission.name,
            source="nuplan",
            split="test",
            map=road,
            timestamps_us=np.array([moment.time_us], dtype=np.int64),
            ego=EgoTrack(
                pose=ego.pose[None],
                velocity=ego.velocity[None],
                acceleration=np.array([[ego.acceleration, 0.0]]),
                yaw_rate=np.zeros(1),
                vehicle=ego.vehicle,
            ),
            agents=no_agents(),
            lights=Lights(
                lane=self._light_lane,
                stop_point=np.array(points, dtype=np.float64).reshape(lights, 2),
                state=moment.light_state[None],
            ),
            route=self._route,
            goal=np.zeros(3) if goal is None else goal - np.array([*road.origin, 0.0]),
            goal_known=goal is not None,
            knowledge=Knowledge(
                lane_graph=True,
                speed_limits=road.knowledge.speed_limits,
                drivable_area=True,
                traffic_lights=True,
                route=len(self._route) > 0,
            ),
        )
        return beginning(scenario, room=MOST_TRACKS)

    def _columns(self, tokens: Sequence[str]) -> Int64:
        """Return a column for each track, the one it had before; those of tracks that are gone are given away last."""
        if len(self._column) + len(tokens) > MOST_TRACKS:
            self._column = {token: self._column[token] for token in tokens if token in self._column}
            self._free = sorted(set(range(MOST_TRACKS)) - set(self._column.values()), reverse=True)
        for token in tokens:
            if token not in self._column:
                self._column[token] = self._free.pop()
        return np.array([self._column[token] for token in tokens], dtype=np.int64)


def _route_rows(road: RoadMap, mission: Mission) -> Int32:
    """Return the rows of the roadblocks that the map has; where ids are shared, roadblocks come first, as in nuPlan."""
    row_of: dict[int, int] = {}
    for row, source_id in enumerate(road.roadblock_id.tolist()):
        row_of.setdefault(source_id, row)
    rows = [row_of[block] for block in mission.roadblocks if block in row_of]
    if mission.roadblocks and not rows:
        raise DataError(
            f"route: the map '{road.name}' has none of its {len(mission.roadblocks)} roadblocks "
            f"(first: {mission.roadblocks[0]}); is it the map the drive belongs to?"
        )
    return np.array(rows, dtype=np.int32)


def _connectors_of(road: RoadMap, route: NDArray[np.int32]) -> Int32:
    """Return the lane connectors within the roadblocks of a route, whose lights matter; all of them without a route."""
    lanes = road.lanes
    connectors = np.flatnonzero(lanes.kind == LaneKind.CONNECTOR)
    if not len(route):
        return connectors.astype(np.int32)
    blocks = set(route.tolist())
    on_route = [any(int(block) in blocks for block in lanes.roadblock[lane]) for lane in range(len(lanes))]
    # By id, as nuPlan's planners look them up: a connector may share that of a lane.
    named = np.isin(lanes.source_id[connectors], lanes.source_id[on_route])
    return connectors[named].astype(np.int32)
