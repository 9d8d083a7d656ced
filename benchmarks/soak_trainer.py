"""A trainer that trains nothing: the run's files, lock, signals, worker and side-car are the real ones, and cheap.

``python benchmarks/soak_trainer.py --run-id NAME [--resume] [--total-steps N] [--mirror]`` under ``DRIVETRAIN_ROOT``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from drivetrain.errors import DrivetrainError, RunError
from drivetrain.run_record import (
    DataChoice,
    RunInfo,
    RunPaths,
    RunRecord,
    claim_run,
    drop_torn_line,
    project_root,
    read_json,
    write_json_atomic,
)
from drivetrain.trainer.command import start_sidecar
from drivetrain.trainer.metric_log import MetricLog
from drivetrain.trainer.stop_signal import StopSignal

ROW_S = 0.05
"""Time per row [s]."""
SAVE_ROWS = 7
"""Rows between checkpoints."""
STEPS = 10
"""Steps per row."""
WORKER = "import os, time\nwhile os.getppid() == {leader}: time.sleep(0.2)"
"""A learner process that, like the real ones, ends with its leader."""


def value_at(step: int) -> float:
    """Return the metric of a row, which tells whether the row is the right one."""
    return (step * 7919 % 1000) / 1000.0


def main() -> int:
    """Train nothing until the budget is used or a stop is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--mirror", action="store_true")
    parser.add_argument("--total-steps", type=int, default=10_000_000)
    arguments = parser.parse_args()
    paths = RunPaths(root=project_root(), run_id=arguments.run_id)
    try:
        lock = claim_run(paths, resume=arguments.resume, overwrite=False)
        try:
            return _train(paths, arguments)
        finally:
            lock.release()
    except DrivetrainError as error:
        sys.stderr.write(f"soak_trainer.py: {error}\n")
        return error.exit_code


def _train(paths: RunPaths, arguments: argparse.Namespace) -> int:
    with StopSignal() as stop:
        record, step = _begin(paths, arguments.total_steps)
        try:
            log = MetricLog(paths, resumed_step=step if record.state.life > 1 else None)
            start_sidecar(paths, life=record.state.life, mlflow=arguments.mirror)
            worker = subprocess.Popen([sys.executable, "-S", "-E", "-c", WORKER.format(leader=os.getpid())])
        except (DrivetrainError, OSError) as error:
            record.finish("failed", exit_code=1, message=str(error))
            raise
        try:
            _turns(paths, record, log, stop, worker, arguments.total_steps)
        except DrivetrainError as error:
            record.finish("failed", exit_code=1, message=str(error))
            raise
        finally:
            worker.kill()
            worker.wait()
    return 0


def _turns(
    paths: RunPaths,
    record: RunRecord,
    log: MetricLog,
    stop: StopSignal,
    worker: subprocess.Popen[bytes],
    total_steps: int,
) -> None:
    step = record.state.step
    record.update(status="running", phase="collecting")
    while step < total_steps and stop.received is None and not paths.stop_request.exists():
        time.sleep(ROW_S)
        if worker.poll() is not None:
            raise RunError(f"learner process 1 (pid {worker.pid}) ended with {worker.returncode}")
        step += STEPS
        values = {"step": step, "iteration": step // STEPS, "life": record.state.life, "mean_reward": value_at(step)}
        log.write({**values, "time": time.time(), "monotonic": time.monotonic()})
        record.update(step=step, row=values)
        if step // STEPS % SAVE_ROWS == 0:
            _save(paths, record, log, step)
    _save(paths, record, log, step)
    record.finish("completed" if step >= total_steps else "stopped", exit_code=0, signal=stop.received)


def _save(paths: RunPaths, record: RunRecord, log: MetricLog, step: int) -> None:
    log.flush()
    write_json_atomic(paths.last, {"step": step}, durable=True)
    record.event("checkpoint", step=step)


def _begin(paths: RunPaths, total_steps: int) -> tuple[RunRecord, int]:
    if not paths.run_json.is_file():
        info = RunInfo(
            run_id=paths.run_id,
            algorithm="ppo",
            argv=(sys.executable, *sys.argv),
            config_hash="soak",
            git_commit=None,
            git_dirty=False,
            host=os.uname().nodename,
            created=time.time(),
            total_steps=total_steps,
            parent=None,
            data=DataChoice(path="nothing", fingerprint="0", choice="environment"),
            seed=0,
            device="cpu",
            checkpoint_dir=paths.relative(paths.checkpoint_dir),
        )
        return RunRecord.create(paths, info), 0
    saved = read_json(paths.last)
    step = int(saved["step"]) if saved else 0
    paths.stop_request.unlink(missing_ok=True)
    drop_torn_line(paths.events_jsonl)
    return RunRecord.resume(paths, step=step, total_steps=total_steps), step


if __name__ == "__main__":
    sys.exit(main())
