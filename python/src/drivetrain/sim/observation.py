"""The canonical observation: what a controlled agent sees, as one flat float32 row per agent.

The row is a sequence of feature groups. Within a group the layout is feature-major: all values of the first
feature, then all of the second (``docs/simulator.md`` defines every feature). Every value is divided by a fixed
physical scale so that it lies within about [-1, 1]; an empty slot is all zeros. The schema's hash travels with
every checkpoint, so that a policy is never fed something it was not trained on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

POSITION_SCALE = 50.0
"""[m]"""
SPEED_SCALE = 20.0
"""[m/s]"""
ACCELERATION_SCALE = 4.0
"""[m/s^2]"""
CURVATURE_SCALE = 0.2
"""[1/m]"""
LENGTH_SCALE = 10.0
"""[m]"""
WIDTH_SCALE = 4.0
"""[m]"""

NUM_ROUTE_POINTS = 20
NUM_AGENTS = 16
NUM_ROAD_POINTS = 64

ROUTE_DISTANCES_M = tuple(float(2 * (i + 1)) if i < 10 else float(20 + 5 * (i - 9)) for i in range(20))
"""Distance along the route, from the agent's projection, of each route point [m]: 2 to 20 by 2, then 25 to 70 by 5."""

FORBIDDEN_ACTIONS = "forbidden_actions"
"""Name of a group that says of each category whether it is forbidden now (not 0): a policy never takes those."""

OBSERVATION_DTYPES: dict[str, type[np.generic]] = {"float32": np.float32, "bfloat16": np.uint16, "int8": np.int8}
"""How an observation may be stored, and the NumPy type that holds it; bfloat16 is kept as its 16 bits."""
INT8_STEP = 1.0 / 63.5
"""One unit of an int8 observation: values are rounded to it and kept within [-2, 2]."""


def encode(values: NDArray[np.float32], dtype: np.dtype | type[np.generic]) -> NDArray:
    """Return float32 values as a NumPy type of ``OBSERVATION_DTYPES``: rounded, int8 also clipped to [-2, 2]."""
    if dtype == np.int8:
        whole = (values * np.float32(1.0 / INT8_STEP) + np.float32(128.5)).astype(np.int32)
        return (whole.clip(1, 255) - 128).astype(np.int8)
    if dtype == np.uint16:
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # to nearest, ties to even
    return np.asarray(values, dtype=np.float32)


def decode(array: NDArray) -> NDArray[np.float32]:
    """Return an observation of any of ``OBSERVATION_DTYPES`` as float32."""
    if array.dtype == np.int8:
        return array.astype(np.float32) * np.float32(INT8_STEP)
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(array, dtype=np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureGroup:
    """A block of the observation."""

    name: str
    features: tuple[str, ...]
    count: int
    """Number of entities; 1 for a plain vector."""
    is_set: bool
    """True where entities have no meaning by position (an encoder may pool over them)."""
    presence: str
    """Name of a feature that is non-zero exactly for present entities; empty where all are always present."""

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.features) * self.count


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservationSchema:
    """Names, order and sizes of everything in an observation row."""

    name: str
    groups: tuple[FeatureGroup, ...]

    @property
    def size(self) -> int:
        """Number of values in a row (D)."""
        return sum(group.size for group in self.groups)

    def start(self, name: str) -> int:
        """Return the index of the first value of a group."""
        offset = 0
        for group in self.groups:
            if group.name == name:
                return offset
            offset += group.size
        raise KeyError(name)

    def group(self, name: str) -> FeatureGroup:
        """Return a group by name."""
        return next(group for group in self.groups if group.name == name)

    @property
    def hash(self) -> str:
        """16 hex characters that change whenever the meaning of a row changes."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


CANONICAL = ObservationSchema(
    name="driving-1",
    groups=(
        FeatureGroup(
            name="ego",
            features=(
                "speed",
                "acceleration",
                "curvature",
                "yaw_rate",
                "length",
                "width",
                "route_lateral_offset",
                "route_heading_cos",
                "route_heading_sin",
                "speed_limit",
                "speed_limit_known",
                "distance_to_goal",
            ),
            count=1,
            is_set=False,
            presence="",
        ),
        FeatureGroup(
            name="stop",
            features=("exists", "distance", "green", "yellow", "red", "unknown", "state_age", "braking_needed"),
            count=1,
            is_set=False,
            presence="exists",
        ),
        FeatureGroup(
            name="route",
            features=("x", "y", "cos", "sin"),
            count=NUM_ROUTE_POINTS,
            is_set=False,
            presence="",
        ),
        FeatureGroup(
            name="agents",
            features=(
                "x",
                "y",
                "cos",
                "sin",
                "velocity_x",
                "velocity_y",
                "length",
                "width",
                "closest_time",
                "closest_distance",
                "in_corridor",
                "corridor_gap",
                "is_vulnerable",
            ),
            count=NUM_AGENTS,
            is_set=True,
            presence="length",
        ),
        FeatureGroup(
            name="road",
            features=("x", "y", "cos", "sin", "half_length", "is_edge"),
            count=NUM_ROAD_POINTS,
            is_set=True,
            presence="half_length",
        ),
    ),
)
"""692 values: 2,768 bytes as float32, 692 bytes as int8."""
