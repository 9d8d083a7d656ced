"""How a road map and a driving log become records of arrays, and a map its own again.

Maps keep every float64 vertex. A log is packed as ``log_packing`` says and read by ``stored_log``.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from drivetrain.data.log_packing import Arrays, pack_ego, pack_lights, pack_time, pack_tracks
from drivetrain.data.shards import Record
from drivetrain.data.windows import Window
from drivetrain.errors import DataError
from drivetrain.sim.scenario import (
    Bool,
    DrivingLog,
    EgoTrack,
    Int64,
    Knowledge,
    LaneTable,
    PolygonSet,
    Ragged,
    RoadMap,
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


LARGEST = 1e9
"""Values of a log are smaller than this, whatever their unit."""


def log_record(log: DrivingLog, frames: Int64) -> Record:
    """Return the given frames of a log (all of them, or those some window needs) as a record.

    Raises:
        DataError: A value is not finite, or something lies too far from the drive.
    """
    what = f"log '{log.name}'"
    _check_finite_log(log, what)
    ego, everything = log.ego, len(frames) == len(log.timestamps_us)
    kept = np.isin(log.tag_frame, frames)
    kinds = {kind: i for i, kind in enumerate(sorted(set(log.tag_type)))}
    tag_type = np.array([kinds[kind] for kind in log.tag_type], dtype=np.uint16)
    origin = np.round(ego.pose[len(ego.pose) // 2, :2])
    time, spacing = pack_time(log.timestamps_us[frames])
    shown = EgoTrack(
        pose=ego.pose[frames],
        velocity=ego.velocity[frames],
        acceleration=ego.acceleration[frames],
        yaw_rate=ego.yaw_rate[frames],
        vehicle=ego.vehicle,
    )
    arrays: Arrays = {
        "origin": origin,
        "scene_first_frame": np.searchsorted(frames, log.scene_first_frame).astype(np.int64),
        "scene_goal": np.where(log.scene_goal_known[:, None], log.scene_goal, 0.0),
        "scene_goal_known": log.scene_goal_known,
        "tag_frame": np.searchsorted(frames, log.tag_frame[kept]).astype(np.uint32),
        "tag_type": tag_type[kept],
        **pack_lights(log.lights, frames),
        **time,
        **pack_ego(shown, origin, what),
        **pack_tracks(log.tracks if everything else log.tracks.take(frames), len(frames), origin, what),
    }
    _put_ragged(arrays, "scene_route", log.scene_route)
    meta = {
        "name": log.name,
        "map_name": log.map_name,
        "source": log.source,
        **spacing,
        "vehicle": dataclasses.asdict(ego.vehicle),
        "tag_types": list(kinds),
        "knowledge": dataclasses.asdict(log.knowledge),
    }
    return Record(arrays=arrays, meta=meta)


def _check_finite_log(log: DrivingLog, what: str) -> None:
    """Check what becomes integers: there NaN would go unnoticed."""
    for part, names in (
        ("ego", ("pose", "velocity", "acceleration", "yaw_rate")),
        ("tracks", ("position", "heading", "velocity", "size")),
    ):
        for name in names:
            array = getattr(getattr(log, part), name)
            _check_finite_array(array, f"{part}.{name}", what)
            if array.size and (largest := float(np.abs(array).max())) > LARGEST:
                raise DataError(
                    f"{what}: array '{part}.{name}' holds {largest:g}, beyond anything measured; mend or drop it at the"
                    " source"
                )


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
        _check_finite_array(array, name, what)


def _check_finite_array(array: np.ndarray, name: str, what: str) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise DataError(f"{what}: array '{name}' holds {count} NaN or infinite values; mend or drop them at the source")
