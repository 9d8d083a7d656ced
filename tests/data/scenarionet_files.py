"""Scenes in ScenarioNet's format, written from a map and a drive as its converters write them."""

import io
import pickle  # noqa: TID251 - the files are pickles; only drivetrain.data.restricted_pickle reads them
import types
from pathlib import Path

import numpy as np

from drivetrain.sim.scenario import AgentType, DrivingLog, LaneKind, LightState, RoadMap

TYPES = {
    AgentType.VEHICLE: "VEHICLE",
    AgentType.PEDESTRIAN: "PEDESTRIAN",
    AgentType.BICYCLE: "CYCLIST",
    AgentType.TRAFFIC_CONE: "TRAFFIC_CONE",
    AgentType.BARRIER: "TRAFFIC_BARRIER",
    AgentType.CZONE_SIGN: "TRAFFIC_OBJECT",
    AgentType.GENERIC_OBJECT: "OTHER",
}
LIGHTS = {
    LightState.GREEN: "LANE_STATE_GO",
    LightState.YELLOW: "LANE_STATE_CAUTION",
    LightState.RED: "LANE_STATE_STOP",
    LightState.UNKNOWN: "LANE_STATE_UNKNOWN",
}
LANES = {
    LaneKind.LANE: "LANE_SURFACE_STREET",
    LaneKind.CONNECTOR: "LANE_SURFACE_UNSTRUCTURE",
    LaneKind.BIKE_LANE: "LANE_BIKE_LANE",
}


def track(kind, position, heading, velocity, valid, length, width, *, dtype=np.float64):
    """One entry of ``tracks``: what is not valid is zero, sizes are columns as nuPlan's converter has them."""
    steps = len(valid)
    seen = np.asarray(valid, dtype=bool)
    position = np.column_stack([np.asarray(position), np.zeros(steps)])
    return {
        "type": kind,
        "state": {
            "position": np.where(seen[:, None], position, 0).astype(dtype),
            "heading": np.where(seen, heading, 0).astype(dtype),
            "velocity": np.where(seen[:, None], velocity, 0).astype(dtype),
            "valid": seen.astype(dtype),
            "length": np.where(seen, length, 0).astype(dtype)[:, None],
            "width": np.where(seen, width, 0).astype(dtype)[:, None],
            "height": np.where(seen, 1.5, 0).astype(dtype)[:, None],
        },
        "metadata": {"track_length": steps, "type": kind},
    }


def document(road_map: RoadMap, log: DrivingLog, *, dataset="nuplan", shift=(0.0, 0.0)) -> dict:
    """Return a scene of all frames; ``shift`` moves it, since files have coordinates of their own."""
    shift = np.asarray(shift, dtype=np.float64)
    frames = np.arange(len(log.timestamps_us))
    pose, vehicle = log.ego.pose, log.ego.vehicle
    forward = np.column_stack([np.cos(pose[:, 2]), np.sin(pose[:, 2])])
    left = np.column_stack([-forward[:, 1], forward[:, 0]])
    centre = pose[:, :2] + vehicle.rear_axle_to_center * forward
    velocity = log.ego.velocity[:, :1] * forward + log.ego.velocity[:, 1:] * left
    velocity = velocity + (log.ego.yaw_rate * vehicle.rear_axle_to_center)[:, None] * left
    tracks = {"ego": track("VEHICLE", centre + shift, pose[:, 2], velocity, frames >= 0, vehicle.length, vehicle.width)}
    agents = log.tracks.window(frames)
    for i, token in enumerate(agents.token.tolist()):
        tracks[str(token)] = track(
            TYPES[AgentType(agents.type[i])], agents.position[:, i] + shift, agents.heading[:, i],
            agents.velocity[:, i], agents.valid[:, i], *agents.size[i],
        )  # fmt: skip
    for name, part in tracks.items():
        part["metadata"]["object_id"] = name
    return {
        "id": log.name,
        "version": "MetaDrive v0.4.3",
        "length": len(frames),
        "metadata": {
            "ts": (log.timestamps_us - log.timestamps_us[0]) * 1e-6,
            "sdc_id": "ego",
            "dataset": dataset,
            "scenario_id": log.name,
            "coordinate": "right-handed",
            "metadrive_processed": False,
            "ego_vehicle_parameters": {
                "wheel_base": vehicle.wheelbase,
                "rear_axle_to_center": vehicle.rear_axle_to_center,
            },
        },
        "tracks": tracks,
        "dynamic_map_states": {
            str(lane): {
                "type": "TRAFFIC_LIGHT",
                "state": {"object_state": [LIGHTS[LightState(word)] for word in log.lights.state[:, k].tolist()]},
                "lane": lane,
                "stop_point": np.append(log.lights.stop_point[k] + shift, 0.0).astype(np.float32),
                "metadata": {"track_length": len(frames), "type": "TRAFFIC_LIGHT", "object_id": str(lane)},
            }
            for k, lane in enumerate(log.lights.lane.tolist())
        },
        "map_features": map_features(road_map, shift),
    }


def map_features(road_map: RoadMap, shift) -> dict:
    """Return lanes (named by their rows), borders as lines, crosswalks, and what has no place in a road map."""
    lanes = road_map.lanes
    outlines = {int(row): lanes.polygon.rings_of(i)[0] for i, row in enumerate(lanes.polygon.source_id)}
    features = {}
    for row in range(len(lanes)):
        features[str(row)] = {
            "type": LANES[LaneKind(lanes.kind[row])],
            "polyline": lanes.baseline[row] + shift,
            "polygon": outlines[row][:-1] + shift if row in outlines else None,
            "speed_limit_kmh": float(lanes.speed_limit[row] * 3.6) if lanes.speed_limit_known[row] else None,
            "entry_lanes": lanes.predecessors[row].tolist(),
            "exit_lanes": lanes.successors[row].tolist(),
            "left_neighbor": [
                {"feature_id": str(other), "self_start_index": "0"} for other in lanes.left_neighbor[row]
            ],
            "right_neighbor": [str(other) for other in lanes.right_neighbor[row]],
        }
    for i in range(len(road_map.road_edges)):
        kind = "ROAD_EDGE_BOUNDARY" if i % 2 else "ROAD_LINE_SOLID_SINGLE_WHITE"
        features[f"boundary_{i}"] = {"type": kind, "polyline": road_map.road_edges[i] + shift}
    for i in range(len(road_map.crosswalks)):
        features[f"walk {i}"] = {"type": "CROSSWALK", "polygon": road_map.crosswalks.rings_of(i)[0] + shift}
    features["line"] = {"type": "ROAD_LINE_BROKEN_SINGLE_WHITE", "polyline": np.zeros((2, 2)) + shift}
    features["sign"] = {"type": "STOP_SIGN", "lane": [0], "position": np.zeros(3)}
    return features


def write(path: Path, content: object, *, protocol: int = pickle.DEFAULT_PROTOCOL, numpy_1: bool = False) -> Path:
    """Write a pickle; ``numpy_1`` names NumPy's modules as version 1 does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dumps(content, protocol, numpy_1=numpy_1))
    return path


def dumps(content: object, protocol: int = pickle.DEFAULT_PROTOCOL, *, numpy_1: bool = False) -> bytes:
    """Return the bytes of a pickle."""
    buffer = io.BytesIO()
    (_Numpy1Pickler if numpy_1 else pickle.Pickler)(buffer, protocol).dump(content)
    return buffer.getvalue()


class _Numpy1Pickler(pickle._Pickler):
    """Writes the module names of the NumPy that most published files were written with."""

    def save_global(self, obj, name=None):
        module = getattr(obj, "__module__", "") or ""
        if not module.startswith("numpy._core"):
            super().save_global(obj, name)
            return
        module, name = module.replace("numpy._core", "numpy.core"), name or obj.__name__
        if self.proto >= 4:
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(obj)

    dispatch = pickle._Pickler.dispatch | {types.FunctionType: save_global}
