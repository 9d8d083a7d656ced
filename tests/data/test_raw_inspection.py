"""What is said about raw data before it is converted."""

import contextlib
import json
import shutil
import sqlite3

import pytest
from tests.golden_sets import GOLDEN, GOLDEN2

from drivetrain.data import conversion_forecast, raw_inspection
from drivetrain.data.convert import convert
from drivetrain.data.raw_inspection import inspect_raw
from drivetrain.errors import DataError
from drivetrain.interfaces import cli

CITY = "us-pa-pittsburgh-hazelwood"


def test_few_logs_are_counted_exactly(tmp_path):
    facts = inspect_raw(GOLDEN2)
    # The counts of the set's own README; 20 rows of another lidar per log are among the frames.
    assert (facts["logs"], facts["boxes"], facts["opened"], facts["exact"]) == (3, 10912 + 8104 + 9517, 3, True)
    assert facts["frames"] == 1320 + 1320 + 1440 + 60
    assert facts["hours"] == pytest.approx(4140 * 0.05 / 3600, abs=0.005)
    assert facts["cities"] == {CITY: 3}
    assert facts["maps"][CITY].endswith("9.17.1937/map.gpkg")
    assert facts["folders"] == {"splits/mini": 3}
    assert facts["splits"] == {"train": 1, "val": 1, "test": 1}
    assert facts["tags"]["following_lane_with_lead"] == 2
    assert sum(facts["tags"].values()) == 24
    assert facts["problems"] == []
    assert facts["forecast"]["basis"].startswith("a trial conversion of 2021.07.02")
    convert("nuplan", [GOLDEN2], tmp_path / "s")
    stored = sum(file.stat().st_size for file in (tmp_path / "s/logs").iterdir())
    assert facts["forecast"]["store_bytes"] == pytest.approx(stored, rel=0.2)


@pytest.fixture
def raw(tmp_path):
    """Four logs in two folders; maps beside them."""
    shutil.copytree(GOLDEN2 / "maps", tmp_path / "maps")
    logs = sorted(GOLDEN2.glob("splits/mini/*.db"))
    for folder, name, source in (("trainval", "a", 0), ("trainval", "b", 1), ("test", "c", 2), ("test", "d", 0)):
        (tmp_path / "logs" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(logs[source], tmp_path / "logs" / folder / f"{name}.db")
    return tmp_path / "logs"


def test_without_time_one_log_stands_for_all(raw):
    facts = inspect_raw(raw, budget_s=0)
    assert (facts["logs"], facts["opened"], facts["exact"]) == (4, 1, False)
    assert facts["boxes"] in (4 * 10912, 4 * 8104, 4 * 9517)
    assert facts["cities"] == {CITY: 4}
    assert facts["splits"] == {"train": 1, "val": 1, "test": 2}


def test_large_logs_are_not_counted_row_by_row_nor_tried(raw, monkeypatch):
    monkeypatch.setattr(raw_inspection, "_COUNTED_BYTES", 0)
    monkeypatch.setattr(conversion_forecast, "TRIAL_BYTES", 0)
    facts = inspect_raw(raw)
    assert facts["boxes"] == 2 * 10912 + 8104 + 9517
    assert facts["forecast"]["basis"] == "typical figures; no log was small enough to be tried"
    assert facts["forecast"]["store_bytes"] == round(conversion_forecast.BYTES_PER_BOX * facts["boxes"])


def test_everything_that_is_wrong_is_found(raw, capsys):
    path = raw / "trainval/a.db"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    (raw / "trainval/e.db").touch()
    (raw / "trainval/f.db").write_bytes(b"<html>403 Forbidden</html>" * 9)
    (raw / "test/g.db.crdownload").touch()
    (raw / "test/notes.tmp").touch()
    (raw / "sensor_blobs").mkdir()
    (raw / "sensor_blobs/h.db.part").touch()
    with contextlib.closing(sqlite3.connect(raw / "trainval/b.db")) as database:
        database.execute("UPDATE log SET map_version = 'us-pa-pittsburgh'")
        database.commit()
    with contextlib.closing(sqlite3.connect(raw / "test/d.db")) as database:
        database.execute("DROP TABLE scene")
        database.commit()
    with contextlib.closing(sqlite3.connect(raw / "test/c.db", isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert cli.main(["data", "inspect", "--data-root", str(raw), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    maps = raw.parent / "maps"
    assert sorted(facts["problems"]) == sorted(
        [
            f"{path}: has {size // 2} of {size} bytes; its download was not finished",
            f"{raw / 'trainval/e.db'}: is empty; download it again",
            f"{raw / 'trainval/f.db'}: is not an SQLite file; download it again",
            f"{raw / 'test/g.db.crdownload'}: is left of a download or a program that was not finished",
            f"{raw / 'test/c.db'}: is locked by another program (database is locked); close that program and try again",
            f"{raw / 'test/d.db'}: table 'scene' is missing (tables: camera, category, ego_pose, image, lidar,"
            " lidar_box, lidar_pc, log, scenario_tag, track, traffic_light_status); download or copy the file again",
            f"{maps}: has no map 'us-pa-pittsburgh' (there: {CITY}); did you mean '{CITY}'?; give the folder that holds"
            " the city folders",
        ]
    )
    assert facts["cities"] == {"us-pa-pittsburgh": 1}
    assert facts["maps"] == {"us-pa-pittsburgh": None}


def test_of_one_file_only_its_own_leftovers_are_named(raw):
    for name in ("a.db.part", "other.db.part"):
        (raw / "trainval" / name).touch()
    assert inspect_raw(raw / "trainval/a.db")["problems"] == [
        f"{raw / 'trainval/a.db.part'}: is left of a download or a program that was not finished"
    ]


def test_a_log_without_tables_of_lidars_or_categories_is_not_usable(raw):
    with contextlib.closing(sqlite3.connect(raw / "test/d.db")) as database:
        database.execute("DROP TABLE category")
        database.commit()
    (problem,) = inspect_raw(raw)["problems"]
    assert problem.startswith(f"{raw / 'test/d.db'}: table 'category' is missing")


def test_no_maps_and_no_logs(tmp_path):
    shutil.copy(next(GOLDEN.glob("splits/mini/*.db")), tmp_path / "a.db")
    (problem,) = inspect_raw(tmp_path / "a.db")["problems"]
    assert "no folder maps/<city>/<version>/map.gpkg lies here or above; give it by --maps-root" in problem
    with pytest.raises(DataError, match=r"holds no \.db file"):
        inspect_raw(GOLDEN / "maps")


def test_the_table_for_people(capsys):
    assert cli.main(["data", "inspect", "--data-root", str(GOLDEN)]) == 0
    said = capsys.readouterr().out
    assert "logs        1, 1.8 MB" in said
    assert "counted     all logs" in said
    assert "following_lane_with_lead     2" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give the folder of a store, or --data-root"),
        (["s", "--data-root", "d"], "give either a store (s) or --data-root (d), not both"),
        (["s", "--maps-root", "m"], "--maps-root goes with --data-root; a store has its maps in it"),
    ],
)
def test_wrong_use(capsys, words, message):
    assert cli.main(["data", "inspect", *words]) == 2
    assert message in capsys.readouterr().err
