"""What the ego did: its states over time, and the box it fills.

T states.

A state is given at the rear axle, as nuPlan records it. Sources differ in what they know beside the pose: a logged
nuPlan drive has no yaw rate (nuPlan itself scores it with zero), a trajectory of a planner usually no lateral velocity.
Source of the vehicle's geometry: nuPlan's Pacifica (``VehicleParameters``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivetrain.errors import DataError
from drivetrain.sim.scenario import EgoTrack, Float64, VehicleParameters

FRONT_LEFT, REAR_LEFT, REAR_RIGHT, FRONT_RIGHT = range(4)
"""Order of the corners of a box, counter-clockwise."""
_CORNER_SIGNS = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


@dataclass(frozen=True, kw_only=True, slots=True)
class EgoStates:
    """The ego's states; state i is at frame i of the scene it is scored in."""

    pose: Float64
    """Rear axle x, y [m] (map frame), heading [rad, not wrapped], shape [T, 3]."""
    velocity: Float64
    """Longitudinal, lateral velocity of the rear axle in the body frame [m/s], shape [T, 2]."""
    acceleration: Float64
    """Longitudinal, lateral acceleration of the rear axle in the body frame [m/s^2], shape [T, 2]."""
    yaw_rate: Float64
    """[rad/s], shape [T]."""
    yaw_acceleration: Float64
    """[rad/s^2], shape [T]."""
    vehicle: VehicleParameters = field(default_factory=VehicleParameters)

    def __post_init__(self) -> None:
        """Refuse states that cannot be scored.

        Raises:
            DataError: A shape is wrong, there is no state, or a value is not finite.
        """
        num = len(self.pose)
        shapes = {
            "pose": (num, 3), "velocity": (num, 2), "acceleration": (num, 2), "yaw_rate": (num,),
            "yaw_acceleration": (num,),
        }  # fmt: skip
        for name, expected in shapes.items():
            values = getattr(self, name)
            if values.shape != expected:
                raise DataError(f"ego states: '{name}' has shape {values.shape}, expected {expected}")
            if not np.isfinite(values).all():
                bad = int(np.flatnonzero(~np.isfinite(values).reshape(num, -1).all(axis=1))[0])
                raise DataError(f"ego states: '{name}' of state {bad} is not finite; leave this trajectory out")
        if num == 0:
            raise DataError("ego states: there are none; a trajectory needs at least one state")

    @classmethod
    def of_log(cls, ego: EgoTrack) -> EgoStates:
        """Return a logged drive as nuPlan scores it: the recorded yaw rate is not used, it counts as zero."""
        zeros = np.zeros(len(ego.pose))
        return cls(
            pose=ego.pose,
            velocity=ego.velocity,
            acceleration=ego.acceleration,
            yaw_rate=zeros,
            yaw_acceleration=zeros,
            vehicle=ego.vehicle,
        )

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def heading(self) -> Float64:
        """[rad], shape [T]."""
        return self.pose[:, 2]

    @property
    def speed(self) -> Float64:
        """Magnitude of the rear axle's velocity [m/s], shape [T]."""
        return np.hypot(self.velocity[:, 0], self.velocity[:, 1])

    @property
    def centre(self) -> Float64:
        """Centre of the box [m] (map frame), shape [T, 2]."""
        direction = np.column_stack([np.cos(self.heading), np.sin(self.heading)])
        return self.pose[:, :2] + self.vehicle.rear_axle_to_center * direction

    @property
    def corners(self) -> Float64:
        """Corners of the box [m] (map frame), front left first, counter-clockwise, shape [T, 4, 2]."""
        cos, sin = np.cos(self.heading)[:, None], np.sin(self.heading)[:, None]
        ahead = 0.5 * self.vehicle.length * _CORNER_SIGNS[:, 0]
        left = 0.5 * self.vehicle.width * _CORNER_SIGNS[:, 1]
        offset = np.stack([ahead * cos - left * sin, ahead * sin + left * cos], axis=2)
        return self.centre[:, None] + offset
