"""Scenarios in Argoverse 2's motion-forecasting format, written from a map and a drive."""

import json
from pathlib import Path

import numpy as np

from drivetrain.sim.scenario import AgentType, DrivingLog, LaneKind, RoadMap

TYPES = {
    AgentType.VEHICLE: "vehicle",
    AgentType.PEDESTRIAN: "pedestrian",
    AgentType.BICYCLE: "cyclist",
    AgentType.TRAFFIC_CONE: "construction",
}
START_NS = 315_968_385_423_502_536
HALF_WIDTH_M = 1.7


def rows(log: DrivingLog, *, steps=110, shift=(0.0, 0.0), rear_axle_to_center=1.339) -> dict[str, list]:
    """Return the columns of a scenario: every second frame of a 20 Hz drive; ``AV`` is its ego."""
    frames = np.arange(0, 2 * steps, 2)
    pose = log.ego.pose[frames]
    forward = np.column_stack([np.cos(pose[:, 2]), np.sin(pose[:, 2])])
    left = np.column_stack([-forward[:, 1], forward[:, 0]])
    velocity = log.ego.velocity[frames, :1] * forward + log.ego.velocity[frames, 1:] * left
    velocity = velocity + (log.ego.yaw_rate[frames] * rear_axle_to_center)[:, None] * left
    everywhere = np.ones(steps, dtype=bool)
    tracks = [("AV", "vehicle", pose[:, :2] + rear_axle_to_center * forward, pose[:, 2], velocity, everywhere)]
    agents = log.tracks.window(frames)
    for i, token in enumerate(agents.token.tolist()):
        kind = TYPES.get(AgentType(agents.type[i]), "static")
        track = (agents.position[:, i], agents.heading[:, i], agents.velocity[:, i], agents.valid[:, i])
        tracks.append((str(token), kind, *track))
    columns: dict[str, list] = {name: [] for name in COLUMNS}
    for name, kind, position, heading, speed, valid in tracks:
        for step in np.flatnonzero(valid).tolist():
            values = (
                step < 50, name, kind, 3 if name == "AV" else 1, step, *(position[step] + shift).tolist(),
                float(heading[step]), *speed[step].tolist(), log.name, START_NS, START_NS + (steps - 1) * 100_000_000,
                steps, "AV", "austin",
            )  # fmt: skip
            for column, value in zip(COLUMNS, values, strict=True):
                columns[column].append(value)
    return columns


COLUMNS = (
    "observed", "track_id", "object_type", "object_category", "timestep", "position_x", "position_y", "heading",
    "velocity_x", "velocity_y", "scenario_id", "start_timestamp", "end_timestamp", "num_timestamps", "focal_track_id",
    "city",
)  # fmt: skip


def map_document(road_map: RoadMap, *, shift=(0.0, 0.0)) -> dict:
    """Return a map; a lane's boundaries lie 1.7 m beside its baseline, its id is its row + 1000."""
    lanes, shift = road_map.lanes, np.asarray(shift)
    segments = {}
    for row in range(len(lanes)):
        line = lanes.baseline[row]
        along = np.gradient(line, axis=0)
        side = np.column_stack([-along[:, 1], along[:, 0]]) / np.hypot(*along.T)[:, None] * HALF_WIDTH_M
        left, right = lanes.left_neighbor[row].tolist(), lanes.right_neighbor[row].tolist()
        segments[str(row + 1000)] = {
            "id": row + 1000,
            "is_intersection": bool(lanes.kind[row] == LaneKind.CONNECTOR),
            "lane_type": "VEHICLE",
            "centerline": points(line + shift),
            "left_lane_boundary": points(line + side + shift),
            "left_lane_mark_type": "DASHED_WHITE",
            "right_lane_boundary": points(line - side + shift),
            "right_lane_mark_type": "SOLID_WHITE",
            "successors": [other + 1000 for other in lanes.successors[row].tolist()],
            "predecessors": [other + 1000 for other in lanes.predecessors[row].tolist()],
            "left_neighbor_id": left[0] + 1000 if left else None,
            "right_neighbor_id": right[0] + 1000 if right else None,
        }
    areas = {
        str(i): {"id": i, "area_boundary": points(road_map.drivable.rings_of(i)[0][:-1] + shift)}
        for i in range(len(road_map.drivable))
    }
    crossings = {}
    for i in range(len(road_map.crosswalks)):
        a, b, c, d = road_map.crosswalks.rings_of(i)[0][:4] + shift
        crossings[str(i)] = {"id": i, "edge1": points([a, b]), "edge2": points([d, c])}
    return {"lane_segments": segments, "drivable_areas": areas, "pedestrian_crossings": crossings}


def points(line) -> list[dict]:
    return [{"x": float(x), "y": float(y), "z": 0.0} for x, y in np.asarray(line)]


def write(folder: Path, name: str, columns: dict[str, list], document: object) -> Path:
    """Write a scenario's folder; needs pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"scenario_{name}.parquet"
    pq.write_table(pa.table(columns), path)
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / f"log_map_archive_{name}.json").write_text(text)
    return path
