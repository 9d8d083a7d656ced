"""What can be wrong with an installation, one function per suspicion; each finding carries its remedy."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from drivetrain.interfaces.doctor_finding import Finding
from drivetrain.interfaces.doctor_runs import check_queue, check_runs
from drivetrain.interfaces.number_text import bytes_text
from drivetrain.processes import usable_cores
from drivetrain.run_record import RunPaths
from drivetrain.runs.advice import MAX_MEMORY_USED, MIN_FREE_BYTES
from drivetrain.runs.mlflow_mirror import EXPERIMENT, tracking_uri
from drivetrain.runs.resources import gpu_driver, nearest_existing, read_gpus, read_memory

SUPPORTED_PYTHON = ((3, 11), (3, 13))
PROBE_TIMEOUT_S = 120.0
MAX_KERNEL_BYTES = 2**30
"""Every edit of a kernel leaves its compiled forerunner behind; beyond this it is worth clearing up [byte]."""


def run_checks(root: Path) -> Iterable[Finding]:
    """Yield the finding of every check; a check that itself breaks is a finding too."""
    libraries = _probe_libraries()
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("python", check_python),
        ("packages", check_packages),
        ("torch", lambda: check_torch(libraries)),
        ("numba", lambda: check_numba(libraries)),
        ("gpu", lambda: check_gpu(libraries)),
        ("data", lambda: check_data(root)),
        ("mlflow", lambda: check_mlflow(root)),
        ("locks", lambda: check_locks(root)),
        ("runs", lambda: check_runs(root)),
        ("queue", lambda: check_queue(root)),
        ("memory", check_memory),
        ("disk", lambda: check_disk(root)),
    )
    for name, check in checks:
        try:
            yield check()
        except Exception as error:  # a doctor who faints has found something
            yield Finding(name=name, level="fail", message=f"the check itself failed: {error!r}", remedy="report this")


def check_python() -> Finding:
    """Look at the interpreter."""
    version = sys.version_info[:2]
    text = f"{sys.version.split()[0]} at {sys.executable}"
    low, high = SUPPORTED_PYTHON
    if not low <= version <= high:
        remedy = f"make install PYTHON=python{high[0]}.{high[1]}"
        return Finding(name="python", level="fail", message=f"{text}: not in 3.{low[1]} to 3.{high[1]}", remedy=remedy)
    return Finding(name="python", level="ok", message=text)


def check_packages() -> Finding:
    """Look for every package that pyproject.toml asks for, without importing any."""
    try:
        wanted = [line for line in metadata.requires("drivetrain") or [] if "extra ==" not in line]
    except metadata.PackageNotFoundError:
        message = "drivetrain runs from its sources and is not installed, so its packages are not known"
        return Finding(name="packages", level="warn", message=message, remedy="make install")
    problems = [problem for line in wanted if (problem := _package_problem(line))]
    if problems:
        return Finding(name="packages", level="fail", message="; ".join(problems), remedy="make install")
    return Finding(name="packages", level="ok", message=f"{len(wanted)} packages in the versions asked for")


def check_torch(libraries: dict[str, Any]) -> Finding:
    """Look at the build of torch and its threads."""
    if "torch" not in libraries:
        return _broken("torch", libraries)
    build = f"CUDA {libraries['cuda']}" if libraries["cuda"] else "CPU build"
    threads, processors = libraries["threads"], usable_cores()
    message = f"{libraries['torch']}, {build}, {threads} of {processors} processors"
    if threads > processors:
        remedy = f"export OMP_NUM_THREADS={processors}"
        return Finding(name="torch", level="warn", message=f"{message}: threads wait for one another", remedy=remedy)
    return Finding(name="torch", level="ok", message=message)


def check_numba(libraries: dict[str, Any]) -> Finding:
    """Look at the folder of compiled kernels."""
    if "numba" not in libraries:
        return _broken("numba", libraries)
    folder = Path(libraries["kernel_cache"])
    message = f"{libraries['numba']}, compiled kernels in {folder}"
    if libraries["jit_disabled"]:
        remedy = "unset NUMBA_DISABLE_JIT"
        return Finding(name="numba", level="warn", message=f"{message}, compilation is switched off", remedy=remedy)
    if not os.access(nearest_existing(folder), os.W_OK):
        remedy = "set DRIVETRAIN_CACHE_DIR to a folder that can be written"
        return Finding(name="numba", level="warn", message=f"{message} (cannot be written)", remedy=remedy)
    size = _size_below(folder)
    message += f" ({bytes_text(size)})"
    if size > MAX_KERNEL_BYTES:
        remedy = f"delete {folder}; what is needed is compiled again, once"
        return Finding(name="numba", level="warn", message=f"{message}, mostly of older sources", remedy=remedy)
    return Finding(name="numba", level="ok", message=message)


def check_gpu(libraries: dict[str, Any]) -> Finding:
    """Look for GPUs, and whether torch can use them."""
    gpus, reason = read_gpus()
    if not gpus:
        return Finding(name="gpu", level="ok", message=f"none ({reason}); training runs on the CPU")
    names = ", ".join(f"{gpu.name} ({bytes_text(gpu.memory_total_bytes)})" for gpu in gpus)
    names += f", driver {version}" if (version := gpu_driver()) else ""
    if libraries.get("cuda_available"):
        return Finding(name="gpu", level="ok", message=names)
    remedy = "install a CUDA build of torch: see pytorch.org/get-started"
    return Finding(name="gpu", level="warn", message=f"{names}, but torch cannot use it", remedy=remedy)


def check_data(root: Path) -> Finding:
    """Look at the scenario stores."""
    folder = root / "datasets" / "processed"
    stores, damaged = [], []
    for path in sorted(folder.glob("*/")):
        try:
            scenarios = json.loads((path / "manifest.json").read_bytes())["scenarios"]
            counts = ", ".join(f"{count} {split}" for split, count in scenarios.items() if count)
            stores.append(f"{path.name} ({counts})")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            damaged.append(path.name)
    if damaged:
        message = f"no readable manifest.json in datasets/processed/{{{','.join(damaged)}}}"
        return Finding(name="data", level="warn", message=message, remedy="delete the folder and make it again")
    if not stores:
        remedy = "drivetrain data sample (a training with 'data: auto' does it by itself)"
        return Finding(name="data", level="warn", message="no scenario store in datasets/processed/", remedy=remedy)
    return Finding(name="data", level="ok", message="; ".join(stores))


def check_mlflow(root: Path) -> Finding:
    """Look at the store, the id of our experiment and what a legacy store would do to both."""
    legacy = sorted((root / "mlruns").glob("[0-9]*/meta.yaml"))
    if legacy:
        message = "mlruns/ holds a legacy file store, which MLflow prefers to mlflow.db"
        return Finding(name="mlflow", level="fail", message=message, remedy="move mlruns/ away")
    uri = tracking_uri(root)
    if not uri.startswith("sqlite:///"):
        return Finding(name="mlflow", level="ok", message=f"MLFLOW_TRACKING_URI is {uri}; not looked into")
    database = Path(uri.removeprefix("sqlite:///"))
    if not database.exists():
        if not os.access(nearest_existing(database.parent), os.W_OK):
            return _mlflow_failed(f"{database.parent} cannot be written")
        return Finding(name="mlflow", level="ok", message="no store yet; the first training creates it")
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=5.0, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            query = "SELECT experiment_id FROM experiments WHERE name = ?"
            found = connection.execute(query, (EXPERIMENT,)).fetchone()
    except sqlite3.Error as error:
        return _mlflow_failed(f"{database}: {error}")
    if found is None:
        message = f"{database.name} has no experiment '{EXPERIMENT}' yet; the next training creates it"
        return Finding(name="mlflow", level="ok", message=message)
    if str(found[0]) != "1":
        message = f"experiment '{EXPERIMENT}' has id {found[0]}, so a query for experiment 1 shows other runs"
        remedy = "move mlflow.db away and mirror the runs again: python -m drivetrain.runs.mlflow_mirror RUN_DIR --once"
        return Finding(name="mlflow", level="warn", message=message, remedy=remedy)
    return Finding(name="mlflow", level="ok", message=f"{database.name}: experiment '{EXPERIMENT}' has id 1")


def check_locks(root: Path) -> Finding:
    """Look whether another process sees a lock on the file system that holds the runs."""
    folder = nearest_existing(RunPaths.logs(root))
    if not os.access(folder, os.W_OK):
        return Finding(name="locks", level="fail", message=f"{folder} cannot be written", remedy=f"chmod u+w {folder}")
    import fcntl

    with tempfile.NamedTemporaryFile(dir=folder, prefix=".lock-check-") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        code = "import sys, pathlib, drivetrain.run_record as r; print(r.probe_lock(pathlib.Path(sys.argv[1])).held)"
        seen = subprocess.run([sys.executable, "-c", code, file.name], capture_output=True, text=True, timeout=60.0)
    kind = file_system_of(folder)
    if seen.stdout.strip() != "True":
        message = f"another process does not see a lock in {folder} ({kind})"
        return Finding(name="locks", level="fail", message=message, remedy="keep experiments/ on a local disk")
    if kind.startswith(("nfs", "cifs", "smb", "9p", "fuse")):
        message = f"{kind}: locks work here, other machines may not see them"
        return Finding(name="locks", level="warn", message=message, remedy="keep experiments/ on a local disk")
    return Finding(name="locks", level="ok", message=f"seen by other processes ({kind})")


def check_memory() -> Finding:
    """Look at the free memory."""
    used, total = read_memory()
    message = f"{bytes_text(total - used)} of {bytes_text(total)} free"
    if used > MAX_MEMORY_USED * total:
        remedy = "end other programs, or train with fewer worlds: a trainer that asks for more is killed"
        return Finding(name="memory", level="warn", message=message, remedy=remedy)
    return Finding(name="memory", level="ok", message=message)


def check_disk(root: Path) -> Finding:
    """Look at the free space."""
    import shutil

    disk = shutil.disk_usage(nearest_existing(root))
    message = f"{bytes_text(disk.free)} of {bytes_text(disk.total)} free"
    if disk.free < MIN_FREE_BYTES:
        remedy = f"free at least {bytes_text(MIN_FREE_BYTES)}; checkpoints lie in experiments/checkpoints/"
        return Finding(name="disk", level="fail", message=message, remedy=remedy)
    return Finding(name="disk", level="ok", message=message)


def file_system_of(path: Path) -> str:
    """Return the type of the file system that holds a path, as the kernel names it."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown file system"
    holding = [(mount[1], mount[2]) for mount in mounts if path.resolve().is_relative_to(Path(mount[1]))]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else "unknown file system"


def _probe_libraries() -> dict[str, Any]:
    """Return what torch and numba say of themselves, asked in a process of its own: a broken build may crash it."""
    code = (
        "import json, torch, numba; from drivetrain.sim.kernel_cache import cache_root; "
        "print(json.dumps(dict(torch=torch.__version__, cuda=torch.version.cuda, threads=torch.get_num_threads(), "
        "cuda_available=torch.cuda.is_available(), numba=numba.__version__, kernel_cache=str(cache_root()), "
        "jit_disabled=bool(numba.config.DISABLE_JIT))))"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PROBE_TIMEOUT_S:.0f} s"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"error": lines[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def _size_below(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # compiled again and replaced meanwhile
                size += os.stat(os.path.join(place, name)).st_size
    return size


def _broken(name: str, libraries: dict[str, Any]) -> Finding:
    message = f"importing torch and numba failed: {libraries.get('error')}"
    return Finding(name=name, level="fail", message=message, remedy="make install")


def _mlflow_failed(message: str) -> Finding:
    remedy = "make mlflow.db and its folder writable; training itself does not need them (--no-mlflow)"
    return Finding(name="mlflow", level="fail", message=message, remedy=remedy)


def _package_problem(requirement: str) -> str | None:
    """Return what is wrong with the installed version of a requirement like ``numpy>=2.0``."""
    parsed = re.match(r"([A-Za-z0-9._-]+)(.*)", requirement)
    if parsed is None:
        return None
    try:
        installed = metadata.version(parsed[1])
    except metadata.PackageNotFoundError:
        return f"{parsed[1]} is missing"
    for operator, version in re.findall(r"(>=|<)\s*([0-9.]+)", parsed[2]):
        is_below = _numbers(installed) < _numbers(version)
        if is_below != (operator == "<"):
            return f"{parsed[1]} {installed} does not satisfy {operator}{version}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])
