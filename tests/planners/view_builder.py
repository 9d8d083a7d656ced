"""Views built by hand: a vehicle on a route with a few agents and stop lines."""

import numpy as np

from drivetrain.planners.view import ScenarioView
from drivetrain.sim.scenario import (
    AgentType,
    Knowledge,
    LaneTable,
    PolygonSet,
    Ragged,
    RoadMap,
    VehicleParameters,
)


def empty_map():
    no_points = Ragged.of([], dtype=np.float64, width=2)
    no_rows = Ragged.of([], dtype=np.int32)
    none = PolygonSet.of([], kind=[], source_id=[])
    lanes = LaneTable(
        source_id=np.zeros(0, np.int64),
        kind=np.zeros(0, np.uint8),
        baseline=no_points,
        left_boundary=no_points,
        right_boundary=no_points,
        polygon=none,
        speed_limit=np.zeros(0),
        speed_limit_known=np.zeros(0, np.bool_),
        successors=no_rows,
        predecessors=no_rows,
        left_neighbor=no_rows,
        right_neighbor=no_rows,
        roadblock=no_rows,
        stop_polygons=no_rows,
    )
    return RoadMap(
        name="empty",
        origin=np.zeros(2),
        epsg=0,
        lanes=lanes,
        roadblock_id=np.zeros(0, np.int64),
        roadblock_is_connector=np.zeros(0, np.bool_),
        roadblock_polygon=none,
        stop_polygons=none,
        intersections=none,
        crosswalks=none,
        drivable=none,
        road_edges=no_points,
        knowledge=Knowledge(
            lane_graph=False, speed_limits=False, drivable_area=False, traffic_lights=False, route=False
        ),
    )


def straight_view(*, speed=8.0, lateral=0.0, heading=0.0, limit=13.0, agents=(), stops=()):
    """A vehicle whose centre is at (10, lateral) on a route along +x that begins at x = 0.

    ``agents``: (x, y, heading, speed, length, width); ``stops``: (arc length, LightState).
    """
    vehicle = VehicleParameters(length=5.0, width=2.0, wheelbase=3.0, rear_axle_to_center=1.5)
    center = np.array([10.0, lateral])
    axle = center - 1.5 * np.array([np.cos(heading), np.sin(heading)])
    box = np.array(agents, dtype=np.float64).reshape(-1, 6)
    route = np.stack([np.arange(200.0), np.zeros(200)], axis=1)
    return ScenarioView(
        scenario_id="0" * 16,
        time_s=0.0,
        pose=np.array([*axle, heading]),
        speed=speed,
        acceleration=0.0,
        steering=0.0,
        vehicle=vehicle,
        agent_id=np.arange(len(agents), dtype=np.uint64),
        agent_type=np.full(len(box), AgentType.VEHICLE, np.uint8),
        agent_center=box[:, 0:2],
        agent_heading=box[:, 2],
        agent_velocity=box[:, 3:4] * np.stack([np.cos(box[:, 2]), np.sin(box[:, 2])], axis=1),
        agent_size=box[:, 4:6],
        route=route,
        route_heading=np.zeros(200),
        route_speed_limit=np.full(200, limit or 0.0),
        route_speed_limit_known=np.full(200, limit is not None),
        arc_length=10.0,
        goal_arc_length=150.0,
        stop_line_arc_length=np.array([s for s, _ in stops], dtype=np.float64),
        stop_line_state=np.array([state for _, state in stops], np.uint8),
        map=empty_map(),
    )
