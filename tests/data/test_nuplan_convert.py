"""Whole conversions of nuPlan logs: many processes, interruptions, selections, and what is said to be missing."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.golden_sets import GOLDEN

import drivetrain
from drivetrain.data.conversion_folder import ConversionFolder, conversion_settings
from drivetrain.data.convert import convert
from drivetrain.data.inspection import inspect_store, verify_store
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.selection import Selection
from drivetrain.data.selection_files import read_token_file
from drivetrain.errors import DataError, UsageError
from drivetrain.interfaces import cli

LOG = next(GOLDEN.glob("splits/mini/*.db"))
KIND = "following_lane_with_lead"


def add_log(folder, name, *statements):
    """A copy of the golden log under another name, with frame tokens of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.db"
    shutil.copy(LOG, path)
    salt = sum(map(ord, name)) % 251 + 1
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE log SET logfile = ?", (name,))
        for table, column in (
            ("lidar_pc", "token"),
            ("lidar_box", "lidar_pc_token"),
            ("scenario_tag", "lidar_pc_token"),
            ("traffic_light_status", "lidar_pc_token"),
        ):
            database.execute(
                f"UPDATE {table} SET {column} = CAST(substr({column}, 1, 7) || ? AS BLOB)", (bytes([salt]),)
            )
        for statement in statements:
            database.execute(statement)
        database.commit()
    return path


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Three logs, in folders of the published layout, and the maps beside them."""
    root = tmp_path_factory.mktemp("raw")
    shutil.copytree(GOLDEN / "maps", root / "maps")
    for folder, name in (("trainval", "a"), ("trainval", "b"), ("test", "c")):
        add_log(root / "nuplan-v1.1" / folder, name)
    return root


def contents(store):
    """All that must not depend on how a store was made."""
    files = {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.suffix != ".json"
    }
    manifest = json.loads((store / "manifest.json").read_text())
    manifest.pop("conversion")
    report = json.loads((store / "conversion.json").read_text())
    report.pop("conversion")
    for log in report["logs"]:
        log.pop("cpu_s")
    return files, manifest, report


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """The store of a conversion that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "nuplan"
    report = convert("nuplan", [raw], out)
    assert report.missing == ()
    assert sum(report.scenarios.values()) == 6
    assert report.scenarios["test"] == 2
    assert [p.name for p in out.parent.iterdir()] == ["nuplan"], "the working folder is gone"
    return out


def command(raw, out, *words):
    return [sys.executable, "-m", "drivetrain", "data", "convert", "--source", "nuplan"] + [
        str(word) for word in ("--data-root", raw, "--maps-root", raw / "maps", "--out", out, *words)
    ]


def environment():
    return {**os.environ, "PYTHONPATH": str(Path(drivetrain.__file__).parents[1])}


@contextlib.contextmanager
def begun(raw, out):
    """A conversion by a process of its own that has read the first of three logs and waits for the second one."""
    blocked = sqlite3.connect(raw / "nuplan-v1.1/trainval/b.db", isolation_level=None)
    blocked.execute("BEGIN EXCLUSIVE")
    words = command(raw, out, "--workers", 1)
    process = subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        while not list(out.parent.glob(f".{out.name}.converting/parts/[!.]*.dts")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        blocked.close()


def test_any_number_of_processes_makes_the_same_store(raw, whole, tmp_path):
    report = convert("nuplan", [raw], tmp_path / "nuplan", workers=2)
    assert contents(tmp_path / "nuplan") == contents(whole)
    assert verify_store(tmp_path / "nuplan") == []
    assert report.conversion["boxes"] == 3 * 1800 * 4
    assert report.conversion["peak_bytes_per_process"] > 20e6


@pytest.mark.needs_ray
def test_workers_of_a_cluster_make_the_same_store(raw, whole, tmp_path, ray_cluster):
    words = command(raw, tmp_path / "nuplan", "--backend", "ray", "--json")
    words += ["--address", ray_cluster.environment["RAY_ADDRESS"], "--workers", "2"]
    variables = environment() | ray_cluster.environment
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["logs"] == 3
    assert contents(tmp_path / "nuplan") == contents(whole)


def test_a_killed_conversion_goes_on_where_it_was(raw, whole, tmp_path):
    out = tmp_path / "nuplan"
    with begun(raw, out) as process:
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    with pytest.raises(
        DataError, match="a conversion to it was begun and not finished: give the same 'drivetrain data c"
    ):
        ScenarioStore(out)
    assert len(list(tmp_path.glob(".nuplan.converting/parts/[!.]*.dts"))) == 1
    (tmp_path / ".nuplan.converting/parts/.c.dts.partial-1").write_bytes(b"half")
    report = convert("nuplan", [raw], out, maps_root=raw / "maps")
    assert report.conversion["logs_from_before"] == 1
    assert contents(out) == contents(whole)
    assert [p.name for p in tmp_path.iterdir()] == ["nuplan"]


def test_ctrl_c_says_how_to_go_on(raw, tmp_path):
    out = tmp_path / "nuplan"
    with begun(raw, out) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == (
        "drivetrain: interrupted; 1 of 3 logs are read; the same command goes on from there"
    )
    assert "Traceback" not in said


def test_other_settings_start_anew_and_changed_logs_are_read_again(raw, tmp_path, monkeypatch):
    out = tmp_path / "nuplan"
    said = []

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    def attempt(**options):
        with monkeypatch.context() as patch:
            patch.setattr("drivetrain.data.store_writer.write_table", full)
            with pytest.raises(DataError, match=r"cannot be written .No space left on device.; free some space"):
                convert("nuplan", [raw], out, progress=lambda *line: said.append(line), **options)

    attempt()
    kept = sorted(p.name for p in tmp_path.glob(".nuplan.converting/parts/*.dts"))
    assert len(kept) == 3
    os.utime(raw / "nuplan-v1.1/test/c.db")
    report = convert("nuplan", [raw], tmp_path / "nuplan")
    assert report.conversion["logs_from_before"] == 2
    shutil.rmtree(out)
    attempt()
    said.clear()
    report = convert("nuplan", [raw], out, selection=Selection(stride_s=30), progress=lambda *line: said.append(line))
    assert said[0] == (0, 3, "a conversion with other settings was begun here: starting anew")
    assert report.conversion["logs_from_before"] == 0


def test_two_conversions_at_once_are_refused(raw, tmp_path):
    (tmp_path / ".nuplan.converting").mkdir()
    with (tmp_path / ".nuplan.converting/lock").open("w") as lock:
        lock.write("4242")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"another conversion writes this store \(process 4242\); wait for it"):
            convert("nuplan", [raw], tmp_path / "nuplan")


def test_every_frame_of_every_log_is_stored_also_without_scenarios(raw, tmp_path):
    selection = Selection(
        scenario_types=("following_lane_with_lead", "following_lane_without_lead", "stationary"),
        type_patterns=("following_*", "stationary"),
        logs=("b",),
    )
    report = convert("nuplan", [raw], tmp_path / "some", selection=selection)
    assert report.missing == ("scenario type stationary: no log has a usable scenario of it",)
    report = convert("nuplan", [raw], tmp_path / "s", selection=Selection(scenario_types=("stationary",)))
    assert sum(report.scenarios.values()) == 0
    assert report.missing == ("scenario type stationary: no log has a usable scenario of it",)
    assert inspect_store(tmp_path / "s")["num_agents"] == {}
    store = ScenarioStore(tmp_path / "s")
    assert store.log_names == ["a", "b", "c"]
    assert store.logs["num_frames"].tolist() == [1800] * 3
    assert verify_store(tmp_path / "s") == []


def test_a_token_list_gives_these_scenarios_and_names_the_others(raw, whole, tmp_path, capsys):
    ids = ScenarioStore(whole).ids()
    with contextlib.closing(sqlite3.connect(raw / "nuplan-v1.1/trainval/a.db")) as database:
        (early,) = database.execute("SELECT lower(hex(token)) FROM lidar_pc ORDER BY timestamp LIMIT 1").fetchone()
        (plain,) = database.execute(
            "SELECT lower(hex(token)) FROM lidar_pc ORDER BY timestamp LIMIT 1 OFFSET 1100"
        ).fetchone()
    listed = tmp_path / "tokens.txt"
    listed.write_text(f"# a list\n{ids[0].upper()}\n\n{ids[4]}  # twice\n{ids[4]}\n{'0' * 16}\n{early}\n{plain}\n")
    words = command(raw, tmp_path / "s", "--tokens", listed, "--workers", 1)[3:]
    assert cli.main(words) == 1
    said = capsys.readouterr()
    assert f"missing: token {'0' * 16}: is in none of the logs that were read\n" in said.err
    assert f"missing: token {early}: tag in the first or last scenes of its log\n" in said.err
    store = ScenarioStore(tmp_path / "s")
    assert sorted(store.ids()) == sorted([ids[0], ids[4], plain])
    # A frame without a tag: 20 s from there on, 20 Hz shown at 10 Hz.
    untagged = store.load(store.row_of(plain))
    assert untagged.scenario_type == "unknown"
    assert (untagged.timestamps_us[-1] - untagged.timestamps_us[0]) * 1e-6 == pytest.approx(20, abs=0.1)


def test_a_devkit_filter_is_honoured(raw, whole, tmp_path):
    listed = tmp_path / "val14.yaml"
    tokens = "\n".join(
        f"  - '{token}'" for token in ScenarioStore(whole).ids("train") + ScenarioStore(whole).ids("val")
    )
    listed.write_text(
        f"_target_: somewhere\nscenario_types:\n  - {KIND}\nscenario_tokens:\n{tokens}\nlog_names: [a, b]\n"
        "map_names: null\ntimestamp_threshold_s: 15\nexpand_scenarios: false\nremove_invalid_goals: true\n"
        "limit_total_scenarios: null\nshuffle: true\n"
    )
    report = convert("nuplan", [raw], tmp_path / "s", selection=read_token_file(listed))
    # All logs were driven at once, tags at 41 and 45 s: of all of them together only the first one stays.
    assert sum(report.scenarios.values()) == 1
    assert report.dropped == {"scenario within 15 s of one of the same type": 3}
    assert report.missing == ()
    assert report.logs == 2


def test_splits_come_from_folders_or_from_a_list(raw, tmp_path):
    report = convert("nuplan", [raw], tmp_path / "test", selection=Selection(split="test"))
    assert (report.logs, report.scenarios) == (1, {"train": 0, "val": 0, "test": 2})
    splits = {"a": "val", "b": "train", "x": "test"}
    report = convert("nuplan", [raw], tmp_path / "listed", splits=splits)
    assert (report.logs, report.scenarios) == (2, {"train": 2, "val": 2, "test": 0})
    assert report.dropped["log that the list of splits does not name"] == 1
    with pytest.raises(UsageError, match=r"none of its 3 logs is asked for \(split 'test'; splits there: train, val\)"):
        convert("nuplan", [raw], tmp_path / "none", splits=splits, selection=Selection(split="test"))


def test_logs_are_chosen_by_name(raw, tmp_path):
    report = convert("nuplan", [raw], tmp_path / "s", selection=Selection(logs=("[ab]", "2021*", "c*")))
    assert report.logs == 3
    assert report.missing == (f"log 2021*: is not below {raw}",)


def test_a_stride_cuts_windows_without_regard_to_tags(raw, tmp_path):
    report = convert("nuplan", [raw], tmp_path / "s", selection=Selection(stride_s=20, logs=("a",)))
    store = ScenarioStore(tmp_path / "s")
    # 90 s: windows of 15 s from 0, 20, 40 and 60 s on; from 80 s on only 10 s are left.
    assert sum(report.scenarios.values()) == 4
    starts = np.array([store.load(row).timestamps_us[0] for row in range(4)])
    assert (np.diff(starts) * 1e-6).tolist() == pytest.approx([20, 20, 20], abs=0.06)
    assert store.types == ("unknown",)


def test_a_log_that_fails_is_named_and_the_rest_converted(raw, tmp_path, capsys):
    shutil.copytree(raw, tmp_path / "raw")
    bad = tmp_path / "raw/nuplan-v1.1/trainval/b.db"
    bad.write_bytes(bad.read_bytes()[:100_000])
    assert cli.main([*command(tmp_path / "raw", tmp_path / "s", "--workers", 2)[3:], "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["logs"] == 2
    (line,) = report["missing"]
    assert line.startswith(f"{bad}: cannot be read as SQLite")
    document = json.loads((tmp_path / "s/conversion.json").read_text())
    assert document["problems"] == [{"log": "b", "problem": line}]
    assert [log["log"] for log in document["logs"]] == ["a", "c"]


def test_a_log_of_another_city_is_named(raw, tmp_path):
    logs = tmp_path / "logs"
    add_log(logs, "near")
    far = add_log(logs, "far", "UPDATE ego_pose SET x = x - 300000")
    lost = add_log(logs, "lost", "UPDATE log SET map_version = 'us-ma-bostn'")
    odd = add_log(logs, "odd", "UPDATE log SET map_version = '../../etc'")
    report = convert("nuplan", [logs], tmp_path / "s", maps_root=raw / "maps")
    assert report.logs == 1
    assert report.problems == (
        f"{far}: its ego drives 300 km away from the map 'us-nv-las-vegas-strip', as in another city; check"
        " log.map_version and the folder of the maps",
        f"{lost}: {raw / 'maps'}: has no map 'us-ma-bostn' (there: us-nv-las-vegas-strip); give the folder that holds"
        " the city folders",
        f"{odd}: log.map_version is '../../etc', expected the name of a city; leave this log out",
    )


def test_a_folder_without_maps_is_said_once(raw, tmp_path):
    with pytest.raises(DataError, match=r"nuplan-v1.1: holds no <city>/<version>/map.gpkg; give the folder that holds"):
        convert("nuplan", [raw], tmp_path / "s", maps_root=raw / "nuplan-v1.1")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_conversion_and_keeps_what_was_read(raw, tmp_path, monkeypatch):
    from drivetrain.data import log_part

    write, calls = log_part.write_part, []

    def second_fails(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr("drivetrain.data.log_part.write_part", second_fails)
    with pytest.raises(DataError, match=r"cannot be written .No space left on device."):
        convert("nuplan", [raw], tmp_path / "s")
    assert len(list(tmp_path.glob(".s.converting/parts/*.dts"))) == 1
    assert not (tmp_path / "s").exists()


def test_a_damaged_part_is_made_anew(raw, whole, tmp_path, monkeypatch):
    out = tmp_path / "nuplan"
    with monkeypatch.context() as patch:
        patch.setattr("drivetrain.data.nuplan_convert.within_limits", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            convert("nuplan", [raw], out)
    part = sorted(tmp_path.glob(".nuplan.converting/parts/b-*.dts"))[0]
    block = bytearray(part.read_bytes())
    block[5000] ^= 1
    part.write_bytes(block)
    with pytest.raises(DataError, match=r"b.db: what was read of it is damaged; run the same command again"):
        convert("nuplan", [raw], out)
    assert convert("nuplan", [raw], out).conversion["logs_from_before"] == 2
    assert contents(out) == contents(whole)


def test_a_damaged_part_of_a_map_is_made_anew(raw, whole, tmp_path, monkeypatch):
    out = tmp_path / "nuplan"
    for place in (5000, -1):
        with monkeypatch.context() as patch:
            patch.setattr("drivetrain.data.nuplan_convert.within_limits", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                convert("nuplan", [raw], out)
        (part,) = tmp_path.glob(".nuplan.converting/maps/*.dts")
        block = bytearray(part.read_bytes())
        block[place] ^= 1
        part.write_bytes(block)
        assert convert("nuplan", [raw], out).conversion["logs_from_before"] == 3
        assert contents(out) == contents(whole)
        shutil.rmtree(out)


def test_a_log_that_is_gone_is_named_and_one_that_changes_meanwhile_is_kept(raw, tmp_path, monkeypatch):
    from drivetrain.data.log_part import PartMaker

    shutil.copytree(raw, tmp_path / "raw")
    logs = tmp_path / "raw/nuplan-v1.1/trainval"
    (logs / "zz.db").symlink_to(tmp_path / "nowhere.db")
    read = PartMaker.read

    def touched(maker, log):
        part = read(maker, log)
        os.utime(log.path)
        return part

    monkeypatch.setattr(PartMaker, "read", touched)
    report = convert("nuplan", [tmp_path / "raw"], tmp_path / "s")
    assert report.logs == 3
    assert report.problems == (
        f"{logs / 'zz.db'}: cannot be read (No such file or directory); it was there a moment ago",
    )


def test_a_full_disk_while_a_map_is_kept_ends_the_conversion(raw, tmp_path, monkeypatch):
    from drivetrain.data.shards import ShardWriter

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ShardWriter, "close", full)
    said = []
    with pytest.raises(
        DataError, match=r"maps/us-nv-las-vegas-strip-\w+.dts: cannot be written .No space left"
    ) as caught:
        convert("nuplan", [raw], tmp_path / "s", progress=lambda *line: said.append(line))
    assert str(caught.value).count("cannot be written") == 1
    assert said == [], "no other log is tried"
    assert list(tmp_path.iterdir()) == [], "no half of a map is left"


def test_the_list_of_map_versions_belongs_to_the_settings(raw, tmp_path):
    shutil.copytree(raw / "maps", tmp_path / "maps")
    before = conversion_settings(tmp_path / "maps", {})
    (tmp_path / "maps/nuplan-maps-v1.0.json").write_text("{}")
    assert conversion_settings(tmp_path / "maps", {}) != before


def test_parts_of_other_settings_have_other_names(tmp_path):
    names = []
    for settings in ({"a": 1}, {"a": 2}, {"a": 1}):
        with ConversionFolder(tmp_path / "s") as folder:
            folder.begin(settings)
            names.append((folder.part(LOG), folder.map_part("x")))
    assert names[0] == names[2]
    assert names[0][0] != names[1][0]
    assert names[0][1] != names[1][1]


def test_a_store_can_be_written_into_the_empty_folder_one_is_in(raw, whole, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    convert("nuplan", [raw], Path("."), overwrite=True)
    assert contents(tmp_path / "here") == contents(whole)
    assert [p.name for p in tmp_path.iterdir()] == ["here"]
