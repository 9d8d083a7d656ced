"""Small scenes made by hand for the tests of the data layer."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.golden_sets import GOLDEN

from drivetrain.data.nuplan import read_drive
from drivetrain.data.nuplan_files import LogFile
from drivetrain.data.scenario_store import ScenarioStore, ScenarioStoreWriter
from drivetrain.data.windows import select_windows
from drivetrain.sim.scenario import (
    AgentTracks,
    DrivingLog,
    EgoTrack,
    Knowledge,
    LaneTable,
    Lights,
    PolygonSet,
    Ragged,
    RoadMap,
    TrackTable,
)

KNOWS_ALL = Knowledge(lane_graph=True, speed_limits=True, drivable_area=True, traffic_lights=True, route=True)


def make_map(name: str = "street", shift: float = 0.0) -> RoadMap:
    """Two lanes one after the other along x (0-100, 100-200), the second a connector with a stop polygon."""
    ring = np.array([[0, -2], [200, -2], [200, 2], [0, 2], [0, -2.0]]) + shift
    stop = np.array([[97, -2], [99, -2], [99, 2], [97, 2], [97, -2.0]]) + shift
    lines = [np.array([[0.0, 0.0], [100.0, 0.0]]) + shift, np.array([[100.0, 0.0], [200.0, 0.0]]) + shift]
    empty = PolygonSet.of([], kind=[], source_id=[])
    lanes = LaneTable(
        source_id=np.array([7, 8]),
        kind=np.array([0, 1], dtype=np.uint8),
        baseline=Ragged.of(lines, dtype=np.float64, width=2),
        left_boundary=Ragged.of([lines[0] + [0, 2], []], dtype=np.float64, width=2),
        right_boundary=Ragged.of([lines[0] - [0, 2], []], dtype=np.float64, width=2),
        polygon=PolygonSet.of([[ring]], kind=[0], source_id=[0]),
        speed_limit=np.array([13.4, np.nan]),
        speed_limit_known=np.array([True, False]),
        successors=Ragged.of([[1], []], dtype=np.int32),
        predecessors=Ragged.of([[], [0]], dtype=np.int32),
        left_neighbor=Ragged.of([[], []], dtype=np.int32),
        right_neighbor=Ragged.of([[], []], dtype=np.int32),
        roadblock=Ragged.of([[0], [1]], dtype=np.int32),
        stop_polygons=Ragged.of([[], [0]], dtype=np.int32),
    )
    return RoadMap(
        name=name,
        origin=np.array([664000.0, 3999000.0]),
        epsg=32611,
        lanes=lanes,
        roadblock_id=np.array([1001, 2001]),
        roadblock_is_connector=np.array([False, True]),
        roadblock_polygon=PolygonSet.of([[ring]], kind=[0], source_id=[0]),
        stop_polygons=PolygonSet.of([[stop]], kind=[2], source_id=[1]),
        intersections=empty,
        crosswalks=empty,
        drivable=PolygonSet.of([[ring]], kind=[0], source_id=[1]),
        road_edges=Ragged.of([ring], dtype=np.float64, width=2),
        knowledge=KNOWS_ALL,
    )


def make_log(name: str = "drive", *, frames: int = 301, step_us: int = 50_000, map_name: str = "street") -> DrivingLog:
    """Ego at 5 m/s along x; agent 0 always there, agent 1 only in frames 100 to 199, agent 2 never."""
    t = np.arange(frames) * step_us * 1e-6
    still = np.zeros((frames, 2))
    valid = np.zeros((frames, 3), dtype=np.bool_)
    valid[:, 0] = True
    valid[100:200, 1] = True
    position = np.zeros((frames, 3, 2))
    position[:, 0, 0] = 20 + 4 * t
    position[:, 1] = [50.0, 1.5]
    lights = np.full((frames, 2), 3, dtype=np.uint8)
    lights[:, 0] = np.where(t < 5, 2, 0)
    return DrivingLog(
        name=name,
        map_name=map_name,
        source="sample",
        timestamps_us=1_000_000 + np.arange(frames) * step_us,
        ego=EgoTrack(
            pose=np.stack([5 * t, 0 * t, 0 * t], axis=1),
            velocity=still + np.array([5.0, 0.0]),
            acceleration=still,
            yaw_rate=0 * t,
        ),
        tracks=TrackTable.of(
            AgentTracks(
                token=np.array([11, 12, 13], dtype=np.uint64),
                type=np.array([0, 1, 0], dtype=np.uint8),
                size=np.array([[4.5, 1.9], [0.6, 0.6], [4, 2]], dtype=np.float32),
                position=np.where(valid[..., None], position, 0),
                heading=np.where(valid, 0.25, 0).astype(np.float32),
                velocity=np.where(valid[..., None], [4.0, 0.0], 0).astype(np.float32),
                valid=valid,
            )
        ),
        lights=Lights(
            lane=np.array([1, 0], dtype=np.int32), stop_point=np.array([[97.0, 0.0], [0.0, 0.0]]), state=lights
        ),
        scene_first_frame=np.array([0]),
        scene_route=Ragged.of([[0, 1]], dtype=np.int32),
        scene_goal=np.array([[75.0, 0.0, 0.0]]),
        scene_goal_known=np.array([True]),
        tag_frame=np.zeros(0, dtype=np.int64),
        tag_type=(),
        knowledge=KNOWS_ALL,
    )


@pytest.fixture(scope="session")
def golden_drive():
    """The golden log and its map, read once."""
    return read_drive(LogFile(path=next(GOLDEN.glob("splits/mini/*.db")), folder="mini"), GOLDEN / "maps", {})


@pytest.fixture
def spoilt(tmp_path):
    """A function: run SQL on a copy of the golden log (or map) and read it."""

    def read(*statements, target="log"):
        maps = GOLDEN / "maps"
        path = tmp_path / "copy.db"
        shutil.copy(next(GOLDEN.glob("splits/mini/*.db")), path)
        place = path
        if target == "map":
            maps = tmp_path / "maps"
            shutil.copytree(GOLDEN / "maps", maps)
            place = next(maps.glob("*/*/map.gpkg"))
        connection = sqlite3.connect(place)
        for statement in statements:
            connection.execute(*((statement,) if isinstance(statement, str) else statement))
        connection.commit()
        connection.close()
        return read_drive(LogFile(path=path, folder="mini"), maps, {})

    return read


@pytest.fixture
def road_map() -> RoadMap:
    return make_map()


@pytest.fixture
def log() -> DrivingLog:
    return make_log()


@pytest.fixture
def new_map() -> Callable[..., RoadMap]:
    return make_map


@pytest.fixture
def new_log() -> Callable[..., DrivingLog]:
    return make_log


@pytest.fixture
def small_store(tmp_path: Path) -> ScenarioStore:
    """Two maps; logs a, b (train), c (val), d (test)."""
    path = tmp_path / "small"
    with ScenarioStoreWriter(path, source="sample", config={"seed": 1}) as writer:
        writer.add_map(make_map())
        writer.add_map(make_map("avenue", shift=10.0))
        for name, split, place in (
            ("a", "train", "street"),
            ("b", "train", "avenue"),
            ("c", "val", "street"),
            ("d", "test", "street"),
        ):
            drive = make_log(name, map_name=place)
            writer.add_log(drive, select_windows(drive).windows, split)
    return ScenarioStore(path)
