"""Finding files and dealing out splits."""

import contextlib
import shutil
import sqlite3

import pytest
from tests.golden_sets import GOLDEN

from drivetrain.data.nuplan_files import city_of, find_logs, find_map, find_maps_root
from drivetrain.data.splits import assign_splits
from drivetrain.data.sqlite_file import SqliteFile
from drivetrain.errors import DataError

MAPS = GOLDEN / "maps"
CITY = "us-nv-las-vegas-strip"


def test_both_directory_layouts_and_single_files(tmp_path):
    for folder in ("nuplan-v1.1/splits/mini", "nuplan-v1.1/test", "sensor_blobs/x"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "nuplan-v1.1/splits/mini/b.db").touch()
    (tmp_path / "nuplan-v1.1/test/a.db").touch()
    (tmp_path / "sensor_blobs/x/c.db").touch()
    assert [(f.path.name, f.folder) for f in find_logs(tmp_path)] == [("a.db", "test"), ("b.db", "mini")]
    assert [f.folder for f in find_logs(tmp_path / "nuplan-v1.1/splits/mini/b.db")] == ["mini"]
    (tmp_path / "nuplan-v1.1/splits/mini/a.db").touch()
    first, second = find_logs(tmp_path)
    assert (first.folder, [copy.parent.name for copy in first.copies]) == ("test", ["mini"]), "mini repeats others"
    assert (second.folder, second.copies) == ("mini", ())
    (tmp_path / "nuplan-v1.1/trainval").mkdir()
    (tmp_path / "nuplan-v1.1/trainval/a.db").write_bytes(b"more")
    assert find_logs(tmp_path)[0].folder == "trainval", "the largest, lest it be half of a download"


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"does not exist; give the folder that holds nuPlan's .db files"):
        find_logs(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no .db file"):
        find_logs(tmp_path)
    with pytest.raises(DataError, match=r"no folder maps/<city>/<version>/map.gpkg lies here or above"):
        find_maps_root(tmp_path)
    with pytest.raises(DataError, match=r"has no map 'boston' \(there: none\)"):
        find_map(tmp_path / "maps", "boston")


def test_maps_are_found_beside_the_logs_in_the_version_that_the_index_names(tmp_path):
    assert find_maps_root(GOLDEN / "splits" / "mini") == MAPS.resolve()
    city = tmp_path / CITY
    for version in ("9.15.1915", "9.2.1"):
        (city / version).mkdir(parents=True)
        (city / version / "map.gpkg").touch()
    assert find_map(tmp_path, CITY) == city / "9.2.1" / "map.gpkg"
    shutil.copy(MAPS / "nuplan-maps-v1.0.json", tmp_path)
    assert find_map(tmp_path, CITY) == city / "9.15.1915" / "map.gpkg"


def test_a_locked_log_is_one_line(tmp_path):
    path = tmp_path / "a.db"
    shutil.copy(next(GOLDEN.glob("splits/mini/*.db")), path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DataError, match=r"a.db: is locked by another program \(database is locked\); close that"):
            SqliteFile(path, timeout_s=0.01)
    assert city_of(path) == CITY


def test_a_log_in_wal_mode_is_read_without_leaving_files(tmp_path):
    path = tmp_path / "a.db"
    shutil.copy(next(GOLDEN.glob("splits/mini/*.db")), path)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("UPDATE log SET date = 'x'")
        database.commit()
    assert city_of(path) == CITY
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"]
    with contextlib.closing(sqlite3.connect(path)) as writer:
        writer.execute("UPDATE log SET map_version = 'elsewhere'")
        writer.commit()
        assert (tmp_path / "a.db-wal").stat().st_size > 0
        assert city_of(path) == "elsewhere", "what stands in the write-ahead log counts"


def test_splits():
    assert assign_splits(["a"], ["mini"]) == {"a": "train"}
    assert sorted(assign_splits(list("ab"), ["mini"] * 2).values()) == ["train", "val"]
    assert sorted(assign_splits(list("abc"), ["mini"] * 3).values()) == ["test", "train", "val"]
    assert assign_splits(["a", "b"], ["validation", "test"]) == {"a": "val", "b": "test"}
    many = assign_splits([str(i) for i in range(100)], ["trainval"] * 100)
    assert [list(many.values()).count(s) for s in ("train", "val", "test")] == [80, 10, 10]
