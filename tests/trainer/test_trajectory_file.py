"""Files of driven trajectories: both forms of times, the round trip, and one line for everything that is wrong."""

import dataclasses
import re

import numpy as np
import pytest
from tests.golden_sets import GOLDEN, GOLDEN2

from drivetrain.errors import DataError, RunError
from drivetrain.trainer.trajectory_file import TrajectoryFile, read_trajectories, write_trajectories

TIMES = 1_000_000 + 100_000 * np.arange(5)


def arrays(**changes):
    """Two trajectories of four states over five frames."""
    ego = np.arange(2 * 4 * 7, dtype=np.float64).reshape(2, 4, 7)
    found = {"ego": ego, "timestamps_us": TIMES, "origin": np.array([1e5, 2e6])} | changes
    return {name: values for name, values in found.items() if values is not None}


def written(tmp_path, **changes):
    path = tmp_path / "drives.npz"
    np.savez(path, **arrays(**changes))
    return path


def test_one_scenario(tmp_path):
    file = read_trajectories(str(written(tmp_path, case_kind=np.array(["a", "b"], dtype=object))))
    assert len(file) == 2
    np.testing.assert_array_equal(file.ego, arrays()["ego"])
    assert (file.lateral.shape, file.lateral.any()) == ((2, 4, 2), False)
    assert [times.tolist() for times in file.timestamps_us] == [TIMES.tolist()]
    assert file.scenario.tolist() == [0, 0]
    assert file.origin.tolist() == [1e5, 2e6]
    assert (file.problem(0), file.problem(1)) == (None, None)


def test_rows_of_times_are_filled_up_with_minus_one(tmp_path):
    times = np.stack([TIMES, TIMES + 7])
    times[1, 4] = -1
    lateral = np.ones((2, 4, 2), dtype=np.float32)
    file = read_trajectories(
        written(tmp_path, timestamps_us=times.astype(float), scenario_index=np.array([1, 0]), ego_vy_ay=lateral)
    )
    assert [len(row) for row in file.timestamps_us] == [5, 4]
    assert file.timestamps_us[1].tolist() == (TIMES[:4] + 7).tolist()
    assert file.scenario.tolist() == [1, 0]
    np.testing.assert_array_equal(file.lateral, lateral)


@pytest.mark.parametrize(("root", "cases", "frames"), [(GOLDEN, 160, {151}), (GOLDEN2, 341, {150, 151})])
def test_golden_files_are_read_as_they_are(root, cases, frames):
    file = read_trajectories(root / "oracle_metrics.npz")
    assert len(file) == cases
    assert {len(times) for times in file.timestamps_us} == frames
    assert all(file.problem(index) is None for index in range(cases))


def test_trajectories_need_not_be_equally_long(tmp_path):
    ego = arrays()["ego"]
    ego[1, 3] = np.nan
    times = np.stack([TIMES, TIMES])
    times[1, 4] = -1
    scenario, states = np.array([0, 1]), np.array([4, 3])
    file = read_trajectories(
        written(tmp_path, ego=ego, timestamps_us=times, scenario_index=scenario, num_states=states)
    )
    assert (file.problem(0), file.problem(1)) == (None, None)
    np.testing.assert_array_equal(file.states(1)[0], ego[1, :3])
    assert file.states(1)[1].shape == (3, 2)


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "out.npz"
    path.write_bytes(b"an older file")
    file = TrajectoryFile(
        path=path,
        ego=np.random.default_rng(0).normal(size=(3, 4, 7)),
        lateral=np.random.default_rng(1).normal(size=(3, 4, 2)),
        timestamps_us=(TIMES[:4], TIMES),
        scenario=np.array([1, 0, 1]),
        num_states=np.array([4, 3, 4]),
        origin=np.array([5.0, 6.0]),
        log_name=("a", "straße", "a"),
    )
    write_trajectories(file)
    again = read_trajectories(path)
    for name in ("ego", "lateral", "scenario", "num_states", "origin"):
        np.testing.assert_array_equal(getattr(again, name), getattr(file, name))
    assert again.log_name == file.log_name
    assert [row.tolist() for row in again.timestamps_us] == [TIMES[:4].tolist(), TIMES.tolist()]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.npz"]
    with pytest.raises(RunError, match=r"out\.npz"):
        write_trajectories(dataclasses.replace(file, path=tmp_path / "none" / "out.npz"))


def test_a_value_that_is_not_finite_spoils_its_own_trajectory_only(tmp_path):
    ego = arrays()["ego"]
    ego[1, 2, 5] = np.nan
    file = read_trajectories(written(tmp_path, ego=ego))
    assert file.problem(0) is None
    assert file.problem(1) == "yaw_rate of state 2 in 'ego' is nan, no finite number"
    lateral = np.zeros((2, 4, 2))
    lateral[0, 3, 1] = -np.inf
    file = read_trajectories(written(tmp_path, ego_vy_ay=lateral))
    assert file.problem(0) == "a_y of state 3 in 'ego_vy_ay' is -inf, no finite number"


SIX_COLUMNS = np.zeros((2, 4, 6))
UNSORTED = np.array([1, 3, 2, 4, 5])
WRONG = [
    ({"ego": None}, "has no array 'ego' (there: timestamps_us, origin)"),
    ({"origin": None}, "has no array 'origin' (there: ego, timestamps_us)"),
    ({"timestamps_us": None, "timestamp_us": TIMES}, "did you mean 'timestamp_us'?"),
    ({"ego": SIX_COLUMNS}, "'ego' has shape (2, 4, 6), expected [K, T, 7] (x, y, heading, v_x, a_x, yaw_rate,"),
    ({"ego": np.zeros((4, 7))}, "'ego' has shape (4, 7), expected [K, T, 7]"),
    ({"ego": np.zeros((0, 4, 7))}, "'ego' has shape (0, 4, 7), expected"),
    ({"ego": np.full((2, 4, 7), "x")}, "'ego' holds <U1, expected numbers"),
    ({"ego": np.full((2, 4, 7), None)}, "'ego' holds Python objects; store it as an array of numbers"),
    ({"ego": np.zeros((2, 4, 7), complex)}, "'ego' holds complex128, expected numbers"),
    ({"ego_vy_ay": np.zeros((2, 5, 2))}, "'ego_vy_ay' has shape (2, 5, 2), expected (2, 4, 2) as 'ego'"),
    ({"origin": np.zeros(3)}, "'origin' is [0.0, 0.0, 0.0], expected [easting, northing]"),
    ({"origin": np.array([np.nan, 0])}, "'origin' is [nan, 0.0], expected"),
    ({"timestamps_us": UNSORTED}, "'timestamps_us' does not ascend: frame 1 is at 3, frame 2 at 2"),
    ({"timestamps_us": TIMES[[0, 0, 1, 2]]}, "does not ascend: frame 0 is at 1000000, frame 1 at 1000000"),
    ({"timestamps_us": TIMES[:3]}, "has 3 frames and trajectory 0 4 states; state i is at frame i, so 4 or 5"),
    ({"timestamps_us": np.arange(6)}, "has 6 frames and trajectory 0 4 states"),
    ({"timestamps_us": TIMES + 0.5}, "'timestamps_us' holds float64, expected whole numbers"),
    ({"timestamps_us": np.zeros((1, 1, 5), int)}, "'timestamps_us' has shape (1, 1, 5), expected [F]"),
    ({"timestamps_us": np.stack([TIMES] * 3)}, "'timestamps_us' has 3 rows and there is no array 'scenario_index'"),
    ({"num_states": np.array([4])}, "'num_states' has shape (1,), expected (2,), one per trajectory"),
    ({"num_states": np.array([4, 5])}, "'num_states' of trajectory 1 is 5, 'ego' has 1 to 4"),
    ({"num_states": np.array([0, 4])}, "'num_states' of trajectory 0 is 0, 'ego' has 1 to 4"),
    ({"num_states": np.array([4, 3])}, "'timestamps_us' has 5 frames and trajectory 1 3 states"),
    ({"log_name": np.array(["a"])}, "'log_name' has shape (1,) and holds <U1, expected (2,) texts"),
    ({"log_name": np.array([1, 2])}, "'log_name' has shape (2,) and holds int64, expected (2,) texts"),
    ({"log_name": np.array(["a", None])}, "'log_name' holds Python objects; store it as an array of text"),
    ({"scenario_index": np.zeros(3, int)}, "'scenario_index' has shape (3,), expected (2,), one per trajectory"),
    ({"scenario_index": np.array([0, 1])}, "'scenario_index' of trajectory 1 is 1, 'timestamps_us' has rows 0 to 0"),
    (
        {"timestamps_us": np.stack([TIMES, TIMES[::-1]]), "scenario_index": np.array([0, 1])},
        "row 1 of 'timestamps_us' does not ascend: frame 0",
    ),
    (
        {"timestamps_us": np.stack([TIMES, np.full(5, -1)]), "scenario_index": np.array([0, 1])},
        "row 1 of 'timestamps_us' has 0 frames and trajectory 1 4 states",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_wrong_file_is_one_line(tmp_path, changes, message):
    path = written(tmp_path, **changes)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: .*{re.escape(message)}") as caught:
        read_trajectories(path)
    assert "\n" not in str(caught.value)


def test_times_that_no_trajectory_uses_may_be_anything(tmp_path):
    times = np.stack([TIMES, TIMES[::-1]])
    file = read_trajectories(written(tmp_path, timestamps_us=times, scenario_index=np.zeros(2, int)))
    assert file.scenario.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; give a .npz file with the arrays ego, timestamps_us, origin"),
        (b"", "is no NumPy archive (.npz)"),
        (b"time,x,y\n1,2,3\n", "is no NumPy archive (.npz)"),
        (b"\x80\x04N.", "is no NumPy archive (.npz)"),
        (b"PK\x03\x04 and then nothing", "is no NumPy archive (.npz)"),
    ],
)
def test_something_else_than_an_archive(tmp_path, content, message):
    path = tmp_path / "drives.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: {re.escape(message)}") as caught:
        read_trajectories(path)
    assert "\n" not in str(caught.value)


def test_a_folder_a_single_array_and_damage(tmp_path):
    with pytest.raises(DataError, match=r"is a folder; give a \.npz file"):
        read_trajectories(tmp_path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"one.npy: is a single array; store the arrays ego, timestamps_us, origin"):
        read_trajectories(tmp_path / "one.npy")
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"array 'ego' cannot be read \(.*CRC"):
        read_trajectories(path)


@pytest.mark.parametrize("seed", range(5))
def test_damage_anywhere_is_one_line_or_harmless(tmp_path, seed):
    path = written(tmp_path)
    sound = path.read_bytes()
    random = np.random.default_rng(seed)
    messages = []
    for _ in range(60):
        content = bytearray(sound)
        for at in random.integers(0, len(sound), random.integers(1, 6)):
            content[at] = random.integers(256)
        path.write_bytes(content[: random.integers(len(sound) // 2, len(sound) + 1)])
        try:
            read_trajectories(path)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert not any("\n" in message for message in messages)
