"""What the readable simulator looks at: one scene, one route, one agent at a time, in float64.

The numbers are those of ``SceneArrays`` and ``WorldState``; only the way they are laid out differs.

A slots of the scene, T frames, K lights, P route or path points, E road segments of the map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.geometry import rotate_into_frame
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    HEADING,
    PRESENT,
    SPEED,
    STATE_ROWS,
    STEERING,
    VELOCITY_X,
    VELOCITY_Y,
    SceneArrays,
    X,
    Y,
)

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A route, or the logged path of a reactive vehicle: points 1 m apart."""

    x: Float64
    y: Float64
    cos: Float64
    """Tangent, shape [P]."""
    sin: Float64
    limit: Float64
    """Speed limit [m/s], 0 where unknown, shape [P]; zeros for a path."""
    goal_s: float
    """Arc length of the goal, where the drive is complete [m]; 0 for a path."""
    told_goal_s: float
    """Arc length of the goal that the driver is told of [m]; 0 for a path."""
    stop_s: Float64
    """Arc lengths of stop lines, ascending [m]."""
    stop_light: NDArray[np.int64]
    """Light that governs each stop line."""

    def place(self, index: int, x: float, y: float) -> tuple[float, float]:
        """Return arc length and lateral offset (left positive) of a point whose projection index is known [m]."""
        along, left = rotate_into_frame(x - self.x[index], y - self.y[index], self.cos[index], self.sin[index])
        return index + float(np.clip(along, -1.0, 1.0)), float(left)

    def nearest(self, x: float, y: float, first: int, last: int) -> tuple[int, float]:
        """Return the lowest index of least distance in [first, last], clamped to the route, and its slack.

        The slack is how much farther the next best index is [m].
        """
        window = np.arange(max(first, 0), min(last, len(self.x) - 1) + 1)
        distance = np.hypot(self.x[window] - x, self.y[window] - y)
        best = int(np.argmin(distance))
        return int(window[best]), float(np.min(np.delete(distance, best), initial=np.inf) - distance[best])


@dataclass(frozen=True, kw_only=True, slots=True)
class Road:
    """Road segments of a map; all arrays of shape [E]."""

    x: Float64
    """Midpoint [m]."""
    y: Float64
    cos: Float64
    """Direction."""
    sin: Float64
    half_length: Float64
    is_edge: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """Everybody in a world at one frame; all arrays of shape [A]."""

    state: Float64
    """Rows as in ``scene_arrays``, shape [STATE_ROWS, A]."""
    type: NDArray[np.uint8]
    half_length: Float64
    half_width: Float64

    @property
    def present(self) -> NDArray[np.bool_]:
        """Who is there."""
        return self.state[PRESENT] > 0

    @property
    def x(self) -> Float64:
        """Box centres [m]."""
        return self.state[X]

    @property
    def y(self) -> Float64:
        """Box centres [m]."""
        return self.state[Y]

    @property
    def heading(self) -> Float64:
        """Headings [rad]."""
        return self.state[HEADING]

    @property
    def velocity_x(self) -> Float64:
        """Velocities in the map frame [m/s]."""
        return self.state[VELOCITY_X]

    @property
    def velocity_y(self) -> Float64:
        """Velocities in the map frame [m/s]."""
        return self.state[VELOCITY_Y]

    def others(self, slot: int) -> NDArray[np.int64]:
        """Return the present slots without one."""
        return np.flatnonzero(self.present & (np.arange(len(self.type)) != slot))


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """One controlled agent at one frame."""

    slot: int
    x: float
    """Box centre [m]."""
    y: float
    heading: float
    speed: float
    acceleration: float
    steering: float
    half_length: float
    half_width: float
    wheelbase: float
    rear_axle_to_center: float
    route_index: int

    @property
    def cos(self) -> float:
        """Of the heading."""
        return float(np.cos(self.heading))

    @property
    def sin(self) -> float:
        """Of the heading."""
        return float(np.sin(self.heading))


class SceneView:
    """One scene of a bank."""

    def __init__(self, arrays: SceneArrays, scene: int) -> None:
        self.arrays = arrays
        self.num_frames = int(arrays.num_frames[scene])
        self.num_slots = int(arrays.num_slots[scene])
        self.first_slot = int(arrays.slot_start[scene])
        self._log_start = int(arrays.log_start[scene])
        self._num_lights = int(arrays.num_lights[scene])
        self._light_start = int(arrays.light_start[scene])
        at = slice(*(int(arrays.segment_start[arrays.map_row[scene] + k]) for k in (0, 1)))
        self.road = Road(
            x=arrays.segment_x[at].astype(np.float64),
            y=arrays.segment_y[at].astype(np.float64),
            cos=arrays.segment_cos[at].astype(np.float64),
            sin=arrays.segment_sin[at].astype(np.float64),
            half_length=arrays.segment_half[at].astype(np.float64),
            is_edge=arrays.segment_edge[at] > 0,
        )

    def log(self, frame: int) -> Float64:
        """Return the logged state of every slot at a frame, shape [STATE_ROWS, A]."""
        size = STATE_ROWS * self.num_slots
        start = self._log_start + frame * size
        return self.arrays.log[start : start + size].reshape(STATE_ROWS, self.num_slots).astype(np.float64)

    def lights(self, frame: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return state and age [frames] of every light at a frame, each of shape [K]."""
        start = self._light_start + frame * self._num_lights
        at = slice(start, start + self._num_lights)
        return self.arrays.light_state[at].astype(np.int64), self.arrays.light_age[at].astype(np.int64)

    def route(self, slot: int) -> Route:
        """Return the route of a slot that may be controlled."""
        a, g = self.arrays, self.first_slot + slot
        at = slice(int(a.route_start[g]), int(a.route_start[g + 1]))
        stops = slice(int(a.stop_start[g]), int(a.stop_start[g + 1]))
        return Route(
            x=a.route_x[at].astype(np.float64),
            y=a.route_y[at].astype(np.float64),
            cos=a.route_cos[at].astype(np.float64),
            sin=a.route_sin[at].astype(np.float64),
            limit=a.route_limit[at].astype(np.float64),
            goal_s=float(a.goal_s[g]),
            told_goal_s=float(a.told_goal_s[g]),
            stop_s=a.stop_s[stops].astype(np.float64),
            stop_light=a.stop_light[stops].astype(np.int64),
        )

    def path(self, slot: int) -> Route:
        """Return the logged path of a slot that may be reactive."""
        a, g = self.arrays, self.first_slot + slot
        at = slice(int(a.path_start[g]), int(a.path_start[g + 1]))
        stops = slice(int(a.path_stop_start[g]), int(a.path_stop_start[g + 1]))
        x = a.path_x[at].astype(np.float64)
        return Route(
            x=x,
            y=a.path_y[at].astype(np.float64),
            cos=a.path_cos[at].astype(np.float64),
            sin=a.path_sin[at].astype(np.float64),
            limit=np.zeros_like(x),
            goal_s=0.0,
            told_goal_s=0.0,
            stop_s=a.path_stop_s[stops].astype(np.float64),
            stop_light=a.path_stop_light[stops].astype(np.int64),
        )

    def slots(self, state: NDArray[np.floating]) -> Slots:
        """Return everybody, given the world's state [STATE_ROWS, at least A]."""
        at = slice(self.first_slot, self.first_slot + self.num_slots)
        return Slots(
            state=state[:, : self.num_slots].astype(np.float64),
            type=self.arrays.slot_type[at],
            half_length=self.arrays.half_length[at].astype(np.float64),
            half_width=self.arrays.half_width[at].astype(np.float64),
        )

    def agent(self, slot: int, state: NDArray[np.floating], route_index: int) -> Agent:
        """Return one controlled agent, given the world's state [STATE_ROWS, at least A]."""
        a, g = self.arrays, self.first_slot + slot
        own = state[:, slot].astype(np.float64)
        return Agent(
            slot=slot,
            x=float(own[X]),
            y=float(own[Y]),
            heading=float(own[HEADING]),
            speed=float(own[SPEED]),
            acceleration=float(own[ACCELERATION]),
            steering=float(own[STEERING]),
            half_length=float(a.half_length[g]),
            half_width=float(a.half_width[g]),
            wheelbase=float(a.wheelbase[g]),
            rear_axle_to_center=float(a.rear_axle_to_center[g]),
            route_index=route_index,
        )
