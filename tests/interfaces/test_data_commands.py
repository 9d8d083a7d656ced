"""`drivetrain data ...` on a small generated store and on what is none."""

import json
import shutil
import signal
import subprocess
import sys

import pytest
from tests.golden_sets import GOLDEN

from drivetrain.interfaces import cli, progress
from drivetrain.processes import interrupts_ignored


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "few"
    words = ["--train", "2", "--val", "1", "--test", "0", "--kinds", "straight", "--workers", "1"]
    assert cli.main(["data", "sample", "--out", str(path), *words]) == 0
    return path


def test_raw_files_are_written_instead_of_a_store(tmp_path, capsys):
    path = tmp_path / "raw"
    words = ["--train", "1", "--val", "1", "--test", "0", "--kinds", "curve", "--seed", "5", "--workers", "1"]
    assert cli.main(["data", "sample", "--raw", "--out", str(path), *words]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["raw sample logs: 2/2 2022.01.01.00.00.00_veh-05_00000_00015", f"wrote {path}"]
    assert sorted(str(p.relative_to(path)) for p in path.rglob("*.db")) == [
        "nuplan-v1.1/splits/train/2021.01.01.00.00.00_veh-05_00000_00015.db",
        "nuplan-v1.1/splits/val/2022.01.01.00.00.00_veh-05_00000_00015.db",
    ]
    assert cli.main(["data", "sample", "--raw", "--out", str(path), *words]) == 1
    assert capsys.readouterr().err == (
        f"drivetrain: {path}: exists already; choose another folder, or replace it with --overwrite\n"
    )


def test_an_interrupted_raw_sample_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress.StderrProgress, "__call__", stop)
    words = ["--train", "2", "--val", "0", "--test", "0", "--workers", "1", "--out", str(tmp_path / "raw")]
    assert cli.main(["data", "sample", "--raw", *words]) == 130
    assert capsys.readouterr().err == "drivetrain: interrupted; the same command goes on with what is written\n"


def test_a_store_is_inspected(store, capsys):
    assert cli.main(["data", "inspect", str(store), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["source"], facts["scenarios"]["total"], facts["types"]) == ("sample", 3, {"straight": 3})
    assert cli.main(["data", "inspect", str(store)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["scenarios"] == "train 2, val 1, test 0, total 3"
    assert lines["bytes"].endswith("B")


def test_a_sound_store_and_a_damaged_one(store, tmp_path, capsys):
    assert cli.main(["data", "verify", str(store)]) == 0
    assert capsys.readouterr().out == f"{store}: sound\n"
    damaged = tmp_path / "damaged"
    shutil.copytree(store, damaged)
    shard = next(damaged.rglob("*.dts"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    assert cli.main(["data", "verify", str(damaged), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert any(problem["place"] == str(shard.relative_to(damaged)) for problem in document["problems"])
    assert cli.main(["data", "verify", str(damaged)]) == 1
    assert "sha256" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["inspect", "verify"])
def test_no_store_is_one_line(tmp_path, capsys, action):
    assert cli.main(["data", action, str(tmp_path / "none")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "does not exist, a scenario store was expected; make one with 'drivetrain data sample'" in err


def test_a_store_is_not_replaced_silently(store, capsys):
    assert cli.main(["data", "sample", "--out", str(store), "--train", "1", "--val", "0", "--test", "0"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "overwrite" in err


def test_workers_leave_interrupts_to_the_parent(request):
    # A shell that starts the tests in the background hands them an ignored Ctrl-C, which children inherit.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler))
    code = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    before = signal.getsignal(signal.SIGINT)
    with interrupts_ignored():
        inside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (inside.stdout, outside.stdout) == ("True\n", "False\n")
    assert signal.getsignal(signal.SIGINT) == before


def test_nuplan_logs_are_converted(tmp_path, capsys):
    logs = next(GOLDEN.rglob("*.db")).parent
    maps = next(GOLDEN.rglob("*.gpkg")).parents[2]
    out = tmp_path / "nuplan"
    words = ["--source", "nuplan", str(logs), "--maps", str(maps), "--out", str(out)]
    assert cli.main(["data", "convert", *words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["source"], report["logs"], report["maps"]) == ("nuplan", 1, 1)
    assert sum(report["scenarios"].values()) > 0
    assert cli.main(["data", "convert", *words, "--overwrite"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: ")


def test_a_conversion_says_what_is_wrong(tmp_path, capsys):
    (tmp_path / "scene.json").write_text("{}")
    out = str(tmp_path / "out")
    assert cli.main(["data", "convert", "--source", "waymo-json", str(tmp_path), "--out", out]) == 1
    assert str(tmp_path / "scene.json") in capsys.readouterr().err
    assert cli.main(["data", "convert", "--source", "waymo", str(tmp_path), "--out", out]) == 2
    assert "did you mean 'waymo-json'?" in capsys.readouterr().err
