"""How a road map, a driving log and a window of a log become records of arrays, and back.

Maps keep every float64 vertex. A log keeps the ego in float64 and the other agents sparsely, track by track. Agent
positions are float32 relative to an anchor near the drive (below 0.3 mm of rounding within 4 km of it);
headings and velocities are float32 as in the scenario types.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from drivetrain.data.shards import Record
from drivetrain.data.windows import Window
from drivetrain.errors import DataError
from drivetrain.sim.scenario import (
    AgentTracks,
    Bool,
    DrivingLog,
    EgoTrack,
    Int64,
    Knowledge,
    LaneTable,
    Lights,
    LightState,
    PolygonSet,
    Ragged,
    RoadMap,
    TrackTable,
    VehicleParameters,
)

_MAP_POLYGONS = ("roadblock_polygon", "stop_polygons", "intersections", "crosswalks", "drivable")
_LANE_ARRAYS = ("source_id", "kind", "speed_limit", "speed_limit_known")
_LANE_RAGGED = (
    "baseline",
    "left_boundary",
    "right_boundary",
    "successors",
    "predecessors",
    "left_neighbor",
    "right_neighbor",
    "roadblock",
    "stop_polygons",
)

Arrays = dict[str, np.ndarray]


def _put_ragged(arrays: Arrays, name: str, ragged: Ragged) -> None:
    arrays[f"{name}.values"], arrays[f"{name}.offsets"] = ragged.values, ragged.offsets


def _get_ragged(arrays: Arrays, name: str) -> Ragged:
    return Ragged(values=arrays[f"{name}.values"], offsets=arrays[f"{name}.offsets"])


def _put_polygons(arrays: Arrays, name: str, polygons: PolygonSet) -> None:
    _put_ragged(arrays, f"{name}.rings", polygons.rings)
    for field in ("ring_polygon", "ring_is_hole", "kind", "source_id"):
        arrays[f"{name}.{field}"] = getattr(polygons, field)


def _get_polygons(arrays: Arrays, name: str) -> PolygonSet:
    return PolygonSet(
        rings=_get_ragged(arrays, f"{name}.rings"),
        ring_polygon=arrays[f"{name}.ring_polygon"],
        ring_is_hole=arrays[f"{name}.ring_is_hole"],
        kind=arrays[f"{name}.kind"],
        source_id=arrays[f"{name}.source_id"],
    )


def map_record(road_map: RoadMap) -> Record:
    """Return a road map as a record."""
    arrays: Arrays = {"origin": road_map.origin}
    for name in _LANE_ARRAYS:
        arrays[f"lanes.{name}"] = getattr(road_map.lanes, name)
    # What is meaningless is stored as zero, so that equal maps give equal bytes.
    arrays["lanes.speed_limit"] = np.where(road_map.lanes.speed_limit_known, road_map.lanes.speed_limit, 0.0)
    for name in _LANE_RAGGED:
        _put_ragged(arrays, f"lanes.{name}", getattr(road_map.lanes, name))
    _put_polygons(arrays, "lanes.polygon", road_map.lanes.polygon)
    arrays["roadblock_id"] = road_map.roadblock_id
    arrays["roadblock_is_connector"] = road_map.roadblock_is_connector
    for name in _MAP_POLYGONS:
        _put_polygons(arrays, name, getattr(road_map, name))
    _put_ragged(arrays, "road_edges", road_map.road_edges)
    meta = {
        "name": road_map.name,
        "epsg": road_map.epsg,
        "knowledge": dataclasses.asdict(road_map.knowledge),
    }
    return Record(arrays=arrays, meta=meta)


def read_map(record: Record) -> RoadMap:
    """Return the road map of a record; its arrays are the record's."""
    arrays, meta = record.arrays, record.meta
    columns: dict[str, Any] = {name: arrays[f"lanes.{name}"] for name in _LANE_ARRAYS}
    columns |= {name: _get_ragged(arrays, f"lanes.{name}") for name in _LANE_RAGGED}
    layers: dict[str, Any] = {name: _get_polygons(arrays, name) for name in _MAP_POLYGONS}
    return RoadMap(
        name=meta["name"],
        origin=arrays["origin"],
        epsg=meta["epsg"],
        lanes=LaneTable(**columns, polygon=_get_polygons(arrays, "lanes.polygon")),
        roadblock_id=arrays["roadblock_id"],
        roadblock_is_connector=arrays["roadblock_is_connector"],
        **layers,
        road_edges=_get_ragged(arrays, "road_edges"),
        knowledge=Knowledge(**meta["knowledge"]),
    )


def log_record(log: DrivingLog, frames: Int64) -> Record:
    """Return the given frames of a log (all of them, or those some window needs) as a record."""
    ego, lights = log.ego, log.lights
    tracks = log.tracks if len(frames) == len(log.timestamps_us) else log.tracks.take(frames)
    anchor = np.round(ego.pose[len(ego.pose) // 2, :2])
    arrays: Arrays = {
        "timestamps_us": log.timestamps_us[frames],
        "ego.pose": ego.pose[frames],
        "ego.velocity": ego.velocity[frames],
        "ego.acceleration": ego.acceleration[frames],
        "ego.yaw_rate": ego.yaw_rate[frames],
        "tracks.token": tracks.token,
        "tracks.type": tracks.type,
        "tracks.size": tracks.size,
        "tracks.offsets": tracks.offsets,
        "tracks.frame": tracks.frame,
        "tracks.position": (tracks.position - anchor).astype(np.float32),
        "tracks.heading": tracks.heading,
        "tracks.velocity": tracks.velocity,
        "anchor": anchor,
        "lights.lane": lights.lane,
        "lights.stop_point": lights.stop_point,
        "lights.state": lights.state[frames],
        "scene_first_frame": np.searchsorted(frames, log.scene_first_frame).astype(np.int64),
        "scene_goal": np.where(log.scene_goal_known[:, None], log.scene_goal, 0.0),
        "scene_goal_known": log.scene_goal_known,
    }
    _put_ragged(arrays, "scene_route", log.scene_route)
    kept = np.isin(log.tag_frame, frames)
    arrays["tag_frame"] = np.searchsorted(frames, log.tag_frame[kept]).astype(np.int64)
    meta = {
        "name": log.name,
        "map_name": log.map_name,
        "source": log.source,
        "vehicle": dataclasses.asdict(ego.vehicle),
        "tag_type": [kind for kind, keep in zip(log.tag_type, kept, strict=True) if keep],
        "knowledge": dataclasses.asdict(log.knowledge),
    }
    return Record(arrays=arrays, meta=meta)


def read_log(record: Record) -> DrivingLog:
    """Return the whole log of a record."""
    arrays, meta = record.arrays, record.meta
    return DrivingLog(
        name=meta["name"],
        map_name=meta["map_name"],
        source=meta["source"],
        timestamps_us=arrays["timestamps_us"],
        ego=read_ego(record, np.arange(len(arrays["timestamps_us"]))),
        tracks=read_tracks(record),
        lights=Lights(
            lane=arrays["lights.lane"],
            stop_point=arrays["lights.stop_point"],
            state=arrays["lights.state"],
        ),
        scene_first_frame=arrays["scene_first_frame"],
        scene_route=_get_ragged(arrays, "scene_route"),
        scene_goal=arrays["scene_goal"],
        scene_goal_known=arrays["scene_goal_known"],
        tag_frame=arrays["tag_frame"],
        tag_type=tuple(meta["tag_type"]),
        knowledge=Knowledge(**meta["knowledge"]),
    )


def read_ego(record: Record, frames: Int64) -> EgoTrack:
    """Return the ego over some frames of a record, as own (writable) arrays."""
    arrays = record.arrays
    return EgoTrack(
        pose=arrays["ego.pose"][frames],
        velocity=arrays["ego.velocity"][frames],
        acceleration=arrays["ego.acceleration"][frames],
        yaw_rate=arrays["ego.yaw_rate"][frames],
        vehicle=VehicleParameters(**record.meta["vehicle"]),
    )


def read_tracks(record: Record) -> TrackTable:
    """Return all tracks of a record."""
    arrays = record.arrays
    return TrackTable(
        token=arrays["tracks.token"],
        type=arrays["tracks.type"],
        size=arrays["tracks.size"],
        offsets=arrays["tracks.offsets"],
        frame=arrays["tracks.frame"],
        position=arrays["tracks.position"] + arrays["anchor"],
        heading=arrays["tracks.heading"],
        velocity=arrays["tracks.velocity"],
    )


def read_agents(record: Record, frames: Int64) -> AgentTracks:
    """Return the agents seen in some (ascending) frames of a record, in the log's order."""
    return read_tracks(record).window(frames)


def read_lights(record: Record, frames: Int64) -> Lights:
    """Return the lights whose state is known at some of the frames; the others would say nothing."""
    arrays = record.arrays
    state = arrays["lights.state"][frames]
    known = np.flatnonzero((state != LightState.UNKNOWN).any(axis=0))
    return Lights(
        lane=arrays["lights.lane"][known],
        stop_point=arrays["lights.stop_point"][known],
        state=state[:, known],
    )


def read_route(record: Record, frame: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return route rows, goal pose and whether the goal is known, of the scene a frame belongs to."""
    arrays = record.arrays
    scene = int(np.searchsorted(arrays["scene_first_frame"], frame, side="right")) - 1
    if scene < 0:
        return np.zeros(0, dtype=np.int32), np.zeros(3), False
    route = _get_ragged(arrays, "scene_route")[scene].astype(np.int32)
    return route, arrays["scene_goal"][scene].copy(), bool(arrays["scene_goal_known"][scene])


def frames_to_keep(num_frames: int, windows: list[Window], *, all_frames: bool) -> tuple[Int64, list[Window]]:
    """Return the frames of a log to store and the windows counted in those frames.

    With ``all_frames`` False only frames that a window shows are kept (half of a 20 Hz log), unless windows overlap
    out of step with each other and would lose their even spacing.
    """
    everything = np.arange(num_frames, dtype=np.int64)
    used: Bool = np.zeros(num_frames, dtype=np.bool_)
    for window in windows:
        used[window.first_frame : last_frame(window) + 1 : window.stride] = True
    kept = np.flatnonzero(used).astype(np.int64)
    if all_frames or not windows:
        return everything, windows
    place = np.cumsum(used) - 1
    moved = []
    for window in windows:
        frames = place[window.first_frame : last_frame(window) + 1 : window.stride]
        steps = np.unique(np.diff(frames))
        if len(steps) > 1:
            return everything, windows
        moved.append(
            dataclasses.replace(
                window,
                first_frame=int(frames[0]),
                stride=int(steps[0]) if len(steps) else 1,
                reference_frame=int(np.searchsorted(kept, window.reference_frame)),
            )
        )
    return kept, moved


def last_frame(window: Window) -> int:
    """Return the last frame of the log that a window shows."""
    return window.first_frame + (window.num_frames - 1) * window.stride


def check_finite(record: Record, what: str) -> None:
    """Check that no array of a record holds NaN or infinity.

    Raises:
        DataError: Naming the array.
    """
    for name, array in record.arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            count = int((~np.isfinite(array)).sum())
            raise DataError(
                f"{what}: array '{name}' holds {count} NaN or infinite values; mend or drop them at the source"
            )
