"""Writes logs and maps in py123d's layout, column by column, with pyarrow alone: what its reader is tested on.

Source of the layout: the writers of py123d 0.7 (api/scene/arrow/arrow_log_writer.py and modalities/,
api/map/arrow/arrow_map_writer.py).
"""

import math
import struct
import uuid

import numpy as np
import shapely

STEPS = 201
SPEED = 10.0
START_US = 1_700_000_000_000_000
ORIGIN = np.array([664_000.0, 3_999_000.0])
"""Global place of the first metre of road."""
PACIFICA = {
    "vehicle_name": "nuplan_chrysler_pacifica",
    "width": 2.297,
    "length": 5.176,
    "height": 1.777,
    "wheel_base": 3.089,
    "center_to_imu_se3": [1.461, 0.0, 0.45, 1.0, 0.0, 0.0, 0.0],
    "rear_axle_to_imu_se3": [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
    "has_uncertainty": False,
}
LABELS = "py123d.parser.registry.NuPlanBoxDetectionLabel"


def pack(value):
    """MessagePack of plain data and arrays, in the longest form of each kind."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return struct.pack(">Bq", 0xD3, value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, str):
        text = value.encode()
        return struct.pack(">BI", 0xDB, len(text)) + text
    if isinstance(value, bytes):
        return struct.pack(">BI", 0xC6, len(value)) + value
    if isinstance(value, list | tuple):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    if isinstance(value, np.ndarray):
        parts = {b"__ndarray__": True, b"dtype": value.dtype.str, b"shape": value.shape, b"data": value.tobytes()}
        return pack(parts)
    return struct.pack(">BI", 0xDF, len(value)) + b"".join(pack(k) + pack(v) for k, v in value.items())


def write_table(path, columns, types, about):
    import pyarrow as pa

    schema = pa.schema(list(types.items()))
    if about is not None:
        schema = schema.with_metadata({b"metadata": pack(about)})
    table = pa.table({name: pa.array(columns[name], type=kind) for name, kind in types.items()}, schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema=schema) as writer:
        writer.write_table(table, max_chunksize=60)


def quaternion(heading):
    return [math.cos(heading / 2), 0.0, 0.0, math.sin(heading / 2)]


def log_metadata(name, *, split="nuplan_train", version="0.7.0", own_map=False, location="us-pa-town"):
    about = {"dataset": "nuplan", "split": split, "log_name": name, "location": location, "version": version}
    return {**about, "map_metadata": map_metadata(own_map=own_map, version=version)}


def map_metadata(*, own_map=False, version="0.7.0"):
    about = {"dataset": "nuplan", "split": None, "log_name": None, "location": "us-pa-town"}
    return {**about, "map_has_z": False, "map_is_per_log": own_map, "version": version}


def write_log(root, name="log-1", *, steps=STEPS, split="nuplan_train", version="0.7.0", vehicle=PACIFICA, **changes):
    """The ego drives along x with 10 m/s, a car ahead with 12 m/s, a pedestrian stands and is seen from frame 50 on.

    Args:
        root: Folder of the data; the log is written to ``logs/<split>/<name>``.
        changes: Functions by table that change its columns before they are written.
    """
    import pyarrow as pa

    folder = root / "logs" / split / name
    time = START_US + 100_000 * np.arange(steps)
    at = ORIGIN[0] + SPEED * 0.1 * np.arange(steps)
    y = ORIGIN[1]
    state = [SPEED, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.01]
    egos = {
        "timestamp_us": time.tolist(),
        "imu_se3": [[x, y, 300.0, *quaternion(0.0)] for x in at.tolist()],
        "dynamic_state_se3": [list(state) for _ in range(steps)],
    }
    boxes = {"timestamp_us": time.tolist(), "bounding_box_se3": [], "track_token": [], "label": []}
    boxes |= {"velocity_3d": [], "num_lidar_points": []}
    for i in range(steps):
        car = [at[0] + 20 + 1.2 * i, y, 301.0, *quaternion(0.1), 4.5, 1.9, 1.6]
        walker = [at[0] + 80, y - 6, 301.0, *quaternion(-1.5), 0.7, 0.6, 1.8]
        seen = i >= 50
        boxes["bounding_box_se3"].append([car, walker] if seen else [car])
        boxes["track_token"].append(["00000000000000ab", "someone"] if seen else ["00000000000000ab"])
        boxes["label"].append([0, 2] if seen else [0])
        boxes["velocity_3d"].append([[12.0, 0.0, 0.0], None] if seen else [[12.0, 0.0, 0.0]])
        boxes["num_lidar_points"].append([10, None] if seen else [10])
    lights = {
        "timestamp_us": time.tolist(),
        "lane_id": [[2] if i >= 10 else [] for i in range(steps)],
        "status": [[2 if i < 100 else 0] if i >= 10 else [] for i in range(steps)],
    }
    row = list(range(steps))
    sync = {"sync.uuid": [uuid.UUID(int=i).bytes for i in row], "sync.timestamp_us": time.tolist()}
    sync |= {"ego_state_se3": row, "box_detections_se3": row, "traffic_light_detections": row}
    tables = {"sync": sync, "ego": egos, "boxes": boxes, "lights": lights}
    for key, change in changes.items():
        change(tables[key])
    long, real = pa.int64(), pa.float64()
    about = log_metadata(name, split=split, version=version)
    types = {"sync.uuid": pa.binary(16), "sync.timestamp_us": long, "ego_state_se3": long}
    types |= {"box_detections_se3": long, "traffic_light_detections": long}
    write_table(folder / "sync.arrow", sync, {k: v for k, v in types.items() if k in sync}, about)

    def modality(key, columns, kinds, metadata):
        named = {f"{key}.{name}": values for name, values in columns.items()}
        write_table(
            folder / f"{key}.arrow", named, {f"{key}.{n}": t for n, t in kinds.items() if n in columns}, metadata
        )

    kinds = {"timestamp_us": long, "imu_se3": pa.list_(real, 7), "dynamic_state_se3": pa.list_(real, 9)}
    modality("ego_state_se3", egos, kinds, vehicle)
    kinds = {"timestamp_us": long, "bounding_box_se3": pa.list_(pa.list_(real, 10))}
    kinds |= {"track_token": pa.list_(pa.string()), "label": pa.list_(pa.uint16())}
    kinds |= {"velocity_3d": pa.list_(pa.list_(real, 3)), "num_lidar_points": pa.list_(pa.int32())}
    modality("box_detections_se3", boxes, kinds, {"box_detection_label_class": LABELS})
    kinds = {"timestamp_us": long, "lane_id": pa.list_(pa.int32()), "status": pa.list_(pa.uint8())}
    modality("traffic_light_detections", lights, kinds, {})
    return folder


def lane(left, right, start, end, **about):
    """A straight lane along x between two lateral positions: polygon and features."""

    def line(side):
        return np.column_stack([np.linspace(start, end, 5) + ORIGIN[0], np.full(5, side + ORIGIN[1]), np.zeros(5)])

    features = {"lane_type": 2, "left_lane_id": None, "right_lane_id": None, "speed_limit_mps": None}
    features |= {"predecessor_ids": [], "successor_ids": [], "lane_group_id": None}
    features |= {"left_boundary": line(left), "right_boundary": line(right), "centerline": line((left + right) / 2)}
    return shapely.box(start + ORIGIN[0], right + ORIGIN[1], end + ORIGIN[0], left + ORIGIN[1]), features | about


def town():
    """Rows (layer, id, geometry, features): two lanes into a crossing, one through it, one out of it.

    Lane 1 (the ego's) and 4 (right of it) make group 10; 2 is in group 11 of intersection 20; 3 in group 12.
    """
    x, y = ORIGIN

    def box(left, bottom, right, top):
        return shapely.box(x + left, y + bottom, x + right, y + top)

    def edge(at):
        return shapely.LineString([(x, y + at), (x + 300, y + at)])

    lanes = {
        1: lane(2, -2, 0, 100, lane_group_id=10, successor_ids=[2], right_lane_id=4, speed_limit_mps=13.4),
        2: lane(2, -2, 100, 140, lane_group_id=11, predecessor_ids=[1], successor_ids=[3]),
        3: lane(2, -2, 140, 300, lane_group_id=12, predecessor_ids=[2], left_lane_id=99),
        4: lane(-2, -6, 0, 100, lane_group_id=10, left_lane_id=1, lane_type=3, speed_limit_mps=float("nan")),
    }
    rows = [(0, i, shape, features) for i, (shape, features) in lanes.items()]
    rows += [
        (1, 10, box(0, -6, 100, 2), {"lane_ids": [1, 4], "intersection_id": None}),
        (1, 11, box(100, -2, 140, 2), {"lane_ids": [2], "intersection_id": 20}),
        (1, 12, box(140, -2, 300, 2), {"lane_ids": [3], "intersection_id": None}),
        (2, 20, box(100, -10, 140, 10), {"intersection_type": 1, "lane_group_ids": [11]}),
        (3, 30, box(95, -6, 98, 2), {}),
        (4, 40, box(0, -9, 100, -6), {}),
        (5, 50, box(200, -10, 220, -2), {}),
        (6, 60, box(0, 2, 300, 4), {}),
        (7, 70, box(99, -2, 100.5, 2), {"stop_zone_type": 1, "lane_ids": [1]}),
        (7, 72, box(290, -2, 291, 2), {"stop_zone_type": 2, "lane_ids": [3]}),
        (7, 71, box(0, 0, 1, 1), {"stop_zone_type": 0, "lane_ids": []}),
        (8, 80, edge(-6), {"road_edge_type": 1}),
        (8, 81, edge(4), {"road_edge_type": 1}),
        (9, 90, edge(-2), {"road_line_type": 4}),
        (10, 100, box(10, -2, 11, 2), {"speed_bump_type": 0}),
    ]
    return rows


def write_map(file, rows=None, *, version="0.7.0", own_map=False):
    import pyarrow as pa

    layers, ids, shapes, features = zip(*(town() if rows is None else rows), strict=True)
    columns = {
        "object_id": list(ids),
        "map_layer": list(layers),
        "features": [f if isinstance(f, bytes) else pack(f) for f in features],
        "wkb": [s if isinstance(s, bytes) else shapely.to_wkb(s) for s in shapes],
    }
    types = {"object_id": pa.int64(), "map_layer": pa.int8(), "features": pa.binary(), "wkb": pa.binary()}
    write_table(file, columns, types, map_metadata(own_map=own_map, version=version))


def write_data(root, *names, **options):
    """Logs and the map they share."""
    write_map(root / "maps" / "nuplan" / "nuplan_us-pa-town.arrow")
    for name in names or ("log-1",):
        write_log(root, name, **options)
    return root / "logs"
