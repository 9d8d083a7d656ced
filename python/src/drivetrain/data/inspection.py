"""What is in a scenario store, and whether it is sound. Both answers are plain data that JSON can hold."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.shards import REMEDY, ShardReader
from drivetrain.data.store_files import CONVERSION, INDEX, LOGS, MANIFEST, SPLITS, file_sha256
from drivetrain.errors import DataError
from drivetrain.sim.scenario import AgentType, DrivingLog, LightState, Ragged, RoadMap

MAX_SPEED_MPS = 100.0
MAX_EXTENT_M = 100_000.0

Problem = dict[str, str]
"""``place`` (file, log or scenario) and ``problem``."""
Progress = Callable[[int, int, str], None]


def inspect_store(path: str | Path) -> dict[str, Any]:
    """Return what a store holds; reads the manifest and the index only.

    Raises:
        DataError: There is no store, or it cannot be opened.
    """
    store = ScenarioStore(path)
    manifest, index = store.manifest, store.index
    counts = np.bincount(index["type"], minlength=len(store.types))

    def spread(column: str) -> dict[str, float]:
        values = index[column]
        if not len(values):
            return {}
        return {
            name: round(float(np.quantile(values, q)), 3)
            for name, q in (("min", 0), ("median", 0.5), ("p90", 0.9), ("max", 1))
        }

    return {
        "path": str(store.path),
        "source": store.source,
        "licence": manifest.get("licence", ""),
        "version": manifest["version"],
        "fingerprint": store.fingerprint,
        "creator": manifest.get("creator", {}),
        "dt_s": manifest.get("dt_s"),
        "scenarios": {**store.splits, "total": len(index)},
        "logs": manifest.get("logs", {}),
        "maps": manifest.get("maps"),
        "types": {store.types[i]: int(counts[i]) for i in np.argsort(-counts, kind="stable") if counts[i]},
        "num_frames": spread("num_frames"),
        "num_agents": spread("num_agents"),
        "expert_length_m": spread("expert_length_m"),
        "difficulty_m": spread("difficulty_m"),
        "knowledge": manifest["knowledge"],
        "dropped": manifest.get("dropped", {}),
        "notes": manifest.get("notes", {}),
        "bytes": sum(int(entry["bytes"]) for entry in manifest["files"].values()),
        "bytes_per_scenario": round(
            sum(int(entry["bytes"]) for entry in manifest["files"].values()) / max(1, len(index))
        ),
    }


def verify_store(path: str | Path, *, progress: Progress | None = None) -> list[Problem]:
    """Return everything that is wrong with a store: none means sound.

    Checked: every file against its digest, every record against its checksum, the index against the logs, splits by
    log, finite and plausible values, and routes that hang together.

    Raises:
        DataError: There is no store at all.
    """
    path = Path(path)
    if not (path / MANIFEST).is_file():
        ScenarioStore(path)
    try:
        store = ScenarioStore(path)
    except DataError as error:
        return [{"place": str(path), "problem": str(error)}]
    problems = [*_file_problems(store), *_index_problems(store)]
    steps = len(store.map_names) + len(store.log_names)
    done = 0
    for kind, names in (("map", store.map_names), ("log", store.log_names)):
        for row, name in enumerate(names):
            try:
                if kind == "map":
                    problems += _named(f"map '{name}'", _map_problems(store.road_map(row)))
                else:
                    log = store.log(name)
                    problems += _named(f"log '{name}'", _log_problems(log, store.road_map(store.map_row_of_log(row))))
            except (DataError, LookupError, ValueError, TypeError) as error:
                problems += _named(f"{kind} '{name}'", [f"cannot be read: {error}"])
            done += 1
            if progress is not None:
                progress(done, steps, name)
    return problems


def _named(place: str, problems: Iterator[str] | list[str]) -> list[Problem]:
    return [{"place": place, "problem": problem} for problem in problems]


def _file_problems(store: ScenarioStore) -> Iterator[Problem]:
    listed = store.manifest["files"]
    for name, entry in listed.items():
        file = store.path / name
        if not file.is_file():
            yield {"place": name, "problem": f"is missing; {REMEDY}"}
            continue
        size, digest = file.stat().st_size, file_sha256(file)
        if size != entry["bytes"]:
            yield {"place": name, "problem": f"has {size} bytes, the manifest says {entry['bytes']}; {REMEDY}"}
        elif digest != entry["sha256"]:
            yield {"place": name, "problem": f"has sha256 {digest[:12]}, expected {entry['sha256'][:12]}; {REMEDY}"}
        else:
            continue
        if name.endswith(".dts"):
            yield from _shard_problems(file, name)
    present = {str(p.relative_to(store.path)) for p in store.path.rglob("*") if p.is_file()}
    for name in sorted(present - set(listed) - {MANIFEST, CONVERSION}):
        yield {"place": name, "problem": "is not listed in the manifest; remove it"}


def _shard_problems(file: Path, name: str) -> Iterator[Problem]:
    try:
        shard = ShardReader(file)
    except DataError as error:
        yield {"place": name, "problem": str(error)}
        return
    for number in range(len(shard)):
        try:
            shard.check(number)
        except DataError as error:
            yield {"place": name, "problem": str(error)}


def _index_problems(store: ScenarioStore) -> Iterator[Problem]:
    index, logs = store.index, store.logs
    names = store.log_names
    if len(set(names)) < len(names):
        yield {"place": LOGS, "problem": "a log is listed twice"}
    if len(np.unique(index["token"])) < len(index):
        yield {"place": INDEX, "problem": "two scenarios have the same id"}
    for column, limit in (("log", len(names)), ("map", len(store.map_names)), ("type", len(store.types))):
        for row in np.flatnonzero(index[column] >= limit)[:3]:
            problem = f"scenario {row}: {column} is {index[column][row]}, there are {limit}"
            yield {"place": INDEX, "problem": problem}
    inside = index["log"] < len(names)
    rows = index[inside]
    last = rows["first_frame"].astype(np.int64) + (rows["num_frames"].astype(np.int64) - 1) * rows["stride"]
    for row in np.flatnonzero((last >= logs["num_frames"][rows["log"]]) | (rows["num_frames"] < 2))[:3]:
        yield {"place": INDEX, "problem": f"scenario {row}: its frames leave its log"}
    for row in np.flatnonzero(rows["split"] != logs["split"][rows["log"]])[:3]:
        log = names[rows["log"][row]]
        yield {"place": INDEX, "problem": f"scenario {row} is not in the split of its log '{log}'"}
    for number, split in enumerate(SPLITS):
        count = int((index["split"] == number).sum())
        if count != store.splits[split]:
            problem = f"split {split} has {count} scenarios, the manifest says {store.splits[split]}"
            yield {"place": INDEX, "problem": problem}


def _map_problems(road_map: RoadMap) -> Iterator[str]:
    lanes = road_map.lanes
    for name in ("successors", "predecessors", "left_neighbor", "right_neighbor"):
        yield from _range_problem(name, getattr(lanes, name), len(lanes))
    yield from _range_problem("roadblock", lanes.roadblock, len(road_map.roadblock_id))
    yield from _range_problem("stop_polygons", lanes.stop_polygons, len(road_map.stop_polygons))
    for name, lines in (("baseline", lanes.baseline), ("road_edges", road_map.road_edges)):
        if not np.isfinite(lines.values).all():
            yield f"{name} holds NaN"
        elif len(lines.values) and float(np.abs(lines.values).max()) > MAX_EXTENT_M:
            yield f"{name} reaches {np.abs(lines.values).max():.0f} m from the origin"
        short = np.flatnonzero(np.diff(lines.offsets) < 2)
        if len(short):
            yield f"{name} {int(short[0])} has fewer than 2 points"
    known = lanes.speed_limit[lanes.speed_limit_known]
    if len(known) and not (np.isfinite(known).all() and (known > 0).all()):
        yield "a known speed limit is not above 0"
    for name in ("roadblock_polygon", "stop_polygons", "crosswalks", "drivable", "intersections"):
        rings = getattr(road_map, name).rings
        is_open = [i for i in range(len(rings)) if len(rings[i]) < 4 or (rings[i][0] != rings[i][-1]).any()]
        if is_open:
            yield f"{name}: ring {is_open[0]} is not closed"


def _range_problem(name: str, rows: Ragged, limit: int) -> Iterator[str]:
    if len(rows.values) and not (int(rows.values.min()) >= 0 and int(rows.values.max()) < limit):
        yield f"{name} names row {int(rows.values.max())}, there are {limit}"


def _log_problems(log: DrivingLog, road_map: RoadMap) -> Iterator[str]:
    if (np.diff(log.timestamps_us) <= 0).any():
        yield f"time does not advance at frame {int(np.flatnonzero(np.diff(log.timestamps_us) <= 0)[0]) + 1}"
    for name in ("pose", "velocity", "acceleration", "yaw_rate"):
        values = getattr(log.ego, name)
        if not np.isfinite(values).all():
            yield f"ego {name} holds NaN"
    tracks = log.tracks
    for name, values in (("position", tracks.position), ("heading", tracks.heading), ("velocity", tracks.velocity)):
        if not np.isfinite(values).all():
            yield f"agent {name} holds NaN"
    fast = np.linalg.norm(tracks.velocity, axis=1)
    if fast.size and float(fast.max()) > MAX_SPEED_MPS:
        yield f"an agent moves at {fast.max():.0f} m/s"
    if float(np.abs(log.ego.velocity).max()) > MAX_SPEED_MPS:
        yield f"the ego moves at {np.abs(log.ego.velocity).max():.0f} m/s"
    if not (tracks.size > 0).all():
        yield "an agent has no size"
    if len(tracks.type) and int(tracks.type.max()) > AgentType.EGO:
        yield f"an agent has type {int(tracks.type.max())}"
    if log.lights.state.size and int(log.lights.state.max()) > LightState.UNKNOWN:
        yield f"a light has state {int(log.lights.state.max())}"
    if len(log.lights.lane) and int(log.lights.lane.max()) >= len(road_map.lanes):
        yield f"a light controls lane row {int(log.lights.lane.max())}, there are {len(road_map.lanes)}"
    yield from _route_problems(log, road_map)


def _route_problems(log: DrivingLog, road_map: RoadMap) -> Iterator[str]:
    blocks = len(road_map.roadblock_id)
    lanes = road_map.lanes
    follows = {
        (int(a), int(b))
        for lane in range(len(lanes))
        for after in lanes.successors[lane]
        for a in lanes.roadblock[lane]
        for b in lanes.roadblock[int(after)]
    }
    for scene in range(len(log.scene_route)):
        route = log.scene_route[scene].tolist()
        if any(not 0 <= block < blocks for block in route):
            yield f"scene {scene}: its route names roadblock row {max(route)}, there are {blocks}"
        elif road_map.knowledge.lane_graph:
            for a, b in itertools.pairwise(route):
                if (a, b) not in follows:
                    ids = road_map.roadblock_id
                    yield f"scene {scene}: no lane leads from roadblock {ids[a]} to {ids[b]} of its route"
                    break
