"""Each check finds what it is there for, and says what to do."""

import json
import sqlite3
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from drivetrain.interfaces import cli, doctor_checks
from drivetrain.interfaces.doctor_checks import Finding
from drivetrain.runs.resources import GpuReading

LIBRARIES = {
    "torch": "2.13.0",
    "cuda": None,
    "threads": 1,
    "cuda_available": False,
    "numba": "0.68",
    "kernel_cache": "/var/empty/never/there",
    "jit_disabled": False,
}
GPU = GpuReading(uuid="GPU-1", name="RTX 4090", utilization=0.1, memory_used_bytes=0, memory_total_bytes=24 * 10**9)


def write_store(path, *, experiments):
    """The part of an MLflow store that the doctor reads."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT)")
    connection.executemany("INSERT INTO experiments VALUES (?, ?)", experiments)
    connection.commit()
    connection.close()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_python_outside_the_supported_versions_fails(monkeypatch):
    assert doctor_checks.check_python().level == "ok"
    monkeypatch.setattr(
        doctor_checks, "sys", SimpleNamespace(version_info=(3, 10, 1), version="3.10.1", executable="p")
    )
    finding = doctor_checks.check_python()
    assert (finding.level, finding.message) == ("fail", "3.10.1 at p: not in 3.11 to 3.13")
    assert finding.remedy == "make install PYTHON=python3.13"


def test_missing_and_old_packages_are_named(monkeypatch):
    assert doctor_checks.check_packages().level == "ok"
    wanted = ["numpy>=99.0", "not-there>=1", "psutil>=1", "rich<2", "pytest>=999; extra == 'dev'"]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    finding = doctor_checks.check_packages()
    numpy, rich = metadata.version("numpy"), metadata.version("rich")
    assert finding.message == (
        f"numpy {numpy} does not satisfy >=99.0; not-there is missing; rich {rich} does not satisfy <2"
    )
    assert (finding.level, finding.remedy) == ("fail", "make install")


def test_torch_and_numba_tell_their_build():
    assert doctor_checks.check_torch(LIBRARIES).message.startswith("2.13.0, CPU build, 1 of ")
    too_many = doctor_checks.check_torch(LIBRARIES | {"threads": 10_000, "cuda": "12.8"})
    assert (too_many.level, "CUDA 12.8" in too_many.message) == ("warn", True)
    assert too_many.remedy.startswith("export OMP_NUM_THREADS=")
    broken = doctor_checks.check_torch({"error": "ImportError: libcuda"})
    assert (broken.level, broken.message) == ("fail", "importing torch and numba failed: ImportError: libcuda")
    assert doctor_checks.check_numba(LIBRARIES | {"jit_disabled": True}).remedy == "unset NUMBA_DISABLE_JIT"
    assert doctor_checks.check_numba({"error": "x"}).level == "fail"


def test_a_gpu_that_torch_cannot_use_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor_checks, "read_gpus", lambda: ((), "NVML library not found"))
    none = doctor_checks.check_gpu(LIBRARIES)
    assert (none.level, none.message) == ("ok", "none (NVML library not found); training runs on the CPU")
    monkeypatch.setattr(doctor_checks, "read_gpus", lambda: ((GPU,), None))
    assert doctor_checks.check_gpu(LIBRARIES).message == "RTX 4090 (24 GB), but torch cannot use it"
    monkeypatch.setattr(doctor_checks, "gpu_driver", lambda: "570.1")
    assert doctor_checks.check_gpu(LIBRARIES).message == "RTX 4090 (24 GB), driver 570.1, but torch cannot use it"
    assert doctor_checks.check_gpu(LIBRARIES | {"cuda_available": True}).level == "ok"


def test_data_stores_are_counted_and_damaged_ones_named(project):
    assert doctor_checks.check_data(project).level == "warn"
    folder = project / "datasets" / "processed" / "sample"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"scenarios": {"train": 1000, "val": 500, "test": 0}}')
    assert doctor_checks.check_data(project) == Finding(name="data", level="ok", message="sample (1000 train, 500 val)")
    (project / "datasets" / "processed" / "torn").mkdir()
    assert "{torn}" in doctor_checks.check_data(project).message


def test_mlflow_wants_our_experiment_first_and_no_legacy_store(project):
    assert doctor_checks.check_mlflow(project).message == "no store yet; the first training creates it"
    write_store(project / "mlflow.db", experiments=[(0, "Default"), (1, "drivetrain")])
    assert doctor_checks.check_mlflow(project).message == "mlflow.db: experiment 'drivetrain' has id 1"
    (project / "mlflow.db").unlink()
    write_store(project / "mlflow.db", experiments=[(0, "Default"), (1, "other"), (2, "drivetrain")])
    finding = doctor_checks.check_mlflow(project)
    assert (finding.level, "has id 2" in finding.message) == ("warn", True)
    (project / "mlruns" / "123").mkdir(parents=True)
    (project / "mlruns" / "123" / "meta.yaml").write_text("")
    assert doctor_checks.check_mlflow(project).remedy == "move mlruns/ away"


def test_an_unusable_or_foreign_mlflow_store(project, monkeypatch):
    (project / "mlflow.db").write_text("no database " * 100)
    finding = doctor_checks.check_mlflow(project)
    assert (finding.level, "not a database" in finding.message) == ("fail", True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking")
    assert doctor_checks.check_mlflow(project).message == "MLFLOW_TRACKING_URI is http://tracking; not looked into"


def test_locks_are_seen_by_another_process(project, monkeypatch):
    finding = doctor_checks.check_locks(project)
    assert finding.level == "ok"
    assert finding.message.startswith("seen by other processes (")
    assert list(project.iterdir()) == []
    monkeypatch.setattr(doctor_checks, "file_system_of", lambda path: "nfs4")
    assert doctor_checks.check_locks(project).level == "warn"
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: SimpleNamespace(stdout="False\n"))
    assert doctor_checks.check_locks(project).level == "fail"


def test_compiled_kernels_of_older_sources_are_counted(tmp_path, monkeypatch):
    (tmp_path / "kernels" / "0a1b" / "sim").mkdir(parents=True)
    (tmp_path / "kernels" / "0a1b" / "sim" / "step.nbc").write_bytes(b"x" * 3000)
    libraries = LIBRARIES | {"kernel_cache": str(tmp_path / "kernels")}
    finding = doctor_checks.check_numba(libraries)
    assert (finding.level, finding.message) == ("ok", f"0.68, compiled kernels in {tmp_path / 'kernels'} (3 kB)")
    monkeypatch.setattr(doctor_checks, "MAX_KERNEL_BYTES", 2999)
    finding = doctor_checks.check_numba(libraries)
    assert (finding.level, finding.remedy.split(";")[0]) == ("warn", f"delete {tmp_path / 'kernels'}")


def test_memory_that_is_nearly_full_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor_checks, "read_memory", lambda: (95 * 10**8, 10**10))
    assert doctor_checks.check_memory() == Finding(name="memory", level="ok", message="500 MB of 10 GB free")
    monkeypatch.setattr(doctor_checks, "read_memory", lambda: (96 * 10**8, 10**10))
    assert (doctor_checks.check_memory().level, doctor_checks.check_memory().message) == (
        "warn",
        "400 MB of 10 GB free",
    )


def test_a_full_disk_fails(project, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9, total=10**12, used=0))
    finding = doctor_checks.check_disk(project)
    assert (finding.level, finding.message) == ("fail", "1 GB of 1 TB free")


def test_the_command_prints_every_finding_and_fails_if_one_does(project, monkeypatch, capsys):
    monkeypatch.setattr(doctor_checks, "_probe_libraries", lambda: LIBRARIES)
    assert cli.main(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    names = [
        "python",
        "packages",
        "torch",
        "numba",
        "gpu",
        "data",
        "mlflow",
        "locks",
        "runs",
        "queue",
        "memory",
        "disk",
    ]
    assert ([check["name"] for check in document["checks"]], document["ok"]) == (names, True)
    monkeypatch.setattr(doctor_checks, "_probe_libraries", lambda: {"error": "no torch"})
    assert cli.main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:4] == ["FAIL  torch     importing torch and numba failed: no torch", " " * 16 + "-> make install"]


def test_a_check_that_breaks_is_itself_a_finding(project, monkeypatch):
    monkeypatch.setattr(doctor_checks, "_probe_libraries", lambda: LIBRARIES)

    def broken():
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(doctor_checks, "check_packages", broken)
    findings = {finding.name: finding for finding in doctor_checks.run_checks(project)}
    assert findings["packages"].level == "fail"
    assert "oops" in findings["packages"].message


def test_the_probe_reports_a_broken_import(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert doctor_checks._probe_libraries() == {"error": "exit code 1"}
