"""Build a scenario in code from a handful of :class:`Lane`, :class:`Mover` and :class:`Light` records.

``worlds.py`` holds ready-made ones. A frame is 0.1 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from drivetrain.sim.scenario import (
    AgentTracks,
    AgentType,
    EgoTrack,
    Knowledge,
    LaneKind,
    LaneTable,
    Lights,
    LightState,
    PolygonSet,
    Ragged,
    RoadMap,
    Scenario,
    VehicleParameters,
)

DT = 0.1
CAR = (4.6, 1.9)
GREEN, YELLOW, RED = int(LightState.GREEN), int(LightState.YELLOW), int(LightState.RED)


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A centre line and what continues it."""

    points: np.ndarray
    successors: tuple[int, ...] = ()
    connector: bool = False
    speed_limit: float | None = 13.4


@dataclass(frozen=True, kw_only=True)
class Mover:
    """A road user that follows a path; ``arc_length(t)`` is how far along its centre is [m]."""

    path: np.ndarray
    arc_length: Callable[[np.ndarray], np.ndarray]
    type: AgentType = AgentType.VEHICLE
    size: tuple[float, float] = CAR
    frames: tuple[int, int] | None = None
    """First frame and the frame after the last at which the log contains it; None: always."""


@dataclass(frozen=True, kw_only=True)
class Light:
    """A light of one lane row, its stop point, and its state per frame (or one state for all)."""

    lane: int
    stop_point: tuple[float, float]
    state: int | Sequence[int] | np.ndarray = GREEN


def constant(start: float, speed: float) -> Callable[[np.ndarray], np.ndarray]:
    """Arc length of something at constant speed [m/s], from ``start`` [m]."""
    return lambda t: start + speed * t


def braking(start: float, speed: float, rate: float) -> Callable[[np.ndarray], np.ndarray]:
    """Arc length of something that brakes at ``rate`` [m/s^2] to a stand."""

    def arc_length(t: np.ndarray) -> np.ndarray:
        moving = np.minimum(t, speed / rate)
        return start + speed * moving - 0.5 * rate * moving**2

    return arc_length


def line(*points: tuple[float, float]) -> np.ndarray:
    """Polyline from corner points [m]."""
    return np.array(points, dtype=np.float64)


def arc(*, centre: tuple[float, float], radius: float, start: float, stop: float, count: int = 40) -> np.ndarray:
    """Circular polyline between two polar angles [rad]; anticlockwise where ``stop > start``."""
    angle = np.linspace(start, stop, count)
    return np.column_stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)])


def _follow(path: np.ndarray, arc_length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions [T, 2] and headings [T] at arc lengths of a path, which goes on straight beyond its ends."""
    lengths = np.hypot(*np.diff(path, axis=0).T)
    knots = np.concatenate([[0.0], np.cumsum(lengths)])
    piece = np.clip(np.searchsorted(knots, arc_length, side="right") - 1, 0, len(lengths) - 1)
    direction = (path[1:] - path[:-1])[piece] / lengths[piece, None]
    position = path[piece] + direction * (arc_length - knots[piece])[:, None]
    return position, np.arctan2(direction[:, 1], direction[:, 0])


def _agent_tracks(movers: Sequence[Mover], times: np.ndarray) -> AgentTracks:
    T, A = len(times), len(movers)
    position, heading, velocity = np.zeros((T, A, 2)), np.zeros((T, A), np.float32), np.zeros((T, A, 2), np.float32)
    valid = np.zeros((T, A), dtype=np.bool_)
    for a, mover in enumerate(movers):
        first, end = mover.frames or (0, T)
        arc_length = mover.arc_length(times)
        where, angle = _follow(mover.path, arc_length)
        speed = np.gradient(arc_length, DT)
        position[first:end, a] = where[first:end]
        heading[first:end, a] = angle[first:end]
        velocity[first:end, a] = (speed[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]))[first:end]
        valid[first:end, a] = True
    return AgentTracks(
        token=np.arange(1, A + 1, dtype=np.uint64),
        type=np.array([m.type for m in movers], dtype=np.uint8),
        size=np.array([m.size for m in movers], dtype=np.float32).reshape(A, 2),
        position=position,
        heading=heading,
        velocity=velocity,
        valid=valid,
    )


def _ego_track(ego: Mover, times: np.ndarray) -> EgoTrack:
    vehicle = VehicleParameters(length=ego.size[0], width=ego.size[1], wheelbase=2.8, rear_axle_to_center=1.3)
    arc_length = ego.arc_length(times)
    centre, heading = _follow(ego.path, arc_length)
    forward = np.column_stack([np.cos(heading), np.sin(heading)])
    speed = np.gradient(arc_length, DT)
    still = np.zeros_like(speed)
    return EgoTrack(
        pose=np.column_stack([centre - vehicle.rear_axle_to_center * forward, heading]),
        velocity=np.column_stack([speed, still]),
        acceleration=np.column_stack([np.gradient(speed, DT), still]),
        yaw_rate=np.gradient(np.unwrap(heading), DT),
        vehicle=vehicle,
    )


def _lane_table(lanes: Sequence[Lane]) -> LaneTable:
    nothing = [[] for _ in lanes]
    before = [[i for i, lane in enumerate(lanes) if row in lane.successors] for row in range(len(lanes))]
    empty = Ragged.of([np.zeros((0, 2)) for _ in lanes], dtype=np.float64, width=2)
    return LaneTable(
        source_id=np.arange(100, 100 + len(lanes), dtype=np.int64),
        kind=np.array([LaneKind.CONNECTOR if lane.connector else LaneKind.LANE for lane in lanes], dtype=np.uint8),
        baseline=Ragged.of([lane.points for lane in lanes], dtype=np.float64, width=2),
        left_boundary=empty,
        right_boundary=empty,
        polygon=PolygonSet.of([], kind=[], source_id=[]),
        speed_limit=np.array([lane.speed_limit or 0.0 for lane in lanes]),
        speed_limit_known=np.array([lane.speed_limit is not None for lane in lanes]),
        successors=Ragged.of([lane.successors for lane in lanes], dtype=np.int32),
        predecessors=Ragged.of(before, dtype=np.int32),
        left_neighbor=Ragged.of(nothing, dtype=np.int32),
        right_neighbor=Ragged.of(nothing, dtype=np.int32),
        roadblock=Ragged.of([[row] for row in range(len(lanes))], dtype=np.int32),
        stop_polygons=Ragged.of(nothing, dtype=np.int32),
    )


def _lights(lights: Sequence[Light], frames: int) -> Lights:
    state = np.zeros((frames, len(lights)), dtype=np.uint8)
    for k, light in enumerate(lights):
        state[:, k] = light.state
    return Lights(
        lane=np.array([light.lane for light in lights], dtype=np.int32),
        stop_point=np.array([light.stop_point for light in lights], dtype=np.float64).reshape(len(lights), 2),
        state=state,
    )


def build_scenario(
    *,
    name: str,
    lanes: Sequence[Lane],
    edges: Sequence[np.ndarray],
    ego: Mover,
    agents: Sequence[Mover] = (),
    lights: Sequence[Light] = (),
    route: Sequence[int] = (),
    frames: int = 91,
) -> Scenario:
    """Turn lanes, road edges and movers into a scenario; ``route`` lists roadblock rows (one per lane row)."""
    times = np.arange(frames) * DT
    none = PolygonSet.of([], kind=[], source_id=[])
    knowledge = Knowledge(
        lane_graph=True, speed_limits=True, drivable_area=False, traffic_lights=bool(lights), route=bool(route)
    )
    road_map = RoadMap(
        name=f"test-{name}",
        origin=np.zeros(2),
        epsg=0,
        lanes=_lane_table(lanes),
        roadblock_id=np.arange(200, 200 + len(lanes), dtype=np.int64),
        roadblock_is_connector=np.array([lane.connector for lane in lanes], dtype=np.bool_),
        roadblock_polygon=none,
        stop_polygons=none,
        intersections=none,
        crosswalks=none,
        drivable=none,
        road_edges=Ragged.of(edges, dtype=np.float64, width=2),
        knowledge=knowledge,
    )
    return Scenario(
        scenario_id=name.encode().hex()[:16].ljust(16, "0"),
        scenario_type="test",
        log_name=f"log-{name}",
        source="sample",
        split="train",
        map=road_map,
        timestamps_us=np.round(times * 1e6).astype(np.int64),
        ego=_ego_track(ego, times),
        agents=_agent_tracks(agents, times),
        lights=_lights(lights, frames),
        route=np.array(route, dtype=np.int32),
        goal=np.zeros(3),
        goal_known=False,
        knowledge=knowledge,
    )
