"""Starts and continues `mlagents-learn` as a process of its own, under the same supervisor as every training."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from drivetrain.errors import RunError, UsageError
from drivetrain.run_record import (
    RunPaths,
    check_run_id,
    choose_run_id,
    refuse_to_overwrite,
    refuse_while_trained,
    write_bytes_atomic,
)
from drivetrain.runs.launcher import LaunchRequest, StartedRun, start_command
from drivetrain.runs.mlagents.preflight import check_player, free_block

NO_MIRROR = "DRIVETRAIN_NO_MLFLOW"
"""Variable that keeps such a run out of MLflow: mlagents-learn has no option of ours."""
WAIT_S = 180.0
"""mlagents-learn loads torch and TensorBoard before its plugins [s]."""
_REFUSED = (
    ("data", "--data", "the player has its data: drivetrain mlagents player-export PATH --data DIR"),
    ("expert_data", "--expert-data", "name a .demo file in the config: reward_signals.gail.demo_path"),
    ("output", "--output", "checkpoints go to experiments/checkpoints/NAME"),
    ("epochs", "--epochs", "give --total-steps"),
    ("init_from", "--init-from", "set init_path of the behavior in the config"),
    ("changes", "--set", "change the config"),
)
"""Options of our own trainings that ML-Agents has no word for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Player:
    """What `mlagents-learn` is to start."""

    path: Path | None = None
    """Executable; None: the one that the config names."""
    copies: int | None = None
    """How many players at once; None: as the config says."""


def is_trainer_config(config: Path | None) -> bool:
    """Whether a config is one of ML-Agents."""
    if config is None:
        return False
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return re.search(r"^(behaviors|default_settings):", text, flags=re.MULTILINE) is not None


def start_learning(request: LaunchRequest, player: Player, *, root: Path) -> StartedRun:
    """Start ML-Agents' trainer, detached.

    Raises:
        UsageError: An option, the config or the player is no good, or ML-Agents is not installed.
        RunError: The name is taken, or the trainer died; its last lines.
    """
    for name, option, instead in _REFUSED:
        if getattr(request, name):
            raise UsageError(f"start: {option} means nothing to ML-Agents' trainer; {instead}")
    assert request.config is not None
    config = _read(request.config)
    env = config.get("env_settings") or {}
    path = str(player.path) if player.path is not None else env.get("env_path")
    if path is None:
        raise UsageError(f"start: --env is missing: {request.config} names no player; for example path/to/unity/build")
    check_player(path)
    run_id = check_run_id(choose_run_id(request.run_id, output=None, config=request.config))
    paths = RunPaths(root=root, run_id=run_id)
    refuse_while_trained(paths)
    refuse_to_overwrite(paths, resume=False, overwrite=request.overwrite)
    copies = player.copies or int(env.get("num_envs") or 1)
    # The supervisor writes into the folder before ML-Agents looks: to it every start replaces something.
    words = ["--env", path, "--num-envs", str(copies), "--results-dir", str(RunPaths.logs(root)), "--force"]
    words += [] if request.seed is None else ["--seed", str(request.seed)]
    words += [] if request.device in (None, "auto") else ["--torch-device", str(request.device)]
    return _start(paths, request.config, config, words, copies, total_steps=request.total_steps, mlflow=request.mlflow)


def continue_learning(paths: RunPaths, *, total_steps: int | None) -> StartedRun:
    """Continue a run of ML-Agents' trainer, detached; one without a checkpoint begins again.

    Raises:
        UsageError: The player is gone, or ML-Agents is not installed.
        RunError: The trainer died; its last lines.
    """
    config = _read(paths.config_yaml)
    env = config.get("env_settings") or {}
    check_player(env.get("env_path"))
    words = ["--resume" if paths.last.is_file() else "--force"]
    copies = int(env.get("num_envs") or 1)
    return _start(paths, paths.config_yaml, config, words, copies, total_steps=total_steps, mlflow=True)


def _start(
    paths: RunPaths,
    file: Path,
    config: dict,
    words: list[str],
    copies: int,
    *,
    total_steps: int | None,
    mlflow: bool,
) -> StartedRun:
    own = paths.folder.with_name(f".{paths.run_id}.start.yaml")
    if total_steps is not None:
        for behavior in (config.get("behaviors") or {}).values():
            behavior["max_steps"] = total_steps
        own.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(own, yaml.safe_dump(config, sort_keys=False).encode())
        file = own
    command = [str(_learner()), str(file), "--run-id", paths.run_id, "--base-port", str(free_block(copies)), *words]
    before = os.environ.get(NO_MIRROR)
    if not mlflow:
        os.environ[NO_MIRROR] = "1"
    try:
        return start_command(command, paths, wait_s=WAIT_S, settle_s=WAIT_S)
    finally:
        own.unlink(missing_ok=True)  # read by now, or never
        if not mlflow and before is None:
            del os.environ[NO_MIRROR]


def _learner() -> Path:
    path = Path(sys.executable).with_name("mlagents-learn")
    if not path.is_file():
        raise UsageError(f"{path}: mlagents-learn is not installed; run: drivetrain mlagents install")
    return path


def _read(file: Path) -> dict:
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise RunError(f"{file}: cannot be read ({why}); configs lie in python/configs/") from error
    if not isinstance(config, dict):
        raise UsageError(f"{file}: no config of ML-Agents: it has no 'behaviors'")
    return config
