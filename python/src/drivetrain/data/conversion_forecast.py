"""How large a converted store will be and how long it takes, from converting one small log."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.log_entry import log_entry
from drivetrain.data.nuplan import read_drive
from drivetrain.data.nuplan_files import LogFile
from drivetrain.errors import DataError
from drivetrain.processes import usable_cores
from drivetrain.sim.scenario import Knowledge, LaneTable, PolygonSet, Ragged, RoadMap

TRIAL_BYTES = 40_000_000
"""The largest log that is converted for a forecast [bytes]."""
BYTES_PER_BOX = 12.0
"""Store size where no log was small enough to try, measured on dense synthetic logs [bytes]."""
BOXES_PER_S = 150_000.0
"""Speed of one core where no log was small enough to try."""


def forecast(paths: Sequence[Path], cities: Mapping[Path, str], boxes: int) -> dict[str, Any]:
    """Return predicted size and time of a conversion.

    Args:
        paths: Readable logs, the smallest one first.
        cities: Their cities.
        boxes: Boxes to be converted.
    """
    per_box, speed, basis = BYTES_PER_BOX, BOXES_PER_S, "typical figures; no log was small enough to be tried"
    for path in paths[:3]:
        if path.stat().st_size > TRIAL_BYTES:
            break
        trial = _try(path, cities[path])
        if trial is not None:
            per_box, speed = trial
            basis = f"a trial conversion of {path.name}"
            break
    workers = usable_cores()
    return {
        "store_bytes": round(per_box * boxes),
        "seconds": round(boxes / speed / workers, 1),
        "workers": workers,
        "boxes_per_cpu_second": round(speed),
        "basis": basis,
    }


def _try(path: Path, city: str) -> tuple[float, float] | None:
    """Return bytes per box and boxes per second of a log; None if it has no boxes or cannot be converted."""
    began = time.process_time()
    try:
        # Without its map: reading a city takes long and happens once, whatever the number of logs.
        drive = read_drive(LogFile(path=path, folder=path.parent.name), path.parent, {city: _no_map(city)})
        entry = log_entry(drive.log, [])
    except DataError:
        return None
    boxes = len(drive.log.tracks.frame)
    if not boxes:
        return None
    return len(entry.block) / boxes, boxes / max(1e-3, time.process_time() - began)


def _no_map(name: str) -> RoadMap:
    nothing = PolygonSet.of([], kind=[], source_id=[])
    lines, rows = Ragged.of([], dtype=np.float64, width=2), Ragged.of([], dtype=np.int32)
    no_rows = np.zeros(0, dtype=np.int64)
    lanes = LaneTable(
        source_id=no_rows,
        kind=np.zeros(0, dtype=np.uint8),
        baseline=lines,
        left_boundary=lines,
        right_boundary=lines,
        polygon=nothing,
        speed_limit=np.zeros(0),
        speed_limit_known=np.zeros(0, dtype=np.bool_),
        successors=rows,
        predecessors=rows,
        left_neighbor=rows,
        right_neighbor=rows,
        roadblock=rows,
        stop_polygons=rows,
    )
    return RoadMap(
        name=name,
        origin=np.zeros(2),
        epsg=0,
        lanes=lanes,
        roadblock_id=no_rows,
        roadblock_is_connector=np.zeros(0, dtype=np.bool_),
        roadblock_polygon=nothing,
        stop_polygons=nothing,
        intersections=nothing,
        crosswalks=nothing,
        drivable=nothing,
        road_edges=lines,
        knowledge=Knowledge(
            lane_graph=False, speed_limits=False, drivable_area=False, traffic_lights=False, route=False
        ),
    )
