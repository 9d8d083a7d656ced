"""Recorded driving as data: road map, log, scenario. Shaped after nuPlan; other sources fill what they have.

L lanes, R roadblocks, T frames, A agents, K lights, E polylines.

All coordinates are float64 metres in the *map frame*: global coordinates minus ``RoadMap.origin``. What a source
does not know is said by :class:`Knowledge` or by an explicit ``*_known`` mask, never by a magic number.
Everything here is plain NumPy, so that a store can map it from disk and a reader needs nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.tracks import AgentTracks, TrackTable

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]


class AgentType(enum.IntEnum):
    """Kind of a road user or object; nuPlan's TrackedObjectType numbers."""

    VEHICLE = 0
    PEDESTRIAN = 1
    BICYCLE = 2
    TRAFFIC_CONE = 3
    BARRIER = 4
    CZONE_SIGN = 5
    GENERIC_OBJECT = 6
    EGO = 7


class LightState(enum.IntEnum):
    """State of the light of one lane connector; nuPlan's numbers."""

    GREEN = 0
    YELLOW = 1
    RED = 2
    UNKNOWN = 3


class LaneKind(enum.IntEnum):
    """Kind of a lane row."""

    LANE = 0
    CONNECTOR = 1
    BIKE_LANE = 2


class DrivableKind(enum.IntEnum):
    """Which nuPlan layer a drivable polygon came from."""

    ROAD_SEGMENT = 0
    INTERSECTION = 1
    GENERIC = 2
    CARPARK = 3


class StopKind(enum.IntEnum):
    """Kind of a stop polygon; nuPlan's stop_polygon_type_fid."""

    PED_CROSSING = 0
    STOP_SIGN = 1
    TRAFFIC_LIGHT = 2
    TURN_STOP = 3
    YIELD = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Ragged:
    """A list of arrays of different lengths, stored as one array and offsets (CSR)."""

    values: np.ndarray
    """All items one after another, shape [sum, ...]."""
    offsets: Int64
    """Item i is ``values[offsets[i]:offsets[i + 1]]``, shape [n + 1]."""

    @classmethod
    def of(cls, items: Sequence[np.ndarray | Sequence[int]], *, dtype: type, width: int | None = None) -> Ragged:
        """Build from a list of arrays; ``width`` is the size of the second dimension (None: one-dimensional)."""
        offsets = np.zeros(len(items) + 1, dtype=np.int64)
        np.cumsum([len(item) for item in items], out=offsets[1:])
        shape = (int(offsets[-1]),) if width is None else (int(offsets[-1]), width)
        values = np.zeros(shape, dtype=dtype)
        for i, item in enumerate(items):
            if len(item):
                values[offsets[i] : offsets[i + 1]] = item
        return cls(values=values, offsets=offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PolygonSet:
    """Polygons with holes; a multi-polygon is several rows of one ``source_id``."""

    rings: Ragged
    """Ring vertices [m], closed (first equals last), float64 [., 2]; a polygon's outer ring comes before its holes."""
    ring_polygon: Int32
    """Polygon row each ring belongs to, shape [rings]."""
    ring_is_hole: Bool
    """True for inner rings, shape [rings]."""
    kind: UInt8
    """Meaning depends on the layer (DrivableKind, StopKind, nuPlan's intersection type), shape [polygons]."""
    source_id: Int64
    """The source's own id, shape [polygons]."""

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def of(
        cls,
        polygons: Sequence[Sequence[np.ndarray]],
        *,
        kind: Sequence[int] | np.ndarray,
        source_id: Sequence[int] | np.ndarray,
    ) -> PolygonSet:
        """Build from ``polygons[i] = [outer ring, hole, ...]`` (each float64 [., 2])."""
        rings = [ring for polygon in polygons for ring in polygon]
        return cls(
            rings=Ragged.of(rings, dtype=np.float64, width=2),
            ring_polygon=np.array([i for i, p in enumerate(polygons) for _ in p], dtype=np.int32),
            ring_is_hole=np.array([j > 0 for p in polygons for j in range(len(p))], dtype=np.bool_),
            kind=np.asarray(kind, dtype=np.uint8).reshape(len(polygons)),
            source_id=np.asarray(source_id, dtype=np.int64).reshape(len(polygons)),
        )

    def rings_of(self, polygon: int) -> list[np.ndarray]:
        """Return the rings of one polygon, outer ring first."""
        return [self.rings[int(r)] for r in np.flatnonzero(self.ring_polygon == polygon)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Knowledge:
    """What a source knows. A metric whose needs are not met reports 'unknown' instead of a number."""

    lane_graph: bool
    """Successors and neighbours are recorded; roadblocks are, or follow from them (lanes side by side are one)."""
    speed_limits: bool
    """At least some lanes have a speed limit; see ``LaneTable.speed_limit_known`` for which."""
    drivable_area: bool
    """``RoadMap.drivable`` covers the drivable surface (else only road edges are known)."""
    traffic_lights: bool
    """Light states are recorded."""
    route: bool
    """The ego's route is recorded (else it is derived from the logged path)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneTable:
    """Lanes and lane connectors, one row each."""

    source_id: Int64
    """The source's id (nuPlan: fid, unique within its kind only), shape [L]."""
    kind: UInt8
    """LaneKind, shape [L]."""
    baseline: Ragged
    """Centre line in driving direction [m], float64, L x [., 2]."""
    left_boundary: Ragged
    """Left boundary in driving direction [m], float64, L x [., 2]; empty where unknown."""
    right_boundary: Ragged
    """Right boundary in driving direction [m], float64, L x [., 2]; empty where unknown."""
    polygon: PolygonSet
    """Lane area [m]; ``polygon.source_id`` holds the lane *row*; lanes without a known area have no polygon.

    Polygons keep the source's order, lanes before connectors: of several that hold a point nuPlan takes the first.
    """
    speed_limit: Float64
    """Speed limit [m/s], shape [L]; meaningless where ``speed_limit_known`` is False."""
    speed_limit_known: Bool
    """shape [L]."""
    successors: Ragged
    """Lane rows that continue this lane, int32."""
    predecessors: Ragged
    """Lane rows that lead into this lane, int32."""
    left_neighbor: Ragged
    """Zero or one lane row to the left in the same direction, int32."""
    right_neighbor: Ragged
    """Zero or one lane row to the right in the same direction, int32."""
    roadblock: Ragged
    """Zero or one roadblock row this lane belongs to, int32."""
    stop_polygons: Ragged
    """Rows of ``RoadMap.stop_polygons`` that the source lists for this connector, int32."""

    def __len__(self) -> int:
        return len(self.source_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class RoadMap:
    """A road map in its own frame."""

    name: str
    """Unique within a store, e.g. ``us-nv-las-vegas-strip`` or ``sample-000017``."""
    origin: Float64
    """Global position of the map frame's origin [m], float64 [2]; global = local + origin."""
    epsg: int
    """EPSG code of the global grid, 0 where there is none."""
    lanes: LaneTable
    roadblock_id: Int64
    """Source ids of roadblocks and roadblock connectors, shape [R]."""
    roadblock_is_connector: Bool
    """shape [R]."""
    roadblock_polygon: PolygonSet
    """``source_id`` holds the roadblock row."""
    stop_polygons: PolygonSet
    """kind: StopKind."""
    intersections: PolygonSet
    """kind: nuPlan's intersection_type_fid."""
    crosswalks: PolygonSet
    drivable: PolygonSet
    """kind: DrivableKind. Kept in float64 for scoring; empty unless ``knowledge.drivable_area``."""
    road_edges: Ragged
    """Border polylines of the drivable surface [m], float64, E x [., 2]: what 'off-road' is tested against."""
    knowledge: Knowledge


@dataclass(frozen=True, kw_only=True, slots=True)
class VehicleParameters:
    """Size and wheel base of a vehicle that can be driven. Defaults: nuPlan's Pacifica."""

    length: float = 5.176
    """Bumper to bumper [m]."""
    width: float = 2.297
    """[m]."""
    wheelbase: float = 3.089
    """[m]."""
    rear_axle_to_center: float = 1.461
    """Distance from the rear axle forward to the box centre [m]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EgoTrack:
    """The recording vehicle over time."""

    pose: Float64
    """Rear axle x, y [m] (map frame), heading [rad], shape [T, 3]."""
    velocity: Float64
    """Longitudinal, lateral velocity in the body frame [m/s], shape [T, 2]."""
    acceleration: Float64
    """Longitudinal, lateral acceleration in the body frame [m/s^2], shape [T, 2]."""
    yaw_rate: Float64
    """[rad/s], shape [T]."""
    vehicle: VehicleParameters = field(default_factory=VehicleParameters)

    def take(self, frames: Int64) -> EgoTrack:
        """Return the track in some frames only."""
        return replace(
            self,
            pose=self.pose[frames],
            velocity=self.velocity[frames],
            acceleration=self.acceleration[frames],
            yaw_rate=self.yaw_rate[frames],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Lights:
    """Traffic lights over time."""

    lane: Int32
    """Lane-connector row each light controls, shape [K]; a row appears once."""
    stop_point: Float64
    """Where the connector's stop line crosses its lane [m], shape [K, 2]."""
    state: UInt8
    """LightState, shape [T, K]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrivingLog:
    """A whole recorded drive at its native rate (nuPlan: 20 Hz)."""

    name: str
    map_name: str
    source: str
    """``nuplan``, ``waymo-json``, ``scenarionet``, ``argoverse2``, ``py123d`` or ``sample``."""
    timestamps_us: Int64
    """shape [T]."""
    ego: EgoTrack
    tracks: TrackTable
    lights: Lights
    scene_first_frame: Int64
    """First frame of each scene (stretch with one route), ascending, shape [scenes]."""
    scene_route: Ragged
    """Roadblock rows the ego is to pass in each scene, int32; empty where unknown."""
    scene_goal: Float64
    """Goal pose x, y, heading of each scene, shape [scenes, 3]; meaningless where not known."""
    scene_goal_known: Bool
    """shape [scenes]."""
    tag_frame: Int64
    """Frame of each scenario tag, shape [tags]."""
    tag_type: tuple[str, ...]
    """Scenario type of each tag, e.g. ``following_lane_with_lead``."""
    knowledge: Knowledge


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A window of one log at the simulator's rate: what a world starts from."""

    scenario_id: str
    """16 hex characters, stable over conversions."""
    scenario_type: str
    log_name: str
    source: str
    split: str
    """``train``, ``val`` or ``test``."""
    map: RoadMap
    timestamps_us: Int64
    """About 10 Hz, shape [T]."""
    ego: EgoTrack
    agents: AgentTracks
    lights: Lights
    route: Int32
    """Roadblock rows the ego is to pass, in order; empty where unknown."""
    goal: Float64
    """Goal pose x, y, heading, shape [3]; meaningless unless ``goal_known``."""
    goal_known: bool
    knowledge: Knowledge


@dataclass(frozen=True, kw_only=True, slots=True)
class LogWindow:
    """Any frames of any log, whether or not a scenario shows them."""

    log_name: str
    source: str
    split: str
    """``train``, ``val`` or ``test``."""
    map: RoadMap
    timestamps_us: Int64
    """shape [T]."""
    ego: EgoTrack
    agents: AgentTracks
    lights: Lights
    knowledge: Knowledge
