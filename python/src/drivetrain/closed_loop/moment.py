"""What is known at one frame of a simulation: the ego, everybody else, the lights.

A objects, K lights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.scenario import AgentTracks, Float64, UInt8, VehicleParameters


@dataclass(frozen=True, kw_only=True, slots=True)
class EgoMoment:
    """The ego now."""

    pose: Float64
    """Rear axle x, y [m] (map frame), heading [rad], shape [3]."""
    velocity: Float64
    """Longitudinal, lateral velocity of the rear axle in the body frame [m/s], shape [2]."""
    acceleration: float
    """Longitudinal, executed [m/s^2]."""
    steering: float
    """Front-wheel angle [rad]."""
    vehicle: VehicleParameters

    @property
    def centre(self) -> Float64:
        """Centre of the box [m], shape [2]."""
        return self.pose[:2] + self.vehicle.rear_axle_to_center * np.array([np.cos(self.pose[2]), np.sin(self.pose[2])])


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedObjects:
    """Everybody else who is present now."""

    column: NDArray[np.int64]
    """Which agent of the scenario each object is, shape [A]."""
    type: UInt8
    """AgentType, shape [A]."""
    size: Float64
    """Length, width [m], shape [A, 2]."""
    position: Float64
    """Box centre [m] (map frame), shape [A, 2]."""
    heading: Float64
    """[rad], shape [A]."""
    velocity: Float64
    """In the map frame [m/s], shape [A, 2]."""

    @classmethod
    def logged(cls, agents: AgentTracks, frame: int, columns: NDArray[np.int64]) -> ObservedObjects:
        """Return those of some agents that the log shows in a frame."""
        seen = columns[agents.valid[frame, columns]]
        return cls(
            column=seen,
            type=agents.type[seen],
            size=agents.size[seen].astype(np.float64),
            position=agents.position[frame, seen],
            heading=agents.heading[frame, seen].astype(np.float64),
            velocity=agents.velocity[frame, seen].astype(np.float64),
        )

    def with_others(self, others: ObservedObjects) -> ObservedObjects:
        """Return these objects and others behind them."""
        names = ("column", "type", "size", "position", "heading", "velocity")
        return ObservedObjects(**{n: np.concatenate([getattr(self, n), getattr(others, n)]) for n in names})

    @property
    def corners(self) -> Float64:
        """Corners of the boxes, front left first, counter-clockwise, shape [A, 4, 2]."""
        return box_corners(self.position, self.heading, self.size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One frame, as a planner sees it: no future."""

    frame: int
    """Of the scenario."""
    time_us: int
    ego: EgoMoment
    objects: ObservedObjects
    light_state: UInt8
    """LightState of each of the scenario's lights now, shape [K]."""


def box_corners(centre: Float64, heading: Float64, size: Float64) -> Float64:
    """Return the corners of boxes, front left first, counter-clockwise, shape [A, 4, 2]."""
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    ahead = 0.5 * size[:, :1] * np.array([1.0, -1.0, -1.0, 1.0])
    left = 0.5 * size[:, 1:] * np.array([1.0, 1.0, -1.0, -1.0])
    return centre[:, None] + np.stack([ahead * cos - left * sin, ahead * sin + left * cos], axis=2)
