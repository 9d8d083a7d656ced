import json

import numpy as np
import pytest

from drivetrain.data.inspection import inspect_store, verify_store
from drivetrain.data.scenario_store import ScenarioStore, ScenarioStoreWriter
from drivetrain.data.windows import select_windows
from drivetrain.errors import DataError, DrivetrainError
from drivetrain.sim.scenario import Ragged


def test_inspect_says_what_is_there(small_store):
    found = inspect_store(small_store.path)
    json.dumps(found)
    assert found["scenarios"] == {"train": 2, "val": 1, "test": 1, "total": 4}
    assert found["logs"] == {"train": 2, "val": 1, "test": 1}
    assert (found["maps"], found["source"], found["dt_s"]) == (2, "sample", 0.1)
    assert found["types"] == {"unknown": 4}
    assert found["num_frames"] == {"min": 151, "median": 151, "p90": 151, "max": 151}
    assert found["knowledge"]["lane_graph"] == "all"
    assert found["creator"]["config"] == {"seed": 1}
    assert found["fingerprint"] == small_store.fingerprint
    files = [p for p in small_store.path.rglob("*") if p.is_file() and p.name != "manifest.json"]
    assert found["bytes"] == sum(p.stat().st_size for p in files)


def test_a_sound_store_has_no_problems(small_store):
    seen = []
    assert verify_store(small_store.path, progress=lambda *args: seen.append(args)) == []
    assert seen[0] == (1, 6, "street")
    assert seen[-1] == (6, 6, "d")


def test_no_store_is_an_error_not_a_problem(tmp_path):
    with pytest.raises(DataError, match="holds no scenario store"):
        verify_store(tmp_path)


def names(store):
    return sorted(str(p.relative_to(store.path)) for p in store.path.rglob("*") if p.is_file())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_every_truncated_file_is_found(small_store, share):
    for name in names(small_store):
        file = small_store.path / name
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        try:
            problems = verify_store(small_store.path)
        finally:
            file.write_bytes(content)
        assert problems, f"{name} cut to {share}"
        assert all("\n" not in p["problem"] for p in problems)


def test_every_missing_or_surplus_file_is_found(small_store):
    for name in names(small_store):
        file = small_store.path / name
        content = file.read_bytes()
        file.unlink()
        if name == "manifest.json":
            with pytest.raises(DataError):
                verify_store(small_store.path)
        else:
            assert verify_store(small_store.path), name
        file.write_bytes(content)
    (small_store.path / "logs" / "notes.txt").write_text("x")
    assert verify_store(small_store.path) == [
        {"place": "logs/notes.txt", "problem": "is not listed in the manifest; remove it"}
    ]


def first_error(path):
    """What a user reads who loads everything; anything but our errors goes through."""
    try:
        store = ScenarioStore(path)
        for row in range(len(store)):
            store.load(row)
    except DrivetrainError as error:
        return str(error)


def test_flipped_bytes_give_an_error_or_a_problem_never_a_traceback(small_store):
    """Whatever byte changes, opening and loading either work or raise one of our errors, and verify sees it."""
    rng = np.random.default_rng(0)
    for name in names(small_store):
        file = small_store.path / name
        content = file.read_bytes()
        for place in rng.integers(0, len(content), size=40):
            damaged = bytearray(content)
            damaged[place] ^= int(rng.integers(1, 256))
            file.write_bytes(damaged)
            error = first_error(small_store.path)
            assert error is None or "\n" not in error
            if name != "manifest.json":
                assert verify_store(small_store.path), f"{name} byte {place}"
        file.write_bytes(content)
    assert verify_store(small_store.path) == []


def test_a_manifest_without_one_of_its_keys(small_store):
    place = small_store.path / "manifest.json"
    manifest = json.loads(place.read_text())
    needed = ("format", "version", "source", "scenarios", "rows", "files", "types", "knowledge")
    for key in needed:
        place.write_text(json.dumps({k: v for k, v in manifest.items() if k != key}))
        with pytest.raises(DataError, match=r"manifest.json: .*; (re-create the store|make it anew) with '"):
            ScenarioStore(small_store.path)
    for key in set(manifest) - set(needed):
        place.write_text(json.dumps({k: v for k, v in manifest.items() if k != key}))
        inspect_store(small_store.path)


def test_a_log_in_two_splits_is_found(small_store):
    index = np.load(small_store.path / "index.npy")
    index["split"][0] = 2
    np.save(small_store.path / "index.npy", index)
    problems = [p["problem"] for p in verify_store(small_store.path)]
    assert "scenario 0 is not in the split of its log 'a'" in problems
    assert "split train has 1 scenarios, the manifest says 2" in problems


def test_an_index_that_leaves_its_log_is_found_and_not_loaded(small_store):
    index = np.load(small_store.path / "index.npy")
    index["num_frames"][1] = 152
    index["log"][2] = 9
    np.save(small_store.path / "index.npy", index)
    problems = [p["problem"] for p in verify_store(small_store.path)]
    assert "scenario 1: its frames leave its log" in problems
    assert "scenario 2: log is 9, there are 4" in problems
    store = ScenarioStore(small_store.path)
    with pytest.raises(DataError, match="scenario 1 asks for frames 0 to 302 of a log of 301; re-create"):
        store.load(1)
    with pytest.raises(DataError, match="asks for row 9 of 4 logs"):
        store.load(2)


def changed(tmp_path, road_map, log, change_map=None, change_log=None):
    """Problems of a store whose map or log was spoilt."""
    for change, target in ((change_map, road_map), (change_log, log)):
        if change is not None:
            change(target)
    with ScenarioStoreWriter(tmp_path / "s", source="sample") as writer:
        writer.add_map(road_map)
        writer.add_log(log, select_windows(log).windows, "train")
    return [f"{p['place']}: {p['problem']}" for p in verify_store(tmp_path / "s")]


def put(array, value):
    array[...] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: put(m.lanes.successors.values, 5), "map 'street': successors names row 5, there are 2"),
        (lambda m: put(m.lanes.stop_polygons.values, 1), "map 'street': stop_polygons names row 1, there are 1"),
        (lambda m: put(m.road_edges.values[0], 2e5), "map 'street': road_edges reaches 200000 m from the origin"),
        (lambda m: put(m.lanes.speed_limit[:1], -1), "map 'street': a known speed limit is not above 0"),
        (lambda m: put(m.drivable.rings.values[0], 1), "map 'street': drivable: ring 0 is not closed"),
        (
            lambda m: put(m.lanes.roadblock.values, 0),
            "log 'drive': scene 0: no lane leads from roadblock 1001 to 2001 of its route",
        ),
    ],
)
def test_an_unsound_map_is_found(tmp_path, road_map, log, change, message):
    assert changed(tmp_path, road_map, log, change_map=change)[0] == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: put(d.tracks.velocity[0], 200), "log 'drive': an agent moves at 283 m/s"),
        (lambda d: put(d.ego.velocity[3], 101), "log 'drive': the ego moves at 101 m/s"),
        (lambda d: put(d.tracks.size[0], 0), "log 'drive': an agent has no size"),
        (lambda d: put(d.tracks.type[:1], 9), "log 'drive': an agent has type 9"),
        (lambda d: put(d.lights.state[5], 7), "log 'drive': a light has state 7"),
        (lambda d: put(d.lights.lane[:1], 2), "log 'drive': a light controls lane row 2, there are 2"),
        (
            lambda d: put(d.scene_route.values[:1], 4),
            "log 'drive': scene 0: its route names roadblock row 4, there are 2",
        ),
    ],
)
def test_an_unsound_log_is_found(tmp_path, road_map, log, change, message):
    assert changed(tmp_path, road_map, log, change_log=change) == [message]


def test_a_route_of_one_block_or_none_is_sound(tmp_path, road_map, log):
    assert Ragged.of([[]], dtype=np.int32).offsets.tolist() == [0, 0]
    put(log.scene_route.offsets, [0, 1])
    assert changed(tmp_path, road_map, log) == []
