"""A world's drive as one of nuPlan's log databases, with the habits of recorded logs that a reader must cope with.

The states are the generator's own, without noise. Around them: time stamps that jitter, ego poses stamped earlier than
their frame, rows in no order, a second lidar whose frames lie between the others, a scene without a goal, and scenes at
both ends that are too short to count.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from drivetrain.data.synthetic.raw.database_file import new_database
from drivetrain.data.synthetic.raw.places import Place
from drivetrain.data.synthetic.raw.tagging import scenario_types
from drivetrain.data.synthetic.world import World
from drivetrain.sim.scenario import AgentType, Float64, Int64, LightState

FRAME_US = 50_000
TAG_FRAME = 60
"""3 s into the log: a scenario of 15 s that begins 3 s before its tag is the whole log."""
SCENE_STARTS = (0, 20, 40, 260, 280)
"""First frames of the scenes; the tag lies in the only one that is not among the first or last two."""
SCENE_WITHOUT_GOAL = 3
EXTRA_LIDAR_FRAMES = range(100, 120)
_JITTER_US = 25.0
_EARLY_US = (0, 400)
CATEGORIES = ("vehicle", "bicycle", "pedestrian", "traffic_cone", "barrier", "czone_sign", "generic_object")
_HEIGHTS = {AgentType.VEHICLE: 1.6, AgentType.PEDESTRIAN: 1.7, AgentType.BICYCLE: 1.7, AgentType.GENERIC_OBJECT: 1.0}
_LOW_HEIGHT = 0.8
_STATUS = {LightState.GREEN: "green", LightState.YELLOW: "yellow", LightState.RED: "red"}
_NO_STATUS = "unknown"

_KEY = "token BLOB NOT NULL"
_CHAIN = "next_token BLOB,prev_token BLOB"
SCHEMA: dict[str, str] = {
    "log": f"{_KEY},vehicle_name VARCHAR(64),date VARCHAR(64),timestamp INTEGER,logfile VARCHAR(64),"
    "location VARCHAR(64),map_version VARCHAR(64)",
    "ego_pose": f"{_KEY},timestamp INTEGER,x FLOAT,y FLOAT,z FLOAT,qw FLOAT,qx FLOAT,qy FLOAT,qz FLOAT,vx FLOAT,"
    "vy FLOAT,vz FLOAT,acceleration_x FLOAT,acceleration_y FLOAT,acceleration_z FLOAT,angular_rate_x FLOAT,"
    "angular_rate_y FLOAT,angular_rate_z FLOAT,epsg INTEGER,log_token BLOB NOT NULL",
    "camera": f"{_KEY},log_token BLOB NOT NULL,channel VARCHAR(64),model VARCHAR(64),translation BLOB,rotation BLOB,"
    "intrinsic BLOB,distortion BLOB,width INTEGER,height INTEGER",
    "image": f"{_KEY},{_CHAIN},ego_pose_token BLOB NOT NULL,camera_token BLOB NOT NULL,filename_jpg VARCHAR(128),"
    "timestamp INTEGER",
    "lidar": f"{_KEY},log_token BLOB NOT NULL,channel VARCHAR(64),model VARCHAR(64),translation BLOB,rotation BLOB",
    "lidar_pc": f"{_KEY},{_CHAIN},ego_pose_token BLOB NOT NULL,lidar_token BLOB NOT NULL,scene_token BLOB,"
    "filename VARCHAR(128),timestamp INTEGER",
    "lidar_box": f"{_KEY},lidar_pc_token BLOB NOT NULL,track_token BLOB NOT NULL,{_CHAIN},x FLOAT,y FLOAT,z FLOAT,"
    "width FLOAT,length FLOAT,height FLOAT,vx FLOAT,vy FLOAT,vz FLOAT,yaw FLOAT,confidence FLOAT",
    "track": f"{_KEY},category_token BLOB NOT NULL,width FLOAT,length FLOAT,height FLOAT",
    "category": f"{_KEY},name VARCHAR(64),description TEXT",
    "scene": f"{_KEY},log_token BLOB NOT NULL,name TEXT,goal_ego_pose_token BLOB,roadblock_ids TEXT",
    "scenario_tag": f"{_KEY},lidar_pc_token BLOB NOT NULL,type TEXT,agent_track_token BLOB",
    "traffic_light_status": f"{_KEY},lidar_pc_token BLOB NOT NULL,lane_connector_id INTEGER,status VARCHAR(8)",
}
"""Table -> its columns; the primary key is the token everywhere."""
_INDEXES = {"lidar_box": ("lidar_pc_token", "track_token")}


def write_log(path: Path, place: Place, world: World) -> None:
    """Write the log of a world; an existing file is replaced in one step."""
    rows = _Rows.of(place, world)
    tables = {
        "log": rows.log(),
        "ego_pose": rows.ego_poses(),
        "lidar": rows.lidars(),
        "lidar_pc": rows.frames(),
        "lidar_box": rows.boxes(),
        "track": rows.tracks(),
        "category": [(_token("nuplan", "category", name), name, "") for name in CATEGORIES],
        "scene": rows.scenes(),
        "scenario_tag": rows.tags(),
        "traffic_light_status": rows.lights(),
    }
    with new_database(path) as database:
        for table, columns in SCHEMA.items():
            database.execute(f"CREATE TABLE {table}({columns},PRIMARY KEY(token))")
        for table, found in tables.items():
            _insert(database, table, found, rows.rng)
        for table, columns in _INDEXES.items():
            for column in columns:
                database.execute(f"CREATE INDEX {table}_{column}_idx ON {table}({column})")


def frame_token(log_name: str, frame: int) -> bytes:
    """Return the token of a frame's ``lidar_pc`` row."""
    return _token(log_name, "lidar_pc", frame)


def track_token(log_name: str, track: int) -> bytes:
    """Return the token of the generator's track number ``track``."""
    return _token(log_name, "track", track)


def _token(log_name: str, table: str, key: object) -> bytes:
    return hashlib.blake2b(f"{log_name}/{table}/{key}".encode(), digest_size=8).digest()


def _insert(
    database: sqlite3.Connection, table: str, rows: Sequence[tuple[object, ...]], rng: np.random.Generator
) -> None:
    if rows:
        order = rng.permutation(len(rows))
        marks = ",".join("?" * len(rows[0]))
        database.executemany(f"INSERT INTO {table} VALUES({marks})", (rows[i] for i in order))


def frame_times(rng: np.random.Generator, start_us: int, frames: int) -> Int64:
    """Return jittering time stamps [us]; from 3 s before the tag to 12 s after it are all frames, rounding included."""
    jitter = np.round(rng.normal(0.0, _JITTER_US, size=frames)).clip(-90, 90).astype(np.int64)
    jitter[0], jitter[TAG_FRAME], jitter[-1] = abs(jitter[0]), 0, -abs(jitter[-1])
    return start_us + FRAME_US * np.arange(frames, dtype=np.int64) + jitter


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """The rows of every table, in the generator's order."""

    place: Place
    world: World
    rng: np.random.Generator
    time_us: Int64
    """Time of each frame, shape [F]."""

    @classmethod
    def of(cls, place: Place, world: World) -> _Rows:
        rng = np.random.default_rng([place.world_seed, 0x6E75])
        times = frame_times(rng, place.start_us, len(world.log.timestamps_us))
        return cls(place=place, world=world, rng=rng, time_us=times)

    def token(self, table: str, key: object) -> bytes:
        return _token(self.place.log_name, table, key)

    @property
    def log_token(self) -> bytes:
        return self.token("log", 0)

    def log(self) -> list[tuple[object, ...]]:
        date, vehicle = self.place.log_name.split("_")[:2]
        city = self.place.city.name
        return [(self.log_token, vehicle, date[:10], self.place.start_us, self.place.log_name, city, city)]

    def lidars(self) -> list[tuple[object, ...]]:
        return [
            (self.token("lidar", channel), self.log_token, channel, "", b"", b"")
            for channel in ("LIDAR_TOP", "MergedPointCloud")
        ]

    def ego_poses(self) -> list[tuple[object, ...]]:
        ego = self.world.log.ego
        frames = len(self.time_us)
        early = self.rng.integers(*_EARLY_US, size=frames)
        sway = 0.004 * np.sin(0.05 * np.arange(frames) + self.rng.uniform(0.0, 6.0, size=(2, 1)))
        quaternion = _quaternion(sway[0], sway[1], ego.pose[:, 2])
        place = ego.pose[:, :2] + self.place.origin
        values = np.column_stack(
            [place, _ground(ego.pose[:, :2]), quaternion, ego.velocity, np.zeros(frames), ego.acceleration]
        )
        zero = (0.0, 0.0, 0.0)
        rows: list[tuple[object, ...]] = []
        for frame, (row, rate) in enumerate(zip(values.tolist(), ego.yaw_rate.tolist(), strict=True)):
            stamp = int(self.time_us[frame] - early[frame])
            state = (*row, *zero, rate, self.place.city.epsg, self.log_token)
            rows.append((self.token("ego_pose", frame), stamp, *state))
            if frame in EXTRA_LIDAR_FRAMES:
                rows.append((self.token("ego_pose", f"extra-{frame}"), stamp + FRAME_US // 2, *state))
        return rows

    def frames(self) -> list[tuple[object, ...]]:
        name, count = self.place.log_name, len(self.time_us)
        merged, extra = self.token("lidar", "MergedPointCloud"), self.token("lidar", "LIDAR_TOP")
        tokens = [None, *(frame_token(name, frame) for frame in range(count)), None]
        rows: list[tuple[object, ...]] = []
        for frame, stamp in enumerate(self.time_us.tolist()):
            before, token, after = tokens[frame : frame + 3]
            scene = self.token("scene", _scene_of(frame))
            file = f"{name}/MergedPointCloud/{frame:08d}.pcd"
            rows.append((token, after, before, self.token("ego_pose", frame), merged, scene, file, stamp))
            if frame in EXTRA_LIDAR_FRAMES:
                pose, own = self.token("ego_pose", f"extra-{frame}"), self.token("lidar_pc", f"extra-{frame}")
                rows.append((own, None, None, pose, extra, scene, "", stamp + FRAME_US // 2))
        return rows

    def tracks(self) -> list[tuple[object, ...]]:
        tracks = self.world.log.tracks
        rows: list[tuple[object, ...]] = []
        for token, kind, (length, width) in zip(
            tracks.token.tolist(), tracks.type.tolist(), tracks.size.tolist(), strict=True
        ):
            category = _token("nuplan", "category", AgentType(kind).name.lower())
            rows.append((track_token(self.place.log_name, token), category, width, length, _height(kind)))
        return rows

    def boxes(self) -> list[tuple[object, ...]]:
        tracks = self.world.log.tracks
        of_frame = [frame_token(self.place.log_name, frame) for frame in range(len(self.time_us))]
        columns = np.column_stack(
            [tracks.position + self.place.origin, _ground(tracks.position), tracks.velocity, tracks.heading]
        ).tolist()
        rows: list[tuple[object, ...]] = []
        for track in range(len(tracks.token)):
            first, last = int(tracks.offsets[track]), int(tracks.offsets[track + 1])
            length, width = tracks.size[track].tolist()
            height = _height(int(tracks.type[track]))
            own = track_token(self.place.log_name, int(tracks.token[track]))
            tokens = [None, *(self.token("lidar_box", box) for box in range(first, last)), None]
            for box in range(first, last):
                before, token, after = tokens[box - first : box - first + 3]
                x, y, z, vx, vy, heading = columns[box]
                size = (width, length, height)
                place = (x, y, z + height / 2.0, *size, vx, vy, 0.0, heading, 1.0)
                rows.append((token, of_frame[tracks.frame[box]], own, after, before, *place))
        return rows

    def scenes(self) -> list[tuple[object, ...]]:
        last_pose = self.token("ego_pose", len(self.time_us) - 1)
        return [
            (
                self.token("scene", number),
                self.log_token,
                f"scene-{number:03d}",
                None if number == SCENE_WITHOUT_GOAL else last_pose,
                " ".join(map(str, self._route(first))),
            )
            for number, first in enumerate(SCENE_STARTS)
        ]

    def _route(self, frame: int) -> Iterable[int]:
        """Return the ids of the roadblocks ahead; up to the tag's scene they are those of the whole drive."""
        road_map, log = self.world.map, self.world.log
        route = log.scene_route[0].tolist()
        begin = 0
        if frame > TAG_FRAME:
            spot = shapely.Point(log.ego.pose[frame, :2])
            polygons = [shapely.Polygon(road_map.roadblock_polygon.rings_of(block)[0]) for block in route]
            begin = next((i for i, polygon in enumerate(polygons) if shapely.intersects(polygon, spot)), 0)
        return (self.place.first_id + int(road_map.roadblock_id[block]) for block in route[begin:])

    def tags(self) -> list[tuple[object, ...]]:
        tagged = frame_token(self.place.log_name, TAG_FRAME)
        return [
            (self.token("scenario_tag", kind), tagged, kind, None) for kind in scenario_types(self.world, TAG_FRAME)
        ]

    def lights(self) -> list[tuple[object, ...]]:
        lights, lanes = self.world.log.lights, self.world.map.lanes
        ids = [self.place.first_id + int(lanes.source_id[row]) for row in lights.lane]
        return [
            (
                self.token("traffic_light_status", f"{frame}-{connector}"),
                frame_token(self.place.log_name, frame),
                connector,
                _STATUS.get(LightState(state), _NO_STATUS),
            )
            for frame, states in enumerate(lights.state.tolist())
            for connector, state in zip(ids, states, strict=True)
        ]


def _scene_of(frame: int) -> int:
    return int(np.searchsorted(SCENE_STARTS, frame, side="right")) - 1


def _height(kind: int) -> float:
    return _HEIGHTS.get(AgentType(kind), _LOW_HEIGHT)


def _ground(position: Float64) -> Float64:
    """Return the height of the ground [m]: a plane that rises by 1 in 100 to the east."""
    return 20.0 + 0.01 * position[:, 0]


def _quaternion(roll: Float64, pitch: Float64, heading: Float64) -> Float64:
    """Return w, x, y, z of a turn by heading, then pitch, then roll [rad], shape [T, 4]."""
    (cr, sr), (cp, sp), (ch, sh) = ((np.cos(a / 2.0), np.sin(a / 2.0)) for a in (roll, pitch, heading))
    return np.column_stack(
        [
            cr * cp * ch + sr * sp * sh,
            sr * cp * ch - cr * sp * sh,
            cr * sp * ch + sr * cp * sh,
            cr * cp * sh - sr * sp * ch,
        ]
    )
