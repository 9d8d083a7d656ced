"""The raw sample: nuPlan's schema, the oddities of recorded logs, the same bytes however it is made, clear refusals."""

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
import shapely
from tests.golden_sets import GOLDEN

from drivetrain.data.geopackage import wkb_of
from drivetrain.data.synthetic import processes
from drivetrain.data.synthetic.raw import raw_sample
from drivetrain.data.synthetic.raw.places import CELL_M, CITIES, cell_origin
from drivetrain.data.synthetic.raw.raw_sample import MAX_WORLDS, raw_places, write_raw_sample
from drivetrain.errors import DataError, UsageError

COUNTS = {"train": 4, "val": 1, "test": 1}


def rows(path, query):
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def content(folder):
    """All files of a folder, byte by byte."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_raw_sample(tmp_path_factory.mktemp("raw") / "sample", **COUNTS, workers=1)


@pytest.fixture(scope="module")
def log(sample):
    return next(sample.glob("nuplan-v1.1/splits/train/*.db"))


def schema(path):
    """Everything SQLite knows about the tables, indexes and marks of a file; sizes of what they hold left out."""
    tables = [name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return {
        "tables": {table: rows(path, f'PRAGMA table_info("{table}")') for table in tables},
        "indexes": rows(path, "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' ORDER BY name"),
        "marks": [rows(path, f"PRAGMA {mark}") for mark in ("application_id", "user_version", "page_size")],
    }


def test_logs_have_the_reference_schema(log):
    assert schema(log) == schema(next(GOLDEN.glob("splits/mini/*.db")))


def test_maps_have_the_reference_schema(sample):
    golden = next(GOLDEN.glob("maps/*/*/map.gpkg"))
    maps = sorted(sample.glob("maps/*/*/map.gpkg"))
    assert [str(path.relative_to(sample / "maps").parent) for path in maps] == sorted(
        f"{city.name}/{city.version}" for city in CITIES
    )
    reference = schema(golden)
    described = "SELECT table_name, data_type, identifier, srs_id FROM gpkg_contents"
    for path in maps:
        assert schema(path) == reference
        for query in (described, "SELECT * FROM gpkg_geometry_columns", "SELECT * FROM gpkg_spatial_ref_sys"):
            assert rows(path, query) == rows(golden, query)
    assert (sample / "maps" / "nuplan-maps-v1.0.json").read_text().count('"version"') == 4


def test_every_layer_holds_something_and_no_text_is_null(sample):
    for path in sample.glob("maps/*/*/map.gpkg"):
        for layer, kind in rows(path, "SELECT table_name, geometry_type_name FROM gpkg_geometry_columns"):
            found = rows(path, f'SELECT fid, geom FROM "{layer}"')
            assert found
            shapes = shapely.from_wkb([wkb_of(geom) for _, geom in found])
            assert {shape.geom_type.upper().removeprefix("MULTI") for shape in shapes} == {kind}
            assert shapely.is_valid(shapes).all()
            texts = [name for _, name, kind, *_ in rows(path, f'PRAGMA table_info("{layer}")') if kind == "TEXT"]
            for column in texts:
                assert rows(path, f'SELECT count(*) FROM "{layer}" WHERE {column} IS NULL') == [(0,)]


def test_rings_are_closed_in_degrees_to_the_last_bit(sample):
    for path in sample.glob("maps/*/*/map.gpkg"):
        for (geom,) in rows(path, "SELECT geom FROM lanes_polygons UNION ALL SELECT geom FROM intersections"):
            binary = wkb_of(geom)
            count = int.from_bytes(binary[9:13], "little")
            points = np.frombuffer(binary, dtype="<f8", count=2 * count, offset=13).reshape(count, 2)
            assert points[0].tobytes() == points[-1].tobytes()
            longitude, latitude = points[0]
            assert -130 < longitude < 110
            assert 1 < latitude < 45


def test_logs_show_the_oddities_of_recorded_ones(sample):
    for path in sample.glob("nuplan-v1.1/splits/*/*.db"):
        merged = "FROM lidar_pc f JOIN lidar d ON d.token = f.lidar_token AND d.channel = 'MergedPointCloud'"
        stamps = [stamp for (stamp,) in rows(path, f"SELECT f.timestamp {merged} ORDER BY f.rowid")]
        assert len(stamps) == 301
        assert stamps != sorted(stamps)
        steps = np.diff(sorted(stamps))
        assert abs(steps - 50_000).max() < 200
        assert len(set(steps)) > 20
        between = [s for (s,) in rows(path, "SELECT timestamp FROM lidar_pc")]
        assert len(between) == 321
        early = [e for (e,) in rows(path, f"SELECT f.timestamp - e.timestamp {merged} JOIN ego_pose e ON e.token = "
                                          "f.ego_pose_token")]  # fmt: skip
        assert min(early) >= 0
        assert 300 < max(early) <= 400
        scenes = rows(path, "SELECT name, goal_ego_pose_token, roadblock_ids FROM scene ORDER BY name")
        assert [name for name, _, _ in scenes] == [f"scene-{i:03d}" for i in range(5)]
        assert [goal is None for _, goal, _ in scenes] == [False, False, False, True, False]
        assert all(route for _, _, route in scenes)
        tagged = rows(path, "SELECT DISTINCT f.timestamp, s.name FROM scenario_tag t JOIN lidar_pc f ON f.token = "
                            "t.lidar_pc_token JOIN scene s ON s.token = f.scene_token")  # fmt: skip
        ((at, scene),) = tagged
        assert scene == "scene-002"
        assert at - 3_000_000 <= min(stamps)
        assert max(stamps) <= at + 12_000_000
        tilt = rows(path, "SELECT max(abs(qx)), max(abs(qy)) FROM ego_pose")[0]
        assert all(0.001 < angle < 0.01 for angle in tilt)


def test_tokens_are_eight_bytes_and_unique_over_all_logs(sample):
    tokens = [
        token
        for path in sample.glob("nuplan-v1.1/splits/*/*.db")
        for table in ("log", "ego_pose", "lidar_pc", "lidar_box", "track", "scene", "scenario_tag")
        for (token,) in rows(path, f"SELECT token FROM {table}")
    ]
    assert {len(token) for token in tokens} == {8}
    assert len(set(tokens)) == len(tokens)


def test_routes_name_roadblocks_and_connectors_in_turn(sample):
    for path in sample.glob("nuplan-v1.1/splits/*/*.db"):
        city = rows(path, "SELECT map_version FROM log")[0][0]
        gpkg = next(sample.glob(f"maps/{city}/*/map.gpkg"))
        groups = {fid for (fid,) in rows(gpkg, "SELECT fid FROM lane_groups_polygons")}
        links = {fid: ends for fid, *ends in rows(
            gpkg, "SELECT fid, from_lane_group_fid, to_lane_group_fid FROM lane_group_connectors")}  # fmt: skip
        route = [int(fid) for fid in rows(path, "SELECT roadblock_ids FROM scene ORDER BY name")[0][0].split()]
        assert len(route) >= 3
        for before, link, after in zip(route[:-2:2], route[1:-1:2], route[2::2], strict=True):
            assert {before, after} <= groups
            assert links[link] == [before, after]


def test_worlds_lie_apart_with_ids_of_their_own():
    centres = np.array([cell_origin(CITIES[0], cell) for cell in range(MAX_WORLDS // len(CITIES) + 1)])
    steps = ((centres - CITIES[0].corner) / CELL_M).astype(int)
    assert len({tuple(step) for step in steps}) == len(centres) == 64 * 64
    assert steps.min() == 0
    assert steps.max() == 63
    places = raw_places({"train": 3, "val": 2, "test": 1}, seed=7)
    assert [(p.split, p.city.name[:5], p.cell, p.first_id) for p in places] == [
        ("train", "us-nv", 1, 10_000),
        ("train", "us-pa", 1, 10_000),
        ("train", "us-ma", 1, 10_000),
        ("val", "sg-on", 1, 10_000),
        ("val", "us-nv", 2, 20_000),
        ("test", "us-pa", 2, 20_000),
    ]
    assert places[4].log_name == "2022.01.01.00.01.00_veh-07_00000_00015"
    assert places[4].start_us == 1_640_995_260_000_000  # 2022-01-01 00:01:00 UTC


def test_a_killed_sample_goes_on_and_ends_in_the_same_bytes(sample, tmp_path, monkeypatch):
    path, part = tmp_path / "sample", tmp_path / ".sample.raw-partial"
    counts = [text for split, count in COUNTS.items() for text in (f"--{split}", str(count))]
    command = [sys.executable, "-m", "drivetrain", "data", "sample", "--raw", "--workers", "1", "--out", str(path)]
    process = subprocess.Popen([*command, *counts], stderr=subprocess.DEVNULL)
    while len(list(part.rglob("*_00015.db"))) < 2 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    there = len(list(part.rglob("20*_00015.db")))
    assert 2 <= there < 6
    assert not path.exists()
    (part / "out" / ".left.db.1.partial").write_text("half a log")
    seen = []
    monkeypatch.setattr(processes, "_JOBS_PER_PROCESS", 1)
    write_raw_sample(path, **COUNTS, workers=2, progress=lambda *args: seen.append(args))
    assert [(done, total) for done, total, _ in seen] == [(done, 6) for done in range(there + 1, 7)]
    assert content(path) == content(sample)
    assert os.listdir(tmp_path) == ["sample"]


@pytest.mark.parametrize("change", [{"seed": 3}, {"kinds": ["curve"]}, {"train": 1}, {}])
def test_another_request_or_program_begins_anew(tmp_path, monkeypatch, change):
    def stop(done, total, name):
        raise KeyboardInterrupt

    request = {"train": 2, "val": 0, "test": 0, "seed": 0, "kinds": None, "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        write_raw_sample(tmp_path / "s", **request, progress=stop)
    if not change:
        monkeypatch.setattr(raw_sample, "_sources_digest", lambda: "of other sources")
    seen = []
    write_raw_sample(tmp_path / "s", **request | change, progress=lambda *args: seen.append(args[:2]))
    wanted = change.get("train", 2)
    assert seen == [(done, wanted) for done in range(1, wanted + 1)]
    assert len(list((tmp_path / "s").rglob("*.db"))) == wanted


def test_what_exists_is_replaced_only_when_asked_and_only_a_raw_sample(sample, tmp_path):
    path = tmp_path / "s"
    shutil.copytree(sample, path)
    with pytest.raises(DataError, match=r"s: exists already; choose another folder, or replace it with --overwrite$"):
        write_raw_sample(path, **COUNTS)
    write_raw_sample(path, train=1, val=0, test=0, workers=1, overwrite=True)
    assert len(list(path.rglob("*.db"))) == 1
    (tmp_path / "empty").mkdir()
    write_raw_sample(tmp_path / "empty", train=1, val=0, test=0, workers=1)
    assert content(tmp_path / "empty") == content(path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data.db").write_text("keep")
    with pytest.raises(DataError, match=r"mine: is no raw sample and is not replaced; choose another folder$"):
        write_raw_sample(tmp_path / "mine", **COUNTS, overwrite=True)
    assert (tmp_path / "mine" / "data.db").read_text() == "keep"


def test_two_writers_at_once_are_refused(tmp_path):
    with (tmp_path / ".s.raw-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"s: another process writes this raw sample; wait for it, or choose"):
            write_raw_sample(tmp_path / "s", **COUNTS)


def test_wrong_numbers_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"^16381 raw logs do not fit on the city maps; ask for at most 16380$"):
        write_raw_sample(tmp_path / "s", train=16_381, val=0, test=0)
    with pytest.raises(UsageError, match=r"^number of val scenes must be 0 or more, got -1$"):
        write_raw_sample(tmp_path / "s", train=1, val=-1, test=0)
    assert not (tmp_path / "s").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/s: cannot be written \(File exists\); free some space, or choose"):
        write_raw_sample(tmp_path / "file" / "s", train=1, val=0, test=0, workers=1)
