"""Demonstrations: logs re-driven through the vehicle model, kept on disk, split by scene."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from tests.sim.worlds import crowd, parked_car_road, roundabout, signalled_crossing, straight_road

from drivetrain.data.demonstration_cache import MANIFEST, cached_demonstrations, demonstrations_in_pieces
from drivetrain.data.demonstrations import ARRAYS, DemonstrationConfig, joined
from drivetrain.data.log_demonstrations import (
    JUMPS,
    LEAVES,
    NOT_FINITE,
    Piece,
    drive_logs,
    inputs_of,
    no_demonstrations,
    pieces_of,
)
from drivetrain.errors import ConfigError, DataError
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.kernels.vehicle import category_values
from drivetrain.sim.observation import CANONICAL, decode
from drivetrain.sim.scene_arrays import COS, HEADING, PRESENT, SIN, SPEED, X, Y
from drivetrain.sim.scene_bank import build_bank

DRIVING = DrivingConfig(threads=1)
ROAD = straight_road(frames=61)


def demonstrate(scenarios, config=DemonstrationConfig(), driving=DRIVING, bank=None):  # noqa: B008 - frozen
    bank = bank or build_bank(scenarios, all_controllable=config.agents == "all")
    passes = [Piece(number=number, first=0, count=len(bank)) for number in range(1 + config.displaced_passes)]
    return joined([drive_logs(bank, config, driving, piece=piece) for piece in passes]), bank


def logged_rear_axles(bank, scene, frames, slot=0):
    log = bank.log_of(scene)[frames, :, slot]
    rear = bank.arrays.rear_axle_to_center[bank.arrays.slot_start[scene] + slot]
    return np.stack([log[:, X] - rear * log[:, COS], log[:, Y] - rear * log[:, SIN], log[:, HEADING]], axis=1)


def spoilt(bank, change):
    """The bank with another log of its first scene; ``change`` edits [T, STATE_ROWS, A] in place."""
    arrays = bank.arrays._replace(log=bank.arrays.log.copy())
    other = replace(bank, arrays=arrays)
    change(other.log_of(0))
    return other


def test_re_driven_states_follow_the_logs():
    scenarios = [ROAD, parked_car_road(), signalled_crossing(), roundabout()]
    made, bank = demonstrate(scenarios)
    assert not any(made.skipped.values())
    errors = []
    for e in range(made.num_episodes):
        rows = slice(*made.episode_start[e : e + 2])
        logged = logged_rear_axles(bank, made.group[e], np.arange(rows.stop - rows.start))
        errors += np.hypot(*(made.pose[rows, :2] - logged[:, :2]).T).tolist()
    assert np.median(errors) < 0.1
    assert np.percentile(errors, 95) < 0.4


def test_rows_are_what_the_simulator_shows_a_policy_that_takes_these_actions():
    """Playing the labels back gives every observation, the last one included, to the bit."""
    made, bank = demonstrate([signalled_crossing()], driving=replace(DRIVING, observation_dtype="bfloat16"))
    driving = replace(DRIVING, num_worlds=1, observation_dtype="bfloat16", horizon_s=60.0)
    env = DrivingEnv(bank, driving, sequential=True, automatic_reset=False, perturb=False)
    observation = env.reset(seed=0)
    assert len(made) > 50
    for row in range(len(made)):
        assert np.array_equal(observation[0], made.observation[row])
        result = env.step(made.action_index[row : row + 1].astype(np.int64))
        observation = result.observation.copy()
    final = result.final_observation[0] if len(result.final_rows) else observation[0]
    assert np.array_equal(final, made.final_observation[0])
    assert bool(result.terminated[0]) == bool(made.terminated[0])
    assert np.array_equal(made.action, np.array(category_values(), np.float32)[made.action_index])


def test_threads_change_nothing():
    scenarios = [ROAD, roundabout(), crowd(count=20)] * 3
    one, bank = demonstrate(scenarios)
    three, _ = demonstrate(scenarios, driving=replace(DRIVING, threads=3), bank=bank)
    for name in ("observation", "action_index", "pose", "episode_start", "final_observation"):
        assert np.array_equal(getattr(one, name), getattr(three, name))


def test_all_vehicles_of_a_log():
    made, bank = demonstrate([signalled_crossing()], DemonstrationConfig(agents="all"))
    ego, _ = demonstrate([signalled_crossing()], bank=bank)
    present = bank.log_of(0)[0, PRESENT] > 0
    first = bank.arrays.slot_start[0]
    can = bank.arrays.controllable[first : first + bank.arrays.num_slots[0]] > 0
    # One starts from a stand to 7 m/s within a step, one second in: no vehicle does that.
    assert made.skipped[JUMPS] == 1
    assert made.num_episodes + made.skipped[JUMPS] == int((present & can).sum())
    assert made.num_episodes > ego.num_episodes
    assert (made.group == 0).all()


def test_a_displaced_vehicle_finds_back():
    config = DemonstrationConfig(displaced_passes=2, displacement_interval_s=2.0)
    made, _ = demonstrate([straight_road(lead=False)] * 8, config)
    assert made.displaced.any()
    assert not made.displaced.all()
    lateral = made.pose[:, 1]  # the lane lies on y = 0
    starts = made.episode_start[:-1][made.displaced]
    ends = made.episode_start[1:][made.displaced] - 1
    long = ends - starts > 25
    assert np.abs(lateral[starts[long]]).mean() > 0.2
    assert np.abs(lateral[ends[long]]).mean() < 0.25 * np.abs(lateral[starts[long]]).mean()
    # The step in which it was put aside is nobody's choice: no clean row jumps.
    assert np.abs(lateral[: made.episode_start[8]]).max() < 0.05


def test_a_log_with_nan_is_left_out_and_counted():
    def change(log):
        log[20, X, 0] = np.nan

    bank = spoilt(build_bank([ROAD, roundabout()]), change)
    made, _ = demonstrate([], bank=bank)
    assert made.group.tolist() == [1]
    assert made.skipped[NOT_FINITE] == 1
    again, _ = demonstrate([], DemonstrationConfig(displaced_passes=2), bank=bank)
    assert again.skipped[NOT_FINITE] == 1  # of two scenes, not of six
    assert np.isfinite(decode(made.observation)).all()
    assert f"1 {NOT_FINITE}" in made.summary()


def test_a_drive_ends_before_its_log_jumps():
    def change(log):
        log[30:, X, 0] += 5.0

    bank = spoilt(build_bank([ROAD]), change)
    made, _ = demonstrate([], bank=bank)
    assert made.skipped[JUMPS] == 1
    assert demonstrate([], DemonstrationConfig(displaced_passes=2), bank=bank)[0].skipped[JUMPS] == 1
    assert made.episode_start.tolist() == [0, 29]
    assert not made.terminated[0]


def test_a_drive_that_no_vehicle_can_follow_ends_where_it_is_lost():
    def change(log):  # sideways at 3 m/s without turning
        log[:, Y, 0] += 0.3 * np.maximum(np.arange(len(log)) - 20, 0)

    bank = spoilt(build_bank([straight_road(lead=False)]), change)
    made, _ = demonstrate([], bank=bank, config=DemonstrationConfig(max_deviation_m=0.3))
    assert made.skipped[LEAVES] == 1
    assert 15 < len(made) < 60


def test_no_usable_drive_is_one_clear_line():
    def change(log):
        log[5, SPEED, 0] = np.inf

    made, _ = demonstrate([], bank=spoilt(build_bank([ROAD]), change))
    assert len(made) == made.num_episodes == 0
    with pytest.raises(DataError) as error:
        made.check_any(1)
    expected = f"demonstrations: none of 1 scenes has a drive that can be used (1 {NOT_FINITE})"
    assert str(error.value) == expected


def test_smoother_labels_cost_closeness():
    (close, _), (smooth, _) = (
        demonstrate([parked_car_road()], DemonstrationConfig(action_change_weight=weight)) for weight in (0.0, 1.0)
    )
    changes = [np.abs(np.diff(made.action[:, 0])).mean() for made in (close, smooth)]
    assert changes[1] < 0.8 * changes[0]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_CACHE_DIR", str(tmp_path / "cache"))
    made, _ = demonstrate([ROAD])
    calls = []

    def get(inputs):
        def build():
            calls.append(inputs)
            return made

        return cached_demonstrations(inputs, build)

    return get, made, calls, tmp_path / "cache" / "demonstrations"


def test_the_cache_maps_what_was_made(kept):
    get, made, calls, _ = kept
    inputs = inputs_of("a", DemonstrationConfig(), DRIVING)
    get(inputs)
    again = get(inputs)
    assert len(calls) == 1
    assert isinstance(again.observation.base, np.memmap) or isinstance(again.observation, np.memmap)
    assert np.array_equal(again.observation, made.observation)
    assert np.array_equal(again.action_index, made.action_index)
    assert again.summary() == made.summary()


@pytest.mark.parametrize(
    "other",
    [
        inputs_of("b", DemonstrationConfig(), DRIVING),
        inputs_of("a", DemonstrationConfig(match_horizon=5), DRIVING),
        inputs_of("a", DemonstrationConfig(), replace(DRIVING, acceleration_lag_s=0.3)),
        inputs_of("a", DemonstrationConfig(), replace(DRIVING, steering_lag_s=0.1)),
        inputs_of("a", DemonstrationConfig(), replace(DRIVING, observation_dtype="int8")),
        {**inputs_of("a", DemonstrationConfig(), DRIVING), "sources": ["edited"]},
    ],
    ids=["data", "matching", "acceleration lag", "steering lag", "observation", "code"],
)
def test_the_cache_knows_other_inputs(kept, other):
    get, _, calls, _ = kept
    get(inputs_of("a", DemonstrationConfig(), DRIVING))
    get(other)
    assert len(calls) == 2


def test_the_cache_key_holds_the_schema():
    assert inputs_of("a", DemonstrationConfig(), DRIVING)["observation"][0] == CANONICAL.hash


def test_what_a_killed_process_left_half_written_goes(kept):
    get, _, _, root = kept
    old, new = root / ".a.1.partial", root / ".b.2.partial"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "observation.bin").write_bytes(b"half")
    os.utime(old, (0.0, 0.0))
    get(inputs_of("a", DemonstrationConfig(), DRIVING))
    assert not old.exists()
    assert new.exists()  # somebody may be writing it now


@pytest.mark.parametrize("damage", ["flip", "cut", "manifest", "missing"])
def test_a_damaged_set_is_made_again(kept, damage):
    get, made, calls, root = kept
    inputs = inputs_of("a", DemonstrationConfig(), DRIVING)
    get(inputs)
    (folder,) = root.iterdir()
    file = folder / "observation.bin"
    if damage == "flip":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-4])
    elif damage == "manifest":
        (folder / MANIFEST).write_text("{")
    else:
        file.unlink()
    again = get(inputs)
    assert len(calls) == 2
    assert np.array_equal(again.observation, made.observation)
    get(inputs)
    assert len(calls) == 2


@pytest.fixture
def pieces():
    """Three, the middle one of a scene that cannot be simulated."""
    made = [demonstrate([scenario])[0] for scenario in (ROAD, parked_car_road())]
    return [made[0], no_demonstrations(DRIVING), made[1]]


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ARRAYS) and a.skipped == b.skipped


def test_pieces_come_in_any_order_and_end_up_in_theirs(tmp_path, monkeypatch, pieces):
    monkeypatch.setenv("DRIVETRAIN_CACHE_DIR", str(tmp_path / "cache"))
    made = demonstrations_in_pieces({"a": 1}, 3, lambda numbers: ((n, pieces[n]) for n in reversed(numbers)))
    assert same(made, joined(pieces))
    assert made.inputs == {"a": 1}
    assert made.episode_start[-1] == len(made) == len(pieces[0]) + len(pieces[2])
    for e, piece in enumerate((pieces[0], pieces[2])):
        rows = slice(*made.episode_start[e : e + 2])
        assert np.array_equal(made.pose[rows], piece.pose)
    again = demonstrations_in_pieces({"a": 1}, 3, lambda numbers: pytest.fail("made before"))
    assert same(again, made)
    assert [path.name for path in (tmp_path / "cache" / "demonstrations").glob(".*")] == [], "no pieces are left"


def test_who_is_stopped_goes_on_with_the_pieces_that_are_missing(tmp_path, monkeypatch, pieces):
    monkeypatch.setenv("DRIVETRAIN_CACHE_DIR", str(tmp_path / "cache"))

    def stopped(numbers):
        yield 2, pieces[2]
        yield 0, pieces[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demonstrations_in_pieces({"a": 1}, 3, stopped)
    (kept,) = (tmp_path / "cache" / "demonstrations").glob(".*.pieces")
    damaged = kept / "000002" / "pose.bin"
    damaged.write_bytes(damaged.read_bytes()[:-4])
    asked = []

    def rest(numbers):
        asked.extend(numbers)
        return ((n, pieces[n]) for n in numbers)

    assert same(demonstrations_in_pieces({"a": 1}, 3, rest), joined(pieces))
    assert asked == [1, 2]


def test_pieces_that_cannot_be_kept_are_joined_in_memory(tmp_path, monkeypatch, pieces):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DRIVETRAIN_CACHE_DIR", str(tmp_path / "file" / "cache"))
    made = demonstrations_in_pieces({"a": 1}, 3, lambda numbers: ((n, pieces[n]) for n in numbers))
    assert same(made, joined(pieces))
    assert made.inputs == {"a": 1}


@pytest.mark.parametrize(("agents", "at_once"), [("ego", 256), ("all", 32)])
def test_the_pieces_are_all_scenes_of_every_pass(agents, at_once):
    pieces = pieces_of(600, DemonstrationConfig(agents=agents, displaced_passes=1))
    driven = [(piece.number, piece.first + i) for piece in pieces for i in range(piece.count)]
    assert driven == [(number, scene) for number in range(2) for scene in range(600)]
    assert max(piece.count for piece in pieces) == at_once, "what a worker holds is bounded"


def test_a_split_keeps_scenes_whole():
    config = DemonstrationConfig(displaced_passes=1, displacement_interval_s=2.0)
    made, _ = demonstrate([straight_road(lead=False, frames=n) for n in (61, 71, 81, 91)], config)
    rest, held_out = made.split(0.25, seed=3)
    assert len(np.unique(held_out.group)) == 1
    assert not set(rest.group) & set(held_out.group)
    assert len(rest) + len(held_out) == len(made)
    e = int(np.flatnonzero(made.group == held_out.group[0])[0])
    rows = slice(*made.episode_start[e : e + 2])
    assert np.array_equal(held_out.observation[: rows.stop - rows.start], made.observation[rows])
    only, _ = demonstrate([ROAD])
    with pytest.raises(DataError, match="1 episode is too few to hold some out"):
        only.split(0.5, seed=0)


def test_wrong_settings_are_named():
    with pytest.raises(
        ConfigError, match="'scriptd' is not one of log, scripted, random, demo; did you mean 'scripted'"
    ):
        DemonstrationConfig(expert="scriptd")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"demonstrations.episodes: 0 is too small; use 1 or more"):
        DemonstrationConfig(episodes=0)
