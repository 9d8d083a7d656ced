"""The golden sets that the package carries."""

import sqlite3

import numpy as np
import pytest

from drivetrain.data import golden
from drivetrain.data.golden import GOLDEN_SETS, unpack
from drivetrain.errors import DataError, UsageError


@pytest.mark.parametrize(("name", "logs", "frames", "cases"), [("set1", 1, 1800, 160), ("set2", 3, 4080, 341)])
def test_a_set_is_unpacked_as_nuplans_files(tmp_path, name, logs, frames, cases):
    root = unpack(name, tmp_path)
    assert root == tmp_path / name
    databases = sorted(root.glob("splits/mini/*.db"))
    assert len(databases) == logs
    count = "SELECT count(*) FROM lidar_pc JOIN lidar ON lidar.token = lidar_token AND channel = 'MergedPointCloud'"
    found = 0
    for database in databases:
        connection = sqlite3.connect(database)
        found += connection.execute(count).fetchone()[0]
        connection.close()
    assert found == frames
    assert [path.name for path in root.glob("maps/*/*/*")] == ["map.gpkg"]
    assert not list(root.rglob("*.xz"))
    assert not list(root.rglob("*.part"))
    with np.load(root / "oracle_metrics.npz", allow_pickle=False) as oracle:
        assert oracle["ego"].shape == (cases, 150, 7)
    with np.load(root / "oracle_rollouts.npz", allow_pickle=False) as oracle:
        assert any(key.endswith("_ego") for key in oracle.files)


def test_unpacking_again_leaves_what_is_there_and_fills_what_is_not(tmp_path):
    root = unpack("set1", tmp_path)
    log = next(root.glob("splits/mini/*.db"))
    content = log.read_bytes()
    log.unlink()
    (root / "README.md").write_text("mine")
    unpack("set1", tmp_path)
    assert log.read_bytes() == content
    assert (root / "README.md").read_text() == "mine"


def test_an_unknown_set_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"^golden set 'set3' does not exist \(there: set1, set2\); did you mean 'set"):
        unpack("set3", tmp_path)
    assert GOLDEN_SETS == ("set1", "set2")


def test_a_folder_that_cannot_be_written_and_a_damaged_package_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match=r"taken/set1/.*: cannot be written \(Not a directory\); free space or choose"):
        unpack("set1", tmp_path / "taken")
    home = tmp_path / "home"
    (home / "set1").mkdir(parents=True)
    (home / "set1" / "log.db.xz").write_bytes(b"\xfd7zXZ\x00 and then nothing")
    monkeypatch.setattr(golden, "_HOME", home)
    with pytest.raises(DataError, match=r"log\.db\.xz: cannot be read \(.*\); install drivetrain again$"):
        unpack("set1", tmp_path / "out")
    assert not (tmp_path / "out").exists()
