"""One life of a run, from a claimed folder to its final status."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from drivetrain.config import Override, dump_config, load_config, parse_override, plain
from drivetrain.errors import CheckpointError, ConfigError, DrivetrainError, RunError, UsageError
from drivetrain.run_record import (
    Holder,
    RunInfo,
    RunPaths,
    RunRecord,
    clear_run,
    git_revision,
    read_run_info,
    write_bytes_atomic,
)
from drivetrain.trainer.anchor_choice import named_anchor
from drivetrain.trainer.best_policy import is_better
from drivetrain.trainer.checkpoint import (
    Checkpoint,
    check_fits,
    code_versions,
    load_checkpoint,
)
from drivetrain.trainer.command import start_sidecar
from drivetrain.trainer.display import open_display
from drivetrain.trainer.experiment import (
    NOT_PART_OF_TRAINING,
    Experiment,
    ExperimentConfig,
    build_experiment,
    resolve_device,
    training_hash,
)
from drivetrain.trainer.initialization import Initialization, initialize_from, with_precautions
from drivetrain.trainer.joined_processes import JoinedProcesses
from drivetrain.trainer.learner_processes import LearnerProcesses, Learners
from drivetrain.trainer.memory_errors import memory_told
from drivetrain.trainer.metric_log import MetricLog
from drivetrain.trainer.progress import Progress
from drivetrain.trainer.replay_file import load_replay
from drivetrain.trainer.stop_signal import StopSignal
from drivetrain.trainer.trainer import Trainer
from drivetrain.trainer.watchdog import Scales, Watchdog


def run_session(
    paths: RunPaths,
    arguments: argparse.Namespace,
    *,
    joined: JoinedProcesses | None = None,
    holder: Holder | None = None,
) -> int:
    """Train as the arguments say, in a run folder whose lock is held; return the exit code.

    Args:
        paths: The run.
        arguments: Of the command line.
        joined: The learner processes, where somebody else started them; None: the config says how many to start.
        holder: Who holds the lock; None: this process.

    Raises:
        DrivetrainError: The run cannot begin, or failed.
    """
    config = configured(paths, arguments)
    _refuse_other_launcher(arguments, config.algorithm.name)
    if config.training.workers == "ray" and holder is None:
        from drivetrain.trainer.ray_driver import train_on_ray

        return train_on_ray(paths, arguments, config, joined=joined)
    config = resolve_device(config if joined is None else joined.placed(config), is_placed=joined is not None)
    if config.algorithm.name == "cimrl" and arguments.init_from is None and not arguments.resume:
        raise UsageError(
            "--init-from is missing: cimrl needs a prior, such as --init-from experiments/checkpoints/cimrl_bc/ "
            "(made by train_bc.py)"
        )
    if config.data != "auto":
        config = replace(config, data=paths.relative(paths.root / config.data))
    if arguments.resume:
        config = _as_before(paths, config)
    else:
        algorithm = named_anchor(config.algorithm, init_from=arguments.init_from, root=paths.root)
        config = replace(config, algorithm=algorithm)
    commit, dirty = git_revision(Path(__file__).parent)
    own = LearnerProcesses(config.training.processes) if joined is None else contextlib.nullcontext(joined)
    with memory_told(), own as learners:
        experiment = build_experiment(config, root=paths.root, commit=commit, say=_say, learners=learners)
        with contextlib.closing(experiment.environment):
            given, origin = None, _origin(paths, arguments)
            if origin is not None:
                given = _initialize(experiment, origin)
                _say("\n".join(given.lines()))
            watchdog = _watchdog(experiment)
            # From here on there is something to save: before, Ctrl-C simply interrupts.
            with StopSignal() as stop:
                if arguments.resume:
                    record, progress = _resume(paths, experiment, watchdog, holder)
                else:
                    record, progress = _begin(paths, experiment, arguments, given, holder, dirty=dirty)
                # Whoever holds the lock has the side-car, which watches it.
                mlflow = not arguments.no_mlflow if holder is None else None
                return _train(paths, experiment, record, progress, stop, given, watchdog, learners, mlflow=mlflow)


_LAUNCHERS = {"ppo": "rl", "sac": "rl", "cimrl": "rl", "bc": "bc", "gail": "gail"}
"""Kind of the launcher by algorithm: they differ in their flags."""


def _refuse_other_launcher(arguments: argparse.Namespace, algorithm: str) -> None:
    kind = _LAUNCHERS[algorithm]
    if kind != arguments.kind:
        raise UsageError(f"{arguments.config}: its algorithm is {algorithm}; use train_{kind}.py")


def configured(paths: RunPaths, arguments: argparse.Namespace) -> ExperimentConfig:
    """Return the config with its flags.

    Raises:
        ConfigError: It is wrong.
        RunError: It is the run's own and this version cannot read it.
    """
    try:
        return load_config(arguments.config, ExperimentConfig, overrides=_overrides(arguments))
    except ConfigError as error:
        if arguments.config != paths.config_yaml or arguments.set:
            raise
        raise RunError(_of_another_version(paths, str(error).partition("\n")[0])) from error


def _origin(paths: RunPaths, arguments: argparse.Namespace) -> Path | None:
    """Return the checkpoint with whose weights the run begins; None where it begins afresh, or has begun already."""
    if not arguments.resume:
        return arguments.init_from
    info = read_run_info(paths)
    if info is None or info.parent is None or paths.last.is_file():
        return None
    return paths.root / info.parent


def _initialize(experiment: Experiment, path: Path) -> Initialization:
    """Start from the weights of another run."""
    algorithm = experiment.algorithm
    done = initialize_from(
        experiment.policy,
        path,
        learner=experiment.config.algorithm.name,
        heads=algorithm.heads,
        dynamics=experiment.dynamics,
    )
    return with_precautions(done, algorithm.warm_start(done.names("fresh")))


def _train(
    paths: RunPaths,
    experiment: Experiment,
    record: RunRecord,
    progress: Progress,
    stop: StopSignal,
    given: Initialization | None,
    watchdog: Watchdog,
    learners: Learners,
    *,
    mlflow: bool | None,
) -> int:
    training = experiment.config.training
    try:
        log = MetricLog(paths, resumed_step=_resumed_step(paths, record, progress))
    except DrivetrainError as error:
        record.finish("failed", exit_code=1, message=str(error))
        raise
    if mlflow is not None:
        start_sidecar(paths, life=record.state.life, mlflow=mlflow)
    display = open_display(run_id=paths.run_id, total_steps=training.total_steps, step=progress.step)
    verb = "resumed" if record.state.life > 1 else "started"
    place = paths.relative(paths.folder)
    opening = f"run '{paths.run_id}' {verb} at step {progress.step:,} of {training.total_steps:,} on {training.device}"
    try:
        for line in [opening, *(given.lines() if given is not None else [])]:
            log.note(line)
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
            watchdog=watchdog,
            reported=experiment.reported,
            replay=experiment.replay,
            processor_time=learners.processor_time,
            is_restarted=learners.is_restarted,
        )
        status = trainer.run(stop)
        display.say(_closing(paths, status, record))
    finally:
        display.close()
    return 0


def _begin(
    paths: RunPaths,
    experiment: Experiment,
    arguments: argparse.Namespace,
    given: Initialization | None,
    holder: Holder | None,
    *,
    dirty: bool,
) -> tuple[RunRecord, Progress]:
    """Write the folder of a new run; an overwritten one goes only now that nothing can be wrong any more."""
    clear_run(paths)
    config = experiment.config
    paths.folder.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(paths.config_yaml, dump_config(config).encode(), durable=True)
    info = RunInfo(
        run_id=paths.run_id,
        algorithm=config.algorithm.name,
        argv=(holder or Holder.here()).argv,
        config_hash=training_hash(config),
        git_commit=experiment.commit,
        git_dirty=dirty,
        host=(holder or Holder.here()).host,
        created=time.time(),
        total_steps=config.training.total_steps,
        parent=paths.relative(arguments.init_from.resolve()) if arguments.init_from is not None else None,
        data=experiment.data,
        seed=config.training.seed,
        device=config.training.device,
        checkpoint_dir=paths.relative(paths.checkpoint_dir),
        versions={k: str(v) for k, v in code_versions(experiment.commit).items() if v is not None},
    )
    record = RunRecord.create(paths, info, holder=holder)
    if given is not None:
        record.event("initialized", **given.event())
    return record, Progress()


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
    try:
        before = load_config(paths.config_yaml, ExperimentConfig)
    except ConfigError as error:
        raise RunError(_of_another_version(paths, str(error).partition("\n")[0])) from error
    if training_hash(before) != info.config_hash:
        # The run's own config does not mean what it meant: no choice of flags can continue this run.
        raise RunError(_of_another_version(paths, f"commit {(info.git_commit or 'unknown')[:10]}, with other settings"))
    changed = _differences(plain(before), plain(config))
    counted = [text for key, text in changed if not key.startswith(NOT_PART_OF_TRAINING)]
    raise RunError(
        f"run '{paths.run_id}': the config is not the one of its start ({'; '.join(counted)}); "
        "resume without --config and --set to use the run's own, or start a new run"
    )


def _of_another_version(paths: RunPaths, evidence: str) -> str:
    go_on = f"--init-from {paths.relative(paths.last)}" if paths.last.is_file() else "the same config"
    return (
        f"run '{paths.run_id}' was started by another version of this program ({evidence}), which alone can resume it; "
        f"start a new run with {go_on}"
    )


def _watchdog(experiment: Experiment) -> Watchdog:
    algorithm = experiment.config.algorithm
    gamma = getattr(getattr(algorithm, "ppo", algorithm), "gamma", 0.99)
    return Watchdog(experiment.config.watchdog, Scales(action_space=experiment.environment.action_space, gamma=gamma))


def _resume(
    paths: RunPaths, experiment: Experiment, watchdog: Watchdog, holder: Holder | None
) -> tuple[RunRecord, Progress]:
    """Load the last checkpoint into the experiment and begin the next life."""
    if not paths.last.is_file():
        _say(f"run '{paths.run_id}' has no checkpoint yet: it begins again at step 0")
        progress = Progress()
    else:
        checkpoint, env = load_checkpoint(paths.last), experiment.environment
        check_fits(checkpoint, paths.last, env.observation_schema, env.action_space)
        progress = _restore(paths, experiment, watchdog, checkpoint)
    for request in (paths.stop_request, paths.checkpoint_request):
        request.unlink(missing_ok=True)
    total_steps = experiment.config.training.total_steps
    record = RunRecord.resume(paths, step=progress.step, total_steps=total_steps, holder=holder)
    write_bytes_atomic(paths.config_yaml, dump_config(experiment.config).encode(), durable=True)
    return record, progress


def _restore(paths: RunPaths, experiment: Experiment, watchdog: Watchdog, checkpoint: Checkpoint) -> Progress:
    if checkpoint.data["fingerprint"] != experiment.data.fingerprint:
        raise CheckpointError(
            f"{paths.last}: made from data {checkpoint.data['path']}, fingerprint {checkpoint.data['fingerprint']}, "
            f"now it is {experiment.data.path} with {experiment.data.fingerprint}; restore the data, or start a new run"
        )
    state: dict[str, Any] | None = checkpoint.training
    if state is None:
        raise CheckpointError(f"{paths.last}: holds no training state; start a new run with --init-from {paths.last}")
    try:
        if experiment.replay is not None:
            load_replay(paths, experiment.replay, name=state["replay"])
        experiment.algorithm.load_state_dict(state["algorithm"])
        watchdog.load_state_dict(state["watchdog"])
        progress = Progress(**state["progress"])
    except (KeyError, TypeError, RuntimeError) as error:
        evidence = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise CheckpointError(_of_another_version(paths, f"its state cannot be loaded, {evidence}")) from error
    torch.set_rng_state(state["torch_random"])
    if paths.best.is_file():
        # A run killed between best.pt and last.pt has a better best.pt than last.pt knows of: it is kept.
        best = load_checkpoint(paths.best).metric
        if best and is_better(best, progress.best):
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
