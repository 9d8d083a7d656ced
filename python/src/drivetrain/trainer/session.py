"""One life of a run, from a claimed folder to its final status."""

from __future__ import annotations

import argparse
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from drivetrain.config import Override, dump_config, load_config, parse_override, plain
from drivetrain.errors import CheckpointError, DrivetrainError, RunError, UsageError
from drivetrain.run_record import (
    RunInfo,
    RunPaths,
    RunRecord,
    clear_run,
    git_revision,
    read_run_info,
    write_bytes_atomic,
)
from drivetrain.trainer.checkpoint import (
    Checkpoint,
    check_fits,
    code_versions,
    initialize_from,
    load_checkpoint,
)
from drivetrain.trainer.command import start_mirror
from drivetrain.trainer.display import open_display
from drivetrain.trainer.experiment import (
    NOT_PART_OF_TRAINING,
    Experiment,
    ExperimentConfig,
    build_experiment,
    resolve_device,
    training_hash,
)
from drivetrain.trainer.learner_processes import LearnerProcesses
from drivetrain.trainer.metric_log import MetricLog
from drivetrain.trainer.progress import Progress
from drivetrain.trainer.stop_signal import StopSignal
from drivetrain.trainer.trainer import Trainer


def run_session(paths: RunPaths, arguments: argparse.Namespace) -> int:
    """Train as the arguments say, in a run folder whose lock is held; return the exit code.

    Raises:
        DrivetrainError: The run cannot begin, or failed.
    """
    config = resolve_device(load_config(arguments.config, ExperimentConfig, overrides=_overrides(arguments)))
    _refuse_other_launcher(arguments, config.algorithm.name)
    if config.algorithm.name == "cimrl" and arguments.init_from is None and not arguments.resume:
        raise UsageError(
            "--init-from is missing: cimrl needs a prior, such as --init-from experiments/checkpoints/cimrl_bc/ "
            "(made by train_bc.py)"
        )
    if config.data != "auto":
        config = replace(config, data=paths.relative(paths.root / config.data))
    if arguments.resume:
        config = _as_before(paths, config)
    commit, dirty = git_revision(Path(__file__).parent)
    with LearnerProcesses(config.training.processes) as learners:
        experiment = build_experiment(config, root=paths.root, commit=commit, say=_say, learners=learners)
        if arguments.init_from is not None and not arguments.resume:
            done = initialize_from(experiment.policy, arguments.init_from, learner=config.algorithm.name)
            experiment.algorithm.warm_start()
            _say(f"init-from {arguments.init_from}: {done}")
        # From here on there is something to save: before, Ctrl-C simply interrupts.
        with StopSignal() as stop:
            if arguments.resume:
                record, progress = _resume(paths, experiment)
            else:
                record, progress = _begin(paths, experiment, arguments, dirty=dirty)
            return _train(paths, experiment, record, progress, stop, mirror=not arguments.no_mlflow)


_LAUNCHERS = {"ppo": "rl", "cimrl": "rl", "bc": "bc", "gail": "gail"}
"""Kind of the launcher by algorithm: they differ in their flags."""


def _refuse_other_launcher(arguments: argparse.Namespace, algorithm: str) -> None:
    kind = _LAUNCHERS[algorithm]
    if kind != arguments.kind:
        raise UsageError(f"{arguments.config}: its algorithm is {algorithm}; use train_{kind}.py")


def _train(
    paths: RunPaths, experiment: Experiment, record: RunRecord, progress: Progress, stop: StopSignal, *, mirror: bool
) -> int:
    training = experiment.config.training
    try:
        log = MetricLog(paths, resumed_step=_resumed_step(paths, record, progress))
    except DrivetrainError as error:
        record.finish("failed", exit_code=1, message=str(error))
        raise
    if mirror:
        start_mirror(paths)
    display = open_display(run_id=paths.run_id, total_steps=training.total_steps, step=progress.step)
    verb = "resumed" if record.state.life > 1 else "started"
    place = paths.relative(paths.folder)
    opening = f"run '{paths.run_id}' {verb} at step {progress.step:,} of {training.total_steps:,} on {training.device}"
    try:
        log.note(opening)
        display.say(f"{opening}, logs in {place}")
        trainer = Trainer(
            algorithm=experiment.algorithm,
            evaluate=experiment.evaluate,
            make_checkpoint=experiment.checkpoint,
            training=training,
            evaluation=experiment.config.evaluation,
            record=record,
            log=log,
            display=display,
            progress=progress,
            reported=experiment.reported,
        )
        status = trainer.run(stop)
        display.say(_closing(paths, status, record))
    except torch.OutOfMemoryError as error:
        raise RunError(
            "the GPU is out of memory; lower environment.num_worlds or algorithm.minibatch_size, or use --device cpu"
        ) from error
    except MemoryError as error:
        raise RunError("out of memory; lower environment.num_worlds or max_scenes") from error
    finally:
        display.close()
        experiment.environment.close()
    return 0


def _begin(
    paths: RunPaths, experiment: Experiment, arguments: argparse.Namespace, *, dirty: bool
) -> tuple[RunRecord, Progress]:
    """Write the folder of a new run; an overwritten one goes only now that nothing can be wrong any more."""
    clear_run(paths)
    config = experiment.config
    paths.folder.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(paths.config_yaml, dump_config(config).encode(), durable=True)
    info = RunInfo(
        run_id=paths.run_id,
        algorithm=config.algorithm.name,
        argv=(sys.executable, *sys.argv),
        config_hash=training_hash(config),
        git_commit=experiment.commit,
        git_dirty=dirty,
        host=socket.gethostname(),
        created=time.time(),
        total_steps=config.training.total_steps,
        parent=str(arguments.init_from) if arguments.init_from is not None else None,
        data=experiment.data,
        seed=config.training.seed,
        device=config.training.device,
        checkpoint_dir=paths.relative(paths.checkpoint_dir),
        versions={k: str(v) for k, v in code_versions(experiment.commit).items() if v is not None},
    )
    return RunRecord.create(paths, info), Progress()


def _as_before(paths: RunPaths, config: ExperimentConfig) -> ExperimentConfig:
    """Return the config to resume with: the run's own data, and otherwise what trains the same.

    Raises:
        RunError: A key that decides what is learnt differs from the run's.
    """
    info = read_run_info(paths)
    if info is None:
        raise RunError(f"{paths.run_json}: damaged; start anew with --overwrite, or choose another --run-id")
    if info.data.choice != "environment" and config.data == "auto":
        config = replace(config, data=info.data.path)
    if training_hash(config) == info.config_hash:
        return config
    before = plain(load_config(paths.config_yaml, ExperimentConfig))
    changed = _differences(before, plain(config))
    counted = [text for key, text in changed if not key.startswith(NOT_PART_OF_TRAINING)]
    raise RunError(
        f"run '{paths.run_id}': the config is not the one of its start ({'; '.join(counted) or 'other defaults'}); "
        "resume without --config and --set to use the run's own, or start a new run"
    )


def _resume(paths: RunPaths, experiment: Experiment) -> tuple[RunRecord, Progress]:
    """Load the last checkpoint into the experiment and begin the next life."""
    if not paths.last.is_file():
        _say(f"run '{paths.run_id}' has no checkpoint yet: it begins again at step 0")
        progress = Progress()
    else:
        checkpoint, env = load_checkpoint(paths.last), experiment.environment
        check_fits(checkpoint, paths.last, env.observation_schema, env.action_space)
        progress = _restore(paths, experiment, checkpoint)
    for request in (paths.stop_request, paths.checkpoint_request):
        request.unlink(missing_ok=True)
    total_steps = experiment.config.training.total_steps
    record = RunRecord.resume(paths, step=progress.step, total_steps=total_steps)
    write_bytes_atomic(paths.config_yaml, dump_config(experiment.config).encode(), durable=True)
    return record, progress


def _restore(paths: RunPaths, experiment: Experiment, checkpoint: Checkpoint) -> Progress:
    if checkpoint.data["fingerprint"] != experiment.data.fingerprint:
        raise CheckpointError(
            f"{paths.last}: made from data {checkpoint.data['path']}, fingerprint {checkpoint.data['fingerprint']}, "
            f"now it is {experiment.data.path} with {experiment.data.fingerprint}; restore the data, or start a new run"
        )
    state: dict[str, Any] | None = checkpoint.training
    if state is None:
        raise CheckpointError(f"{paths.last}: holds no training state; start a new run with --init-from {paths.last}")
    experiment.algorithm.load_state_dict(state["algorithm"])
    torch.set_rng_state(state["torch_random"])
    progress = Progress(**state["progress"])
    if paths.best.is_file():
        # A run killed between best.pt and last.pt has a better best.pt than last.pt knows of: it is kept.
        best = load_checkpoint(paths.best).metric
        if best and (not progress.best or best["value"] > progress.best["value"]):
            progress = replace(progress, best=best)
    return progress


def _resumed_step(paths: RunPaths, record: RunRecord, progress: Progress) -> int | None:
    """Return the last step whose rows stay: None for a new run, -1 if the run died before its first checkpoint."""
    if record.state.life == 1:
        return None
    return progress.step if paths.last.is_file() else -1


def _overrides(arguments: argparse.Namespace) -> list[Override]:
    overrides = [parse_override(text) for text in arguments.set]
    flags = {
        "--total-steps": (("training", "total_steps"), getattr(arguments, "total_steps", None)),
        "--epochs": (("training", "epochs"), getattr(arguments, "epochs", None)),
        "--seed": (("training", "seed"), arguments.seed),
        "--device": (("training", "device"), arguments.device),
        "--data": (("data",), _absolute(arguments.data)),
    }
    for flag, (path, value) in flags.items():
        if value is not None:
            overrides.append(Override(path=path, value=value, flag=f"{flag} {value}"))
    return overrides


def _absolute(data: str | None) -> str | None:
    """Return a path given on the command line, which is relative to the working folder, for use from anywhere."""
    return data if data in (None, "auto") else str(Path(data).expanduser().resolve())


def _differences(before: Any, after: Any, key: str = "") -> list[tuple[str, str]]:
    """Return (dotted key, "key old -> new") of every value that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [*before, *(name for name in after if name not in before)]
        inner = [_differences(before.get(n), after.get(n), f"{key}.{n}" if key else n) for n in names]
        return [difference for differences in inner for difference in differences]
    return [] if before == after else [(key, f"{key} {before} -> {after}")]


def _closing(paths: RunPaths, status: str, record: RunRecord) -> str:
    state = record.state
    text = f"run '{paths.run_id}' {status} at step {state.step:,}"
    if state.best_score is not None:
        text += f", best evaluation {state.best_score:.4g}"
    text += f", checkpoints in {paths.relative(paths.checkpoint_dir)}"
    return text + (f"; continue with --run-id {paths.run_id} --resume" if status == "stopped" else "")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
