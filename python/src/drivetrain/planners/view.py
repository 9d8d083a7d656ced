"""What a planner sees: the present of one scenario, or of many at once as flat arrays.

N vehicles that are planned for, A agents around one of them, P route points, Q stop lines.

A view never contains the future: agents as they are now, lights as they show now. All positions are in the map frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.scenario import Bool, Float64, RoadMap, UInt8, VehicleParameters

# Columns of ``PlanningRows.agents``.
AGENT_X, AGENT_Y, AGENT_COS, AGENT_SIN, AGENT_VX, AGENT_VY, AGENT_HALF_LENGTH, AGENT_HALF_WIDTH = range(8)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenarioView:
    """One scenario at one moment, read-only."""

    scenario_id: str
    time_s: float
    """Since the start of the scenario [s]."""
    pose: Float64
    """Rear axle of the planned vehicle: x, y [m], heading [rad], shape [3]."""
    speed: float
    """Along the heading [m/s]."""
    acceleration: float
    """Along the heading [m/s^2]."""
    steering: float
    """Front-wheel angle [rad]."""
    vehicle: VehicleParameters
    agent_type: UInt8
    """AgentType of everybody else who is present now, shape [A]."""
    agent_id: NDArray[np.uint64]
    """Stays with an agent through a scenario, shape [A]."""
    agent_center: Float64
    """Box centres [m], shape [A, 2]."""
    agent_heading: Float64
    """[rad], shape [A]."""
    agent_velocity: Float64
    """In the map frame [m/s], shape [A, 2]."""
    agent_size: Float64
    """Length, width [m], shape [A, 2]."""
    route: Float64
    """Centre line to follow, points 1 m apart, shape [P, 2]."""
    route_heading: Float64
    """Direction of the route at each point [rad], shape [P]."""
    route_speed_limit: Float64
    """[m/s], shape [P]; meaningless where not known."""
    route_speed_limit_known: Bool
    """shape [P]."""
    arc_length: float
    """Where the box centre is on the route [m]; point i of the route is at i metres."""
    goal_arc_length: float
    """Arc length on the route at which the drive is complete [m]."""
    stop_line_arc_length: Float64
    """Stop lines on the route, ascending [m], shape [Q]."""
    stop_line_state: UInt8
    """LightState shown to them now, shape [Q]."""
    map: RoadMap

    @property
    def center(self) -> Float64:
        """Box centre of the planned vehicle [m], shape [2]."""
        heading = self.pose[2]
        return self.pose[:2] + self.vehicle.rear_axle_to_center * np.array([np.cos(heading), np.sin(heading)])

    def rows(self) -> PlanningRows:
        """Return the same content as rows for N = 1."""
        return PlanningRows(
            pose=self.pose[None],
            speed=np.array([self.speed]),
            acceleration=np.array([self.acceleration]),
            steering=np.array([self.steering]),
            half_size=np.array([[self.vehicle.length, self.vehicle.width]]) / 2.0,
            wheelbase=np.array([self.vehicle.wheelbase]),
            rear_axle_to_center=np.array([self.vehicle.rear_axle_to_center]),
            num_agents=np.array([len(self.agent_type)]),
            agents=np.concatenate(
                [
                    self.agent_center,
                    np.cos(self.agent_heading)[:, None],
                    np.sin(self.agent_heading)[:, None],
                    self.agent_velocity,
                    self.agent_size / 2.0,
                ],
                axis=1,
            )[None],
            arc_length=np.array([self.arc_length]),
            route_first=np.array([0]),
            route_last=np.array([len(self.route)]),
            route_x=np.ascontiguousarray(self.route[:, 0], dtype=np.float32),
            route_y=np.ascontiguousarray(self.route[:, 1], dtype=np.float32),
            route_cos=np.cos(self.route_heading).astype(np.float32),
            route_sin=np.sin(self.route_heading).astype(np.float32),
            route_limit=np.where(self.route_speed_limit_known, self.route_speed_limit, 0.0).astype(np.float32),
            num_stops=np.array([len(self.stop_line_state)]),
            stop_s=self.stop_line_arc_length[None],
            stop_state=self.stop_line_state[None],
        )


class PlanningRows(NamedTuple):
    """The present of N planned vehicles as arrays that compiled planners take."""

    pose: Float64
    """Rear axle x, y [m], heading [rad], shape [N, 3]."""
    speed: Float64
    """[m/s], shape [N]."""
    acceleration: Float64
    """[m/s^2], shape [N]."""
    steering: Float64
    """[rad], shape [N]."""
    half_size: Float64
    """Half length, half width [m], shape [N, 2]."""
    wheelbase: Float64
    """[m], shape [N]."""
    rear_axle_to_center: Float64
    """[m], shape [N]."""
    num_agents: NDArray[np.int64]
    """How many leading rows of ``agents`` are present, shape [N]."""
    agents: Float64
    """Centre x, y, heading cos, sin, velocity x, y (map frame), half length, half width, shape [N, A, 8]."""
    arc_length: Float64
    """Arc length of the box centre on the route [m], shape [N]."""
    route_first: NDArray[np.int64]
    """The route of row n is points ``route_first[n]`` to ``route_last[n]`` of the route arrays, shape [N]."""
    route_last: NDArray[np.int64]
    route_x: NDArray[np.float32]
    """Route points of all rows, 1 m apart [m]."""
    route_y: NDArray[np.float32]
    route_cos: NDArray[np.float32]
    """Direction of the route at each point."""
    route_sin: NDArray[np.float32]
    route_limit: NDArray[np.float32]
    """Speed limit [m/s]; 0 where unknown."""
    num_stops: NDArray[np.int64]
    """How many leading columns of the stop arrays are stop lines, shape [N]."""
    stop_s: Float64
    """Arc length of each stop line on the route [m], shape [N, Q]."""
    stop_state: UInt8
    """LightState it shows now, shape [N, Q]."""
