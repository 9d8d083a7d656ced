"""Drives that another program simulates: whom it names, what it may not say."""

import numpy as np
import pytest
from tests.golden_sets import GOLDEN2

from drivetrain.closed_loop.simulation import one_by_one
from drivetrain.data.nuplan_files import find_map
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.errors import DataError
from drivetrain.sim.scenario import VehicleParameters
from drivetrain.trainer import outside_drive
from drivetrain.trainer.outside_drive import Mission, Observation, OutsideDrive

CITY = "us-pa-pittsburgh-hazelwood"


@pytest.fixture(scope="module")
def road():
    return read_nuplan_map(find_map(GOLDEN2 / "maps", CITY), CITY).map


def observation(tokens, pose):
    count = len(tokens)
    return Observation(
        time_us=0,
        vehicle=VehicleParameters(),
        pose=pose,
        velocity=np.zeros(2),
        acceleration=0.0,
        steering=0.0,
        tokens=tuple(tokens),
        type=np.zeros(count, dtype=np.uint8),
        boxes=np.tile([*pose, 4.0, 2.0, 0.0, 0.0], (count, 1)),
        light_connector=np.zeros(0, dtype=np.int64),
        light_state=np.zeros(0, dtype=np.uint8),
    )


def drive_of(road, answer):
    mission = Mission(name="drive", roadblocks=(), goal=None)
    return OutsideDrive(road, mission, one_by_one(lambda scenario: answer))


def test_a_track_keeps_its_column_and_gone_ones_make_room(road, monkeypatch):
    monkeypatch.setattr(outside_drive, "MOST_TRACKS", 4)
    seen = []

    def stand(moment):
        seen.append(moment.objects.column.tolist())
        return np.tile(moment.ego.pose, (20, 1))

    drive, pose = drive_of(road, stand), np.array([*road.origin, 0.0])
    for tokens in ("ab", "bc", "b", "bdef", "fb"):
        poses = drive.plan(observation(tokens, pose))
    np.testing.assert_array_equal(poses, np.tile(pose, (20, 1)))
    a, b, c = *seen[0], seen[1][1]
    assert (seen[1][0], seen[2], seen[3][0], seen[4][1]) == (b, [b], b, b)
    assert len({a, b, c}) == 3
    assert sorted(seen[3]) == [0, 1, 2, 3]
    assert seen[4][0] == seen[3][3]
    with pytest.raises(DataError, match=r"^5 tracked objects at once, at most 4 can be told apart$"):
        drive.plan(observation("abcde", pose))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda moment: np.full((20, 3), np.nan), r"^the planner's trajectory is not finite or has a pose"),
        (lambda moment: np.full((20, 3), 1e7), r"^the planner's trajectory is not finite or has a pose"),
        (lambda moment: np.zeros((1, 3)), r"^the planner's trajectory has shape \(1, 3\), expected \[2 or more, 3\]$"),
        (lambda moment: 1 / 0, "^division by zero$"),
    ],
)
def test_what_is_no_trajectory_is_said(road, answer, error):
    with pytest.raises((DataError, ZeroDivisionError), match=error):
        drive_of(road, answer).plan(observation("", np.array([*road.origin, 0.0])))
