"""Starts trainings as processes of their own, by the command a person would type.

So there is one road into training: nothing is registered here, the trainer itself claims its run folder.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from drivetrain.errors import DrivetrainError, RunError, UsageError, nearest
from drivetrain.run_record import (
    TICKET,
    ProcessIdentity,
    RunPaths,
    check_run_id,
    choose_run_id,
    probe_lock,
    read_run_state,
    refuse_to_overwrite,
    refuse_while_trained,
)

LAUNCHERS = {
    "ppo": "train_rl.py",
    "sac": "train_rl.py",
    "cimrl": "train_rl.py",
    "bc": "train_bc.py",
    "gail": "train_gail.py",
}
"""Launcher by the algorithm that a config names."""

WAIT_S = 30.0
"""A trainer takes its lock before it loads anything heavy: later than this it hangs [s]."""
SETTLE_S = 20.0
"""How long a start waits beyond the lock, so that a wrong config is told at once; data may take longer [s]."""
LAST_LINES = 20
_POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class LaunchRequest:
    """A training as it is asked for; what is None is as the config says."""

    config: Path | None = None
    """YAML config; None: the run's own, to resume it."""
    run_id: str | None = None
    """Name of the run."""
    changes: tuple[str, ...] = ()
    """Changes of the config, KEY=VALUE each."""
    data: str | None = None
    """Scenario store."""
    expert_data: str | None = None
    """The same for gail."""
    output: Path | None = None
    """Folder of the checkpoints."""
    total_steps: int | None = None
    """Budget (ppo, sac, cimrl, gail) [steps]."""
    epochs: int | None = None
    """Budget (bc) [passes over the data]."""
    seed: int | None = None
    """Seed of every random number."""
    device: str | None = None
    """cpu, cuda or auto."""
    init_from: Path | None = None
    """Checkpoint to start from."""
    resume: bool = False
    """Continue the run where its last checkpoint stands."""
    overwrite: bool = False
    """Delete the run of this name first."""
    mlflow: bool = True
    """Mirror the run to MLflow."""


@dataclass(frozen=True, kw_only=True)
class StartedRun:
    """A training that runs by itself."""

    run_id: str
    """Name of the run."""
    pid: int | None
    """Process id of the trainer; None where a cluster has yet to start it."""
    folder: Path
    """Its run folder."""
    command: list[str]
    """What was started."""
    place: str = ""
    """Where it runs, or waits, for a message; empty: on this machine."""


def encoded_request(request: LaunchRequest) -> dict[str, Any]:
    """Return a request as a JSON object."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(request).items()}


def decoded_request(document: Mapping[str, Any]) -> LaunchRequest:
    """Return what :func:`encoded_request` was given.

    Raises:
        TypeError: It is something else.
        KeyError: It is something else.
    """
    files = {name: Path(document[name]) for name in ("config", "output", "init_from") if document[name] is not None}
    return LaunchRequest(**{**document, **files, "changes": tuple(document["changes"])})


def training_command(request: LaunchRequest, root: Path) -> list[str]:
    """Return the command that a person would type.

    Raises:
        UsageError: No config and nothing to resume, or a config that names no algorithm.
        RunError: There is no such run to resume.
    """
    if request.config is None and not (request.resume and request.run_id):
        raise UsageError("CONFIG is missing; for example python/configs/planning/ppo.yaml --run-id ppo_v1")
    command = [sys.executable, str(_launcher(algorithm_of(request, root)))]
    values = (
        ("--config", request.config),
        ("--run-id", request.run_id),
        ("--data", request.data),
        ("--expert-data", request.expert_data),
        ("--output", request.output),
        ("--total-steps", request.total_steps),
        ("--epochs", request.epochs),
        ("--seed", request.seed),
        ("--device", request.device),
        ("--init-from", request.init_from),
    )
    for option, value in values:
        command += [] if value is None else [option, str(value)]
    for change in request.changes:
        command += ["--set", change]
    switches = (
        ("--resume", request.resume),
        ("--overwrite", request.overwrite),
        ("--no-mlflow", not request.mlflow),
    )
    return command + [option for option, is_on in switches if is_on]


def start_run(request: LaunchRequest, *, root: Path, wait_s: float = WAIT_S, settle_s: float = SETTLE_S) -> StartedRun:
    """Start a training that outlives this process and its terminal.

    Returns once the trainer holds its lock and has accepted its config; sooner, after `settle_s`, where it is still
    preparing its data.

    Args:
        request: What to train; relative paths are relative to the working folder.
        root: The project root.
        wait_s: Longest wait for the lock [s].
        settle_s: Longest wait beyond the lock [s].

    Raises:
        UsageError: The trainer found the command or its config wrong; what it said.
        RunError: The name is taken, or the trainer died; its last lines.
    """
    run_id = check_run_id(choose_run_id(request.run_id, output=request.output, config=request.config))
    paths = RunPaths(root=root, run_id=run_id)
    if request.output is not None:
        paths = replace(paths, checkpoint_dir_override=request.output.resolve())
    from drivetrain.runs.cluster.submission import refuse_while_launched

    refuse_while_launched(paths)
    # The trainer looks at this too; told here, nothing is written into the folder of a run that goes on.
    refuse_while_trained(paths)
    refuse_to_overwrite(paths, resume=request.resume, overwrite=request.overwrite)
    command = training_command(replace(request, run_id=run_id), root)
    return start_command(command, paths, wait_s=wait_s, settle_s=settle_s)


def start_command(
    command: Sequence[str], paths: RunPaths, *, wait_s: float = WAIT_S, settle_s: float = SETTLE_S
) -> StartedRun:
    """Start the training of a run by its command; see :func:`start_run`."""
    try:
        paths.folder.mkdir(parents=True, exist_ok=True)
        console_start = paths.console_log.stat().st_size if paths.console_log.exists() else 0
    except OSError as error:
        raise RunError(f"{paths.folder}: cannot be written ({error.strerror}); check who owns it") from error
    life_before = _life(paths)
    with _Supervised(command, paths) as child:
        _wait_for_lock(child, paths, wait_s=wait_s)
        deadline = time.monotonic() + settle_s
        while child.end is None and _life(paths) == life_before and time.monotonic() < deadline:
            child.listen(_POLL_S)
        # A short training may have ended in order by now.
        if child.end is not None and (child.end != "exit 0" or _life(paths) == life_before):
            raise death(paths, child.end, console_start)
        return StartedRun(run_id=paths.run_id, pid=child.pid or 0, folder=paths.folder, command=list(command))


def start_detached(command: Sequence[str], *, log: Path, root: Path) -> None:
    """Start a process of ours that outlives this one; its last words are in `log`.

    Raises:
        RunError: No process can be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    job = {"command": list(command), "console": str(log), "end_file": str(log.with_suffix(".exit.json"))}
    environment = _environment(root)
    environment.pop("DRIVETRAIN_RUN_ID", None)
    _supervise(job, answers=subprocess.DEVNULL, environment=environment)


def _supervise(job: dict[str, object], *, answers: int, environment: dict[str, str]) -> None:
    try:
        subprocess.run(
            [sys.executable, "-m", "drivetrain.runs.supervisor"],
            input=json.dumps(job).encode(),
            stdout=answers,
            stderr=subprocess.DEVNULL,
            env=environment,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise RunError(f"no process can be started ({error}); is the machine out of memory or processes?") from error


class _Supervised:
    """A training under its supervisor, as its starter sees it: while this is open the end is told."""

    def __init__(self, command: Sequence[str], paths: RunPaths) -> None:
        self.pid: int | None = None
        self.end: str | None = None
        self._heard = b""
        self._ear, mouth = os.pipe()
        job = {"command": list(command), "console": str(paths.console_log), "end_file": str(paths.exit_json)}
        environment = {**_environment(paths.root), "DRIVETRAIN_RUN_ID": paths.run_id}
        try:
            _supervise(job, answers=mouth, environment=environment)
        except RunError:
            os.close(self._ear)
            raise
        finally:
            os.close(mouth)

    def __enter__(self) -> _Supervised:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ear)

    def listen(self, seconds: float) -> None:
        """Wait for what the supervisor says; it falls silent for ever where it is killed."""
        if not select.select([self._ear], [], [], seconds)[0]:
            return
        said = os.read(self._ear, 4096)
        self._heard += said
        for line in self._heard.decode(errors="replace").split("\n")[:-1]:
            word, _, rest = line.partition(" ")
            if word == "pid":
                self.pid = int(rest)
            else:
                self.end = line
        if not said and self.end is None:
            time.sleep(seconds)
            if self.pid is None or not ProcessIdentity.of(self.pid).is_alive():
                self.end = "signal 9"


def _environment(root: Path) -> dict[str, str]:
    """Return the environment of a process of ours: these sources, this root."""
    source = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": search, "DRIVETRAIN_ROOT": str(root)}
    environment.pop(TICKET, None)  # what is started here is no part of the cluster job that this process may belong to
    return environment


def _wait_for_lock(child: _Supervised, paths: RunPaths, *, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while child.end is None and time.monotonic() < deadline:
        child.listen(_POLL_S)
        lock = probe_lock(paths.run_lock)
        if lock.held and lock.pid in (child.pid, None):
            return
    if child.end is None and child.pid is not None:
        ProcessIdentity.of(child.pid).send(9)
        child.listen(1.0)
        raise RunError(
            f"run '{paths.run_id}': the trainer took no lock within {wait_s:.0f} s and was ended; "
            f"see {paths.relative(paths.console_log)}"
        )


def _life(paths: RunPaths) -> tuple[int | None, float] | None:
    """Return what tells one life of a run from the next; None before the first."""
    state = read_run_state(paths)
    return (state.pid, state.started) if state is not None else None


def death(paths: RunPaths, end: str, console_start: int) -> DrivetrainError:
    """Return the error that says why a training died, and clear away what it left if it never began."""
    try:
        with paths.console_log.open("rb") as file:
            file.seek(console_start)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        lines = []
    forget_stillborn(paths)
    told = [line.partition(": ")[2] for line in lines if re.match(r"(train_(rl|bc|gail)\.py|drivetrain): ", line)]
    word, _, code = end.partition(" ")
    if told and word == "exit":
        return (UsageError if code == "2" else RunError)("\n".join(told))
    how = {"exit": f"ended with code {code}", "signal": f"was ended by signal {code}"}.get(
        word, f"could not start: {code}"
    )
    last = lines[-LAST_LINES:]
    return RunError("\n".join([f"run '{paths.run_id}': the trainer {how}{'; its last lines:' if last else ''}", *last]))


def forget_stillborn(paths: RunPaths) -> None:
    """Remove the folder of a run that never began: what it had to say has been said."""
    mine = (paths.console_log, paths.exit_json, paths.run_lock, paths.launch_json)
    try:
        if paths.run_json.exists() or probe_lock(paths.run_lock).held:
            return
        left = {entry.name for entry in paths.folder.iterdir()} - {path.name for path in mine}
        if left <= {paths.slurm_folder.name, paths.control.name}:
            for folder in (paths.slurm_folder, paths.control):
                shutil.rmtree(folder, ignore_errors=True)
            for path in mine:
                path.unlink(missing_ok=True)
            paths.folder.rmdir()
    except OSError:
        return


def algorithm_of(request: LaunchRequest, root: Path) -> str:
    """Return the algorithm that a config, or else the record of a run, names."""
    config = request.config
    if config is None:
        from drivetrain.runs.run_store import RunStore

        return RunStore(root).get(request.run_id or "", num_rows=0).algorithm
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise UsageError(f"{config}: cannot be read ({why}); configs lie in python/configs/") from error
    if re.search(r"^pipeline:", text, flags=re.MULTILINE):
        raise UsageError(f"{config}: a pipeline of several trainings; 'drivetrain start' starts it")
    if re.search(r"^behaviors:", text, flags=re.MULTILINE):
        raise UsageError(f"{config}: a config of ML-Agents' trainer; 'drivetrain start {config} --env PATH' starts it")
    if re.search(r"^space:", text, flags=re.MULTILINE) and re.search(r"^base:", text, flags=re.MULTILINE):
        raise UsageError(f"{config}: a sweep of many trainings; 'drivetrain sweep {config}' runs it")
    # The trainer reads the config strictly; here one line of it decides which launcher that is.
    block = re.search(r"^algorithm:(.*(?:\n(?:[ \t#].*)?)*)", text, flags=re.MULTILINE)
    name = re.search(r"\bname:\s*['\"]?([\w-]+)", block[1]) if block else None
    if name is None:
        raise UsageError(f"{config}: names no algorithm; add 'algorithm: {{name: ppo}}'")
    if name[1] not in LAUNCHERS:
        hint = nearest(name[1], LAUNCHERS) or f"; choose from {', '.join(LAUNCHERS)}"
        raise UsageError(f"{config}: unknown algorithm '{name[1]}'{hint}")
    return name[1]


def _launcher(algorithm: str) -> Path:
    """Return the launcher of an algorithm: in this checkout, or as the installed package carries it."""
    name = LAUNCHERS.get(algorithm, "train_rl.py")
    package = Path(__file__).resolve().parents[1]
    path = package.parent / "training" / name
    if not path.is_file():
        path = package / name
    if not path.is_file():
        raise UsageError(f"{path}: not found; install drivetrain again, or train from a checkout of the project")
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path
