"""What a run says about itself: run.json (written once), state.json (live) and events.jsonl."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from drivetrain.errors import RunError
from drivetrain.run_record.json_files import append_line, cannot_write, drop_torn_line, read_json, write_json_atomic
from drivetrain.run_record.launch import TICKET, forget_other_launch, is_own_launch
from drivetrain.run_record.lock import Holder, ProcessIdentity
from drivetrain.run_record.paths import RunPaths

Record = TypeVar("Record", "DataChoice", "RunInfo", "RunState")

STATUSES = ("starting", "running", "stalled", "stopping", "completed", "stopped", "failed", "lost")
"""``stalled`` and ``lost`` are derived by readers; the trainer writes the others."""
FINAL_STATUSES = ("completed", "stopped", "failed")
"""Written by a trainer that ended in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataChoice:
    """Which data a run was trained on, and how they were chosen."""

    path: str
    """Folder, relative to the root where inside, or the environment's id."""
    fingerprint: str
    """Hash of the content that identifies the data set."""
    choice: str
    """Why this one: "explicit", "auto: nuplan", "auto: sample", "auto: generated sample", "environment"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """run.json: what never changes while the run exists."""

    run_id: str
    """Name of the run."""
    algorithm: str
    """ppo, sac, bc, gail or cimrl; mlagents_ppo and the like where ML-Agents' own trainer learns."""
    argv: tuple[str, ...]
    """The command that started it, as typed."""
    config_hash: str
    """Hash of the resolved config without budget and logging keys: equal hash, same training."""
    git_commit: str | None
    """Commit of the code, or None outside a repository."""
    git_dirty: bool
    """True if the code had uncommitted changes."""
    host: str
    """Name of the machine."""
    created: float
    """Unix time of creation [s]."""
    total_steps: int
    """Budget at creation [steps]."""
    parent: str | None
    """Checkpoint the weights came from (``--init-from``)."""
    data: DataChoice
    """The data set."""
    seed: int
    """Seed of all random numbers."""
    device: str
    """cpu or cuda."""
    checkpoint_dir: str
    """Folder of the checkpoints, relative to the root where inside."""
    versions: dict[str, str] = field(default_factory=dict)
    """Version by package that the numbers depend on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """state.json: how the run is doing; replaced by the trainer about once a second."""

    status: str
    """One of :data:`STATUSES`, as the trainer saw it last."""
    phase: str
    """What it does: starting, collecting, evaluating, saving or finished."""
    step: int
    """Steps done."""
    total_steps: int
    """Budget of this life [steps]."""
    pid: int
    """Process id of the trainer."""
    start_ticks: int | None
    """See :class:`ProcessIdentity`."""
    boot_id: str | None
    """See :class:`ProcessIdentity`."""
    life: int
    """1 for the first start, one more for every resume."""
    started: float
    """Unix time at which this life began [s]."""
    updated: float
    """Unix time of this file: the heartbeat [s]."""
    heartbeat: float
    """Monotonic clock at that moment [s]; only differences within one boot mean something."""
    life_start_step: int
    """Steps already done when this life began."""
    checkpoint_dir: str
    """Folder of the checkpoints, relative to the root where inside."""
    rss_peak: int = 0
    """Largest resident memory of the trainer so far [bytes]."""
    gpu: dict[str, Any] | None = None
    """``uuid``, ``name``, ``memory_reserved`` [bytes] of the GPU in use; None on the CPU."""
    row: dict[str, Any] = field(default_factory=dict)
    """Newest known value of every metric."""
    best_score: float | None = None
    """Highest evaluation score so far."""
    message: str = ""
    """Why it failed or stopped; empty while all is well."""
    alert: str = ""
    """Newest warning of the watchdog in this life; empty while all is well."""
    host: str = ""
    """Name of the machine on which this life runs; empty in files of earlier versions."""
    ticket: str = ""
    """Of the cluster job that brought this life about (see :class:`~drivetrain.run_record.launch.Launch`), or empty."""

    @property
    def identity(self) -> ProcessIdentity:
        """The trainer process."""
        return ProcessIdentity(pid=self.pid, start_ticks=self.start_ticks, boot_id=self.boot_id)


class RunRecord:
    """The trainer's pen: the only writer of run.json, state.json and events.jsonl."""

    MIN_INTERVAL_S = 1.0
    """state.json is replaced at most this often [s], status changes excepted."""

    def __init__(self, paths: RunPaths, state: RunState, *, holder: Holder) -> None:
        self.paths = paths
        self.state = state
        self._holder = holder
        self._written = -float("inf")

    @classmethod
    def create(cls, paths: RunPaths, info: RunInfo, *, holder: Holder | None = None) -> RunRecord:
        """Write run.json and the first state of a new run.

        Args:
            paths: The run.
            info: What it is.
            holder: Who holds its lock; None: this process.

        Raises:
            RunError: The folder cannot be written.
        """
        _make_folders(paths)
        write_json_atomic(paths.run_json, dataclasses.asdict(info), durable=True)
        holder = holder or Holder.here()
        first = _first_state(paths, life=1, step=0, total_steps=info.total_steps, holder=holder)
        record = cls(paths, first, holder=holder)
        record.update(immediately=True)
        record.event("started", argv=list(info.argv))
        return record

    @classmethod
    def resume(cls, paths: RunPaths, *, step: int, total_steps: int, holder: Holder | None = None) -> RunRecord:
        """Begin the next life of an existing run at ``step``; see :meth:`create`.

        Raises:
            RunError: The folder cannot be written.
        """
        _make_folders(paths)
        forget_other_launch(paths)
        earlier = read_run_state(paths)
        life = (earlier.life if earlier else 1) + 1
        holder = holder or Holder.here()
        first = _first_state(paths, life=life, step=step, total_steps=total_steps, holder=holder)
        record = cls(paths, first, holder=holder)
        drop_torn_line(paths.events_jsonl)
        record.update(immediately=True)
        record.event("resumed", step=step, life=life)
        return record

    def update(self, *, immediately: bool = False, **changes: Any) -> None:
        """Change fields of the state; the file follows within a second, at once where status or phase changed."""
        before = (self.state.status, self.state.phase)
        self.state = dataclasses.replace(self.state, **changes)
        now = time.monotonic()
        urgent = immediately or (self.state.status, self.state.phase) != before
        if not urgent and now - self._written < self.MIN_INTERVAL_S:
            return
        beat = self._holder.monotonic()
        self.state = dataclasses.replace(self.state, updated=time.time(), heartbeat=beat, rss_peak=_rss_peak())
        final = self.state.status in FINAL_STATUSES
        write_json_atomic(self.paths.state_json, dataclasses.asdict(self.state), durable=final)
        self._written = now

    def event(self, name: str, **details: Any) -> None:
        """Append one event with the time and the present life and step."""
        row = {"event": name, "time": time.time(), "life": self.state.life, "at_step": self.state.step}
        append_line(self.paths.events_jsonl, {**row, **details})

    def finish(self, status: str, *, exit_code: int, message: str = "", signal: int | None = None) -> None:
        """Write the final status and the ``exited`` event."""
        self.update(status=status, phase="finished", message=message, immediately=True)
        self.event("exited", status=status, code=exit_code, signal=signal, message=message)

    def interrupt(self, message: str) -> None:
        """Write that this life ended without an end of the run: it is about to begin the next one."""
        self.update(status="starting", phase="starting", message=message, immediately=True)
        self.event("exited", status="lost", code=None, signal=None, message=message)


def read_run_info(paths: RunPaths) -> RunInfo | None:
    """Return run.json, or None if it is missing or damaged."""
    data = read_json(paths.run_json)
    if data is None:
        return None
    try:
        data["data"] = _checked(DataChoice(**_known(DataChoice, data["data"])))
        data["argv"] = tuple(str(word) for word in data["argv"])
        return _checked(RunInfo(**_known(RunInfo, data)))
    except (KeyError, TypeError, AttributeError):
        return None


def read_run_state(paths: RunPaths) -> RunState | None:
    """Return state.json as the trainer wrote it last, or None if it is missing or damaged."""
    data = read_json(paths.state_json)
    try:
        return _checked(RunState(**_known(RunState, data))) if data is not None else None
    except TypeError:
        return None


def request(path: Path, *, reason: str) -> bool:
    """Leave a request in ``control/`` (stop.json, checkpoint.json); return False if one is already there.

    Raises:
        RunError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return False
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error
    os.close(descriptor)
    append_line(path, {"reason": reason, "time": time.time(), "pid": os.getpid()})
    return True


def clear_run(paths: RunPaths) -> None:
    """Delete what an earlier run of this name left, except what is open: its lock, console output, players' logs.

    Raises:
        RunError: A file cannot be deleted.
    """
    kept = {paths.run_lock.name, paths.console_log.name, paths.player_logs.name, paths.ray.name}
    if is_own_launch(paths):
        kept |= {paths.launch_json.name, paths.slurm_folder.name}
    try:
        for entry in paths.folder.iterdir() if paths.folder.is_dir() else ():
            if entry.name in kept:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        for checkpoint in checkpoint_files(paths):
            checkpoint.unlink()
    except OSError as error:
        raise RunError(
            f"{error.filename or paths.folder}: cannot delete ({error.strerror}); check who owns it"
        ) from error


def checkpoint_files(paths: RunPaths) -> list[Path]:
    """Return the files that a run has left in the folder of its checkpoints."""
    exported = [f"{name}.{kind}" for name in ("best", "last") for kind in ("onnx", "torchscript", "safetensors")]
    patterns = ("best.pt", "last.pt", paths.REPLAYS, "good.*", "step_*.pt", "parent.pt", *exported)
    return [path for pattern in patterns for path in sorted(paths.checkpoint_dir.glob(pattern))]


def git_revision(root: Path) -> tuple[str | None, bool]:
    """Return the commit of ``root`` and whether its sources differ from it; (None, False) outside a repository.

    A page or a result that was written since is no other code: only tracked files below ``python/`` count, or all
    where there is no such folder.
    """
    import subprocess

    def git(*arguments: str) -> str | None:
        try:
            command = ["git", "-C", str(root), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit, top = git("rev-parse", "HEAD"), git("rev-parse", "--show-toplevel")
    if not commit or not top:
        return None, False
    sources = ":/python" if (Path(top) / "python").is_dir() else ":/"
    return commit, bool(git("status", "--porcelain", "--untracked-files=no", "--", sources))


def _make_folders(paths: RunPaths) -> None:
    for folder in (paths.folder, paths.control, paths.checkpoint_dir):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(cannot_write(folder, error)) from error


def _first_state(paths: RunPaths, *, life: int, step: int, total_steps: int, holder: Holder) -> RunState:
    return RunState(
        status="starting",
        phase="starting",
        step=step,
        total_steps=total_steps,
        pid=holder.process.pid,
        start_ticks=holder.process.start_ticks,
        boot_id=holder.process.boot_id,
        life=life,
        started=time.time(),
        updated=time.time(),
        heartbeat=holder.monotonic(),
        life_start_step=step,
        checkpoint_dir=paths.relative(paths.checkpoint_dir),
        host=holder.host,
        ticket=os.environ.get(TICKET, ""),
    )


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that ``kind`` has fields for: a newer program may have written more."""
    names = {f.name for f in dataclasses.fields(kind)}
    return {name: value for name, value in data.items() if name in names}


_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


def _checked(record: Record) -> Record:
    """Return a record read from a file.

    Raises:
        TypeError: A value is of another kind than its field: the file is damaged.
    """
    for known in dataclasses.fields(record):
        value, (kind, *other) = getattr(record, known.name), str(known.type).split(" | ")
        kinds = _KINDS.get(kind, (dict,) if kind.startswith("dict") else (object,))
        if value is None and other == ["None"]:
            continue
        is_right = isinstance(value, kinds) and (kind == "bool" or not isinstance(value, bool))
        if not is_right or (isinstance(value, float) and not math.isfinite(value)):
            raise TypeError(f"{known.name}: {value!r} is no {kind}")
    return record


def _rss_peak() -> int:
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024
