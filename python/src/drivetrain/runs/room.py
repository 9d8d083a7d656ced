"""Whether the machine has room for one more training: processors, memory, and GPU memory where it trains there."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drivetrain.processes import usable_cores
from drivetrain.runs.health import host_of
from drivetrain.runs.launcher import LaunchRequest
from drivetrain.runs.resources import read_gpus, read_memory
from drivetrain.runs.run_store import Run

UNKNOWN_RSS_BYTES = 2 * 2**30
"""What a learner process is taken to need where no run of its algorithm was seen before [bytes]."""
UNKNOWN_GPU_BYTES = 4 * 2**30
"""The same for the GPU [bytes]."""
SPARE = 0.1
"""Share of the memory that is left alone."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a training takes."""

    cores: int
    """Learner processes, one core each."""
    memory_bytes: int
    """Memory of all of them [bytes]."""
    gpu_bytes: int
    """Memory of the GPU [bytes]; 0 on the CPU."""


def need_of(request: LaunchRequest, algorithm: str, runs: Sequence[Run]) -> Need:
    """Return what a training takes, by its config and by what earlier runs of its algorithm took."""
    cores = cores_of(request)
    seen = [run.state.rss_peak for run in runs if run.state and run.algorithm == algorithm and run.state.rss_peak]
    gpu_bytes = 0
    if device_of(request) != "cpu" and read_gpus()[0]:
        on_gpu = [run.state.gpu for run in runs if run.state and run.state.gpu and run.algorithm == algorithm]
        gpu_bytes = max((int(gpu.get("memory_reserved") or 0) for gpu in on_gpu), default=0) or UNKNOWN_GPU_BYTES
    return Need(cores=cores, memory_bytes=cores * (max(seen) if seen else UNKNOWN_RSS_BYTES), gpu_bytes=gpu_bytes)


def cores_of(request: LaunchRequest) -> int:
    """Return how many learner processes a training has, one core each."""
    return _processes(_config_text(request), request.changes)


def device_of(request: LaunchRequest) -> str:
    """Return the device that a training asks for: cpu, cuda or auto."""
    return request.device or _value(_config_text(request), "device") or "auto"


def has_learners_elsewhere(request: LaunchRequest) -> bool:
    """Return whether a training asks Ray for its learners (`training.workers`), and only drives them itself."""
    return _set(request.changes, "workers", _value(_config_text(request), "workers")) == "ray"


def lacking(need: Need, runs: Sequence[Run]) -> str | None:
    """Return what keeps a training from starting now, in a few words; None: there is room.

    Where nothing trains there always is: waiting would not make the machine larger.
    """
    here = socket.gethostname()
    active = [run for run in runs if run.health.is_active and host_of(run.state, run.info) == here]
    if not active:
        return None
    taken = sum(_processes(_text(run.paths.config_yaml), ()) for run in active)
    if taken + need.cores > usable_cores():
        return f"needs {need.cores} cores, {max(usable_cores() - taken, 0)} of {usable_cores()} are free"
    used, total = read_memory()
    # What trains already is still growing towards its peak.
    growing = sum(max(UNKNOWN_RSS_BYTES - (run.state.rss_peak if run.state else 0), 0) for run in active)
    free = total * (1.0 - SPARE) - used - growing
    if need.memory_bytes > free:
        return f"needs {need.memory_bytes / 1e9:.1f} GB of memory, {max(free, 0.0) / 1e9:.1f} GB are free"
    if need.gpu_bytes:
        gpus = read_gpus()[0]
        most = max(((1.0 - SPARE) * gpu.memory_total_bytes - gpu.memory_used_bytes for gpu in gpus), default=0.0)
        if need.gpu_bytes > most:
            return f"needs {need.gpu_bytes / 1e9:.1f} GB of GPU memory, {max(most, 0.0) / 1e9:.1f} GB are free"
    return None


def _config_text(request: LaunchRequest) -> str:
    return _text(request.config) if request.config is not None else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _processes(text: str, changes: Sequence[str]) -> int:
    found = _set(changes, "processes", _value(text, "processes"))
    return max(int(found), 1) if found and found.isdigit() else 1


def _set(changes: Sequence[str], key: str, found: str | None) -> str | None:
    """Return a key of the block `training` after changes."""
    for change in changes:
        if change.startswith(f"training.{key}="):
            found = change.partition("=")[2]
    return found


def _value(text: str, key: str) -> str | None:
    """Return a key of the block `training`, without the cost of reading the whole config."""
    block = re.search(r"^training:(.*(?:\n(?:[ \t#].*)?)*)", text, flags=re.MULTILINE)
    found = re.search(rf"\b{key}:\s*['\"]?([\w-]+)", block[1]) if block else None
    return found[1] if found else None
