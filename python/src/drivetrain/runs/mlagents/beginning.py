"""How a run of `mlagents-learn` begins or goes on: its lock, its folder, its first words."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from drivetrain.run_record import (
    DataChoice,
    RunInfo,
    RunLock,
    RunPaths,
    RunRecord,
    claim_run,
    clear_run,
    git_revision,
    read_jsonl_tail,
    write_bytes_atomic,
)
from drivetrain.runs.mlagents.checkpoints import Checkpoints
from drivetrain.runs.mlagents.launch import NO_MIRROR
from drivetrain.runs.mlagents.preflight import check_player, check_ports
from drivetrain.runs.run_store import ML_AGENTS
from drivetrain.trainer.command import start_sidecar
from drivetrain.trainer.metric_log import MetricLog

_NOT_PART_OF_TRAINING = ("max_steps", "summary_freq", "checkpoint_interval", "keep_checkpoints", "init_path")
_NOT_KEPT = ("resume", "force", "load_model", "train_model", "inference", "initialize_from")
"""Settings that belong to one start, not to the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A run that has begun."""

    lock: RunLock
    """Held for the life of the process."""
    record: RunRecord
    """The pen of run.json and state.json."""
    log: MetricLog
    """Takes rows."""
    checkpoints: Checkpoints
    """Copies them."""
    behavior: str
    """The first one of the config: the run's numbers are its."""


def check_is_startable(options: Any) -> None:
    """Look at player and ports, and take back the empty folder that ML-Agents has made where they are no good.

    Raises:
        DrivetrainError: They are not.
    """
    settings = options.env_settings
    try:
        check_player(settings.env_path)
        if settings.env_path is not None:
            check_ports(settings.base_port, settings.num_envs)
    except Exception:
        _take_back(Path(options.checkpoint_settings.write_path))
        raise


def begin(paths: RunPaths, options: Any) -> Begun:
    """Claim the run and write what it is.

    Args:
        paths: The run.
        options: ML-Agents' run options.

    Raises:
        DrivetrainError: Somebody trains it, or the folder cannot be written.
    """
    chosen = options.checkpoint_settings
    goes_on = bool(chosen.resume) and paths.run_json.is_file()
    lock = claim_run(paths, resume=goes_on, overwrite=bool(chosen.force))
    results = Path(chosen.write_path)
    behaviors = list(options.behaviors)
    behavior = behaviors[0] if behaviors else "default"
    folder = results / behavior
    total_steps = _total_steps(options, behavior)
    best = _best_before(paths) if goes_on else None
    checkpoints = Checkpoints(paths, folder, behavior, best=best, event=lambda *a, **k: record.event(*a, **k))
    if goes_on:
        step = checkpoints.newest()
        checkpoints.skip_to(step)
        for request in (paths.stop_request, paths.checkpoint_request):
            request.unlink(missing_ok=True)
        record = RunRecord.resume(paths, step=step, total_steps=total_steps)
    else:
        _clear(paths, results, keep=bool(chosen.resume))
        step = checkpoints.newest()
        record = RunRecord.create(paths, _info(paths, options, total_steps))
    write_bytes_atomic(paths.config_yaml, _config_text(options).encode(), durable=True)
    log = MetricLog(paths, resumed_step=step if goes_on else None)
    verb = "resumed" if goes_on else "started"
    log.note(f"run '{paths.run_id}' {verb} at step {step:,} of {total_steps:,} by mlagents-learn, results in {results}")
    start_sidecar(paths, life=record.state.life, mlflow=not os.environ.get(NO_MIRROR))
    return Begun(lock=lock, record=record, log=log, checkpoints=checkpoints, behavior=behavior)


def _clear(paths: RunPaths, results: Path, *, keep: bool) -> None:
    """Delete what an earlier run of this name left; ML-Agents has made its folder of logs already."""
    if keep:
        return
    clear_run(paths)
    (results / "run_logs").mkdir(parents=True, exist_ok=True)


def _take_back(folder: Path) -> None:
    logs = folder / "run_logs"
    for place in (logs, folder):
        try:
            place.rmdir()
        except OSError:  # it holds something: somebody's run
            return


def _info(paths: RunPaths, options: Any, total_steps: int) -> RunInfo:
    commit, dirty = git_revision(Path(__file__).parent)
    behaviors = _plain(options)["behaviors"]
    kinds = [settings.get("trainer_type", "") for settings in behaviors.values()] or ["ppo"]
    return RunInfo(
        run_id=paths.run_id,
        algorithm=f"{ML_AGENTS}{kinds[0]}",
        argv=tuple(sys.argv),
        config_hash=_training_hash(_plain(options)),
        git_commit=commit,
        git_dirty=dirty,
        host=socket.gethostname(),
        created=time.time(),
        total_steps=total_steps,
        parent=options.checkpoint_settings.initialize_from,
        data=_player(options.env_settings.env_path),
        seed=options.env_settings.seed,
        device=str(options.torch_settings.device or "cpu"),
        checkpoint_dir=paths.relative(paths.checkpoint_dir),
        versions={name: metadata.version(name) for name in ("mlagents", "torch", "numpy")},
    )


def _player(env_path: str | None) -> DataChoice:
    """Return what stands for the data: the player."""
    if env_path is None:
        return DataChoice(path="editor", fingerprint="editor", choice="environment")
    try:
        with open(env_path, "rb") as file:
            digest = hashlib.sha256(file.read(1 << 20)).hexdigest()[:16]
    except OSError:
        digest = "unknown"
    return DataChoice(path=f"player:{env_path}", fingerprint=digest, choice="environment")


def _total_steps(options: Any, behavior: str) -> int:
    settings = _plain(options)["behaviors"].get(behavior) or {}
    return int(settings.get("max_steps", 500_000))


def _best_before(paths: RunPaths) -> float | None:
    events = [event for event in read_jsonl_tail(paths.events_jsonl, 1000) if event.get("event") == "best"]
    value = events[-1].get("mean_reward") if events else None
    return float(value) if isinstance(value, int | float) else None


def _plain(options: Any) -> dict[str, Any]:
    return options.as_dict()


def _config_text(options: Any) -> str:
    """Return a trainer config that starts the same run again."""
    config = _plain(options)
    kept = {name: value for name, value in config["checkpoint_settings"].items() if name not in _NOT_KEPT}
    return yaml.safe_dump({**config, "checkpoint_settings": kept}, sort_keys=False)


def _training_hash(config: dict[str, Any]) -> str:
    behaviors = {
        name: {key: value for key, value in settings.items() if key not in _NOT_PART_OF_TRAINING}
        for name, settings in config["behaviors"].items()
    }
    kept = {"behaviors": behaviors, "environment_parameters": config.get("environment_parameters")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]
