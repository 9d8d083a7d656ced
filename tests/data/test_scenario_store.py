import dataclasses
import json

import numpy as np
import pytest
from tests.data.dense_agents import all_agents

from drivetrain.data.scenario_store import ScenarioStore, ScenarioStoreWriter
from drivetrain.data.windows import select_windows
from drivetrain.errors import DataError
from drivetrain.sim.scenario import PolygonSet, Ragged


def assert_same(left, right):
    """Every array of two (nested) dataclasses is equal, value and type."""
    assert type(left) is type(right)
    for field in dataclasses.fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if dataclasses.is_dataclass(a):
            assert_same(a, b)
        elif isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name


def assert_close(left, right, tolerance):
    """Every array of two dataclasses has the same type and shape and nearly the same values."""
    for field in dataclasses.fields(left):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape) == (b.dtype, b.shape), field.name
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance, err_msg=field.name)
        else:
            assert a == b, field.name


def test_a_map_comes_back_bit_for_bit(small_store, road_map):
    expected = dataclasses.replace(
        road_map, lanes=dataclasses.replace(road_map.lanes, speed_limit=np.array([13.4, 0.0]))
    )
    assert_same(small_store.load(0).map, expected)


def test_a_log_comes_back(small_store, new_log):
    stored, made = small_store.log("b"), new_log("b", map_name="avenue")
    assert all_agents(stored).token.tolist() == [11, 12], "an agent never seen is not stored"
    for name in ("timestamps_us", "scene_first_frame", "scene_goal", "tag_frame", "tag_type", "knowledge"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(made, name))
    assert_close(stored.ego, made.ego, 1e-5)
    assert_same(stored.lights, made.lights)
    np.testing.assert_array_equal(all_agents(stored).valid, all_agents(made).valid[:, :2])
    np.testing.assert_allclose(all_agents(stored).position, all_agents(made).position[:, :2], atol=5e-4)


def test_a_scenario_is_its_window_of_the_log(small_store, log):
    scenario = small_store.load(small_store.ids("val")[0])
    assert (scenario.log_name, scenario.split, scenario.source) == ("c", "val", "sample")
    assert len(scenario.timestamps_us) == 151
    np.testing.assert_array_equal(scenario.timestamps_us, log.timestamps_us[::2])
    np.testing.assert_allclose(scenario.ego.pose, log.ego.pose[::2], atol=1e-5)
    np.testing.assert_array_equal(scenario.agents.valid, all_agents(log).valid[::2, :2])
    np.testing.assert_allclose(scenario.agents.position, all_agents(log).position[::2, :2], atol=5e-4)
    assert scenario.lights.lane.tolist() == [1], "a light of which nothing is known here is left out"
    np.testing.assert_array_equal(scenario.lights.state[:, 0], log.lights.state[::2, 0])
    assert scenario.route.tolist() == [0, 1]
    assert scenario.goal_known
    assert scenario.goal.tolist() == [75, 0, 0]


def test_index_columns_are_what_they_say(small_store):
    row = small_store.index[0]
    assert row["expert_length_m"] == pytest.approx(75.0)
    assert row["difficulty_m"] == pytest.approx(0.0, abs=1e-5)
    assert row["num_agents"] == 2
    assert row["num_frames"] == 151


def test_difficulty_is_the_distance_to_straight_on_after_five_seconds(tmp_path, road_map, log):
    log.ego.pose[:, 1] = np.where(np.arange(301) >= 100, 3.0, 0.0)  # 3 m aside from 5 s on
    with ScenarioStoreWriter(tmp_path / "s", source="sample") as writer:
        writer.add_map(road_map)
        writer.add_log(log, select_windows(log).windows, "train")
    assert ScenarioStore(tmp_path / "s").index["difficulty_m"][0] == pytest.approx(3.0)


def test_scenes_that_share_a_map_share_the_object(small_store):
    first, second, third, fourth = (small_store.load(row) for row in range(4))
    assert first.map is third.map is fourth.map
    assert first.map is not second.map
    np.testing.assert_array_equal(second.map.lanes.baseline[0], first.map.lanes.baseline[0] + 10)


def test_sampling_is_by_seed_and_without_repetition(small_store):
    once = [s.scenario_id for s in small_store.scenarios("train", seed=3)]
    assert once == [s.scenario_id for s in small_store.scenarios("train", seed=3)]
    assert sorted(once) == sorted(small_store.ids("train"))
    assert len(small_store.scenarios(limit=3)) == 3
    assert small_store.splits == {"train": 2, "val": 1, "test": 1}
    assert small_store.log_names == ["a", "b", "c", "d"]
    assert small_store.map_names == ["street", "avenue"]


def test_the_same_content_has_the_same_fingerprint(tmp_path, road_map, log):
    prints = []
    for name, config in (("one", {}), ("two", {})):
        with ScenarioStoreWriter(tmp_path / name, source="sample", config=config) as writer:
            writer.add_map(road_map)
            writer.add_log(log, select_windows(log).windows, "train")
        prints.append(ScenarioStore(tmp_path / name).fingerprint)
    assert prints[0] == prints[1]
    log.ego.pose[5, 0] += 1e-4
    with ScenarioStoreWriter(tmp_path / "three", source="sample") as writer:
        writer.add_map(road_map)
        writer.add_log(log, select_windows(log).windows, "train")
    assert ScenarioStore(tmp_path / "three").fingerprint != prints[0]


def test_frames_that_no_window_shows_can_be_left_out(tmp_path, road_map, log):
    windows = select_windows(log).windows
    sizes = {}
    for name, everything in (("all", True), ("shown", False)):
        with ScenarioStoreWriter(tmp_path / name, source="sample", all_frames=everything) as writer:
            writer.add_map(road_map)
            writer.add_log(log, windows, "train")
        sizes[name] = (tmp_path / name / "logs/shard-00000.dts").stat().st_size
    full, thin = ScenarioStore(tmp_path / "all"), ScenarioStore(tmp_path / "shown")
    assert sizes["shown"] < 0.7 * sizes["all"]
    assert len(thin.log("drive").timestamps_us) == 151
    left, right = full.load(0), thin.load(0)
    assert left.scenario_id == right.scenario_id
    assert_close(left.agents, right.agents, 5e-4)
    assert_close(left.ego, right.ego, 1e-5)
    assert_same(left.lights, right.lights)


def test_overlapping_windows_out_of_step_keep_every_frame(tmp_path, road_map, log):
    window = select_windows(log).windows[0]
    odd = dataclasses.replace(window, first_frame=1, num_frames=100, token=99)
    with ScenarioStoreWriter(tmp_path / "s", source="sample", all_frames=False) as writer:
        writer.add_map(road_map)
        writer.add_log(log, [window, odd], "train")
    store = ScenarioStore(tmp_path / "s")
    np.testing.assert_array_equal(store.load(1).timestamps_us, log.timestamps_us[1:200:2])


def test_many_shards(tmp_path, road_map, new_log):
    with ScenarioStoreWriter(tmp_path / "s", source="sample", shard_bytes=40_000) as writer:
        writer.add_map(road_map)
        for i in range(9):
            drive = new_log(f"drive-{i}")
            drive.ego.pose[:, 1] = i
            writer.add_log(drive, select_windows(drive).windows, "train")
    store = ScenarioStore(tmp_path / "s")
    assert len(list((tmp_path / "s/logs").iterdir())) > 2
    assert all((tmp_path / "s" / name).stat().st_size < 50_000 for name in store.manifest["files"])
    assert [store.load(row).ego.pose[0, 1] for row in (8, 0, 4)] == [8, 0, 4]


def write_store(path, parts, **options):
    """A store of ``parts``: maps, or (log, split)."""
    with ScenarioStoreWriter(path, source="sample", **options) as writer:
        for part in parts:
            if isinstance(part, tuple):
                writer.add_log(part[0], select_windows(part[0]).windows, part[1])
            else:
                writer.add_map(part)


def test_a_log_cannot_be_in_two_splits(tmp_path, road_map, log):
    with pytest.raises(DataError, match="log 'drive' was added before; a log belongs to one split and is added once"):
        write_store(tmp_path / "s", [road_map, (log, "train"), (log, "val")])
    assert list(tmp_path.iterdir()) == [], "a failed writer leaves nothing behind"


def test_a_store_is_never_overwritten_silently(small_store, road_map, log):
    before = small_store.fingerprint
    with pytest.raises(DataError, match=r"exists already and is left as it is.*--overwrite"):
        ScenarioStoreWriter(small_store.path, source="sample")
    with pytest.raises(DataError, match="map 'street' was added before"):
        write_store(small_store.path, [road_map, road_map], overwrite=True)
    assert ScenarioStore(small_store.path).fingerprint == before
    write_store(small_store.path, [road_map, (log, "test")], overwrite=True)
    assert ScenarioStore(small_store.path).splits == {"train": 0, "val": 0, "test": 1}
    assert [p.name for p in small_store.path.parent.iterdir()] == ["small"]


def test_of_two_writers_at_once_the_first_wins(tmp_path, road_map, log, new_log):
    slow = ScenarioStoreWriter(tmp_path / "s", source="sample")
    slow.add_map(road_map)
    slow.add_log(log, select_windows(log).windows, "train")
    write_store(tmp_path / "elsewhere", [road_map, (new_log("fast"), "train")])
    (tmp_path / "elsewhere").rename(tmp_path / "s")
    with pytest.raises(DataError, match="s: another process made this store meanwhile; it is left as it is"):
        slow.close()
    assert ScenarioStore(tmp_path / "s").log_names == ["fast"]
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_full_disk_leaves_the_old_store(small_store, road_map, log, monkeypatch):
    before = small_store.fingerprint

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("drivetrain.data.shards.os.fsync", full)
    with pytest.raises(DataError, match=r"small: cannot be written \(No space left on device\); free some space"):
        write_store(small_store.path, [road_map, (log, "train")], overwrite=True)
    assert ScenarioStore(small_store.path).fingerprint == before
    assert [p.name for p in small_store.path.parent.iterdir()] == ["small"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/store: cannot be written \(.*\); free some space, or choose") as caught:
        ScenarioStoreWriter(tmp_path / "file" / "store", source="sample")
    assert "\n" not in str(caught.value)


def test_leftovers_of_dead_processes_are_removed(tmp_path, road_map, log):
    import socket

    dead = tmp_path / f".s.partial-{socket.gethostname()}-999999999"
    dead.mkdir()
    with ScenarioStoreWriter(tmp_path / "s", source="sample") as writer:
        assert not dead.exists()
        writer.add_map(road_map)
        writer.add_log(log, select_windows(log).windows, "train")


def test_a_missing_store_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match="sample: does not exist, a scenario store was expected; make it with 'drivetr"):
        ScenarioStore(tmp_path / "sample")
    with pytest.raises(DataError, match="'drivetrain data sample' or 'drivetrain data convert --source nuplan"):
        ScenarioStore(tmp_path / "nuplan")
    with pytest.raises(DataError, match=r"holds no scenario store \(manifest.json is missing\)"):
        ScenarioStore(tmp_path)


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("sample", "make it anew with 'drivetrain data sample --out {0} --overwrite'"),
        (
            "nuplan",
            "convert the recordings again with 'drivetrain data convert --source nuplan ... --out {0} --overwrite'",
        ),
    ],
)
def test_a_store_of_another_version_is_refused_in_one_line(small_store, source, remedy):
    place = small_store.path / "manifest.json"
    manifest = json.loads(place.read_text())
    place.write_text(json.dumps({**manifest, "version": 1, "source": source}))
    with pytest.raises(DataError) as caught:
        ScenarioStore(small_store.path)
    expected = f"{place}: has store version 1, this program reads 5; {remedy.format(small_store.path)}"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("ffff", "has no scenario 'ffff' among its 4"),
        ("not hex", "has no scenario 'not hex' among its 4"),
        (4, "has scenarios 0 to 3, asked for 4"),
        (-1, "has scenarios 0 to 3, asked for -1"),
    ],
)
def test_an_unknown_scenario(small_store, key, message):
    with pytest.raises(DataError, match=message):
        small_store.load(key)


def test_an_unknown_split_or_log(small_store):
    with pytest.raises(DataError, match="there is no split 'eval', only train, val, test"):
        small_store.ids("eval")
    with pytest.raises(DataError, match="has no log 'aa'"):
        small_store.log("aa")


def test_a_writer_refuses_bad_input(tmp_path, road_map, log):
    windows = select_windows(log).windows

    def attempt(change):
        with ScenarioStoreWriter(tmp_path / "s", source="sample") as writer:
            writer.add_map(road_map)
            change(writer)

    twisted = dataclasses.replace(log, timestamps_us=log.timestamps_us[::-1])
    far = dataclasses.replace(windows[0], num_frames=152)
    broken = dataclasses.replace(log, ego=dataclasses.replace(log.ego, yaw_rate=np.full(301, np.nan)))
    cases = [
        (lambda w: w.add_log(log, windows, "dev"), "asks for split 'dev', there are train, val, test"),
        (lambda w: w.add_log(twisted, windows, "train"), "time does not advance at frame 1;"),
        (lambda w: w.add_log(log, [far], "train"), "has 301 frames, a window asks for"),
        (lambda w: w.add_log(log, windows * 2, "train"), "two scenarios have the same token"),
        (lambda w: w.add_log(broken, windows, "train"), "log 'drive': array 'ego.yaw_rate' holds 301 NaN"),
        (lambda w: w.add_log(dataclasses.replace(log, map_name="stret"), windows, "train"), "did you mean 'street'"),
        (lambda w: w.add_map(road_map), "map 'street' was added before"),
        (lambda w: w.note_dropped("log too short", 2), "not one usable scenario: 2 x log too short"),
    ]
    for change, message in cases:
        with pytest.raises(DataError, match=message):
            attempt(change)
    assert list(tmp_path.iterdir()) == []


def test_a_log_without_agents_lights_or_scenes(tmp_path, road_map, log):
    none = np.zeros(0, dtype=np.int64)
    bare = dataclasses.replace(
        log,
        tracks=log.tracks.take(none),
        lights=dataclasses.replace(
            log.lights, lane=none.astype(np.int32), stop_point=np.zeros((0, 2)), state=np.zeros((301, 0), np.uint8)
        ),
        scene_first_frame=none, scene_route=Ragged.of([], dtype=np.int32), scene_goal=np.zeros((0, 3)),
        scene_goal_known=np.zeros(0, np.bool_),
    )  # fmt: skip
    bare_map = dataclasses.replace(road_map, drivable=PolygonSet.of([], kind=[], source_id=[]))
    with ScenarioStoreWriter(tmp_path / "s", source="sample") as writer:
        writer.add_map(bare_map)
        writer.add_log(bare, select_windows(bare).windows, "train")
    scenario = ScenarioStore(tmp_path / "s").load(0)
    assert scenario.agents.position.shape == (151, 0, 2)
    assert scenario.lights.state.shape == (151, 0)
    assert len(scenario.route) == 0
    assert not scenario.goal_known
    assert len(scenario.map.drivable) == 0


def test_any_frames_of_a_log_can_be_had(small_store, log):
    frames = np.array([3, 4, 50, 150, 300])
    window = small_store.window(2, frames)
    assert (window.log_name, window.split, window.source) == ("c", "val", "sample")
    assert window.map is small_store.load(2).map
    np.testing.assert_array_equal(window.timestamps_us, log.timestamps_us[frames])
    np.testing.assert_array_equal(small_store.timestamps_us(2), log.timestamps_us)
    np.testing.assert_allclose(window.ego.pose, log.ego.pose[frames], atol=1e-5)
    np.testing.assert_array_equal(window.agents.valid, all_agents(log).valid[frames][:, :2])
    np.testing.assert_array_equal(window.lights.state[:, 0], log.lights.state[frames, 0])
    whole = small_store.window(2, np.arange(0, 301, 2))
    assert_same(whole.agents, small_store.load(2).agents)
    assert_same(whole.ego, small_store.load(2).ego)


def test_the_table_of_logs_says_which_times_they_cover(small_store, log):
    assert small_store.logs["first_us"].tolist() == [log.timestamps_us[0]] * 4
    assert small_store.logs["last_us"].tolist() == [log.timestamps_us[-1]] * 4


@pytest.mark.parametrize("frames", [[], [5, 5], [9, 8], [-1, 0], [300, 301]])
def test_frames_a_log_does_not_have_are_refused(small_store, frames):
    with pytest.raises(DataError, match="of log 'a', which has 301; ask for ascending frames of the log"):
        small_store.window(0, np.array(frames, dtype=np.int64))
