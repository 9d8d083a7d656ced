"""The sample data set: the same store whatever the number of workers, disjoint seeds, clear refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.sample import world_seed, write_sample
from drivetrain.errors import DataError, UsageError


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


def test_store_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_sample(tmp_path / str(workers), train=36, val=3, test=1, workers=workers, progress=quiet)
    one, two = ScenarioStore(tmp_path / "1"), ScenarioStore(tmp_path / "2")
    assert one.fingerprint == two.fingerprint
    assert [len(one.rows(split)) for split in ("train", "val", "test")] == [36, 3, 1]
    scenario = one.load(0)
    assert scenario.source == "sample"
    assert len(scenario.timestamps_us) == 151
    assert set(np.diff(scenario.timestamps_us)) == {100_000}
    assert len({one.load(i).map.name for i in range(len(one))}) == 40


def test_seeds_are_disjoint_by_formula() -> None:
    assert world_seed(0, "train", 7) == 7
    assert world_seed(0, "val", 0) == 2**32
    assert world_seed(0, "test", 1) == 2 * 2**32 + 1
    assert world_seed(1, "train", 0) == 3 * 2**32


def test_kinds_filter(tmp_path: Path) -> None:
    write_sample(tmp_path / "s", train=2, val=0, test=0, kinds=["curve"], workers=1, progress=quiet)
    assert ScenarioStore(tmp_path / "s").types == ("curve",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": -1}, r"^number of train scenes must be 0 or more, got -1$"),
        ({"train": 0, "val": 0, "test": 0}, r"^a sample of no scenes at all was asked for; "),
        ({"workers": 0}, r"^the number of workers must be at least 1, got 0$"),
        ({"kinds": ["curv"]}, r"^unknown world kind 'curv'; did you mean 'curve'\?; "),
        ({"seed": -2}, r"^the sample's seed must not be negative, got -2; "),
    ],
)
def test_wrong_use_is_refused_in_one_line(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_sample(tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_an_existing_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="exists already"):
        write_sample(tmp_path / "s", train=1, val=0, test=0, workers=1, progress=quiet)
    assert (tmp_path / "s" / "mine.txt").read_text() == "keep"
