"""Run folders as a trainer leaves them, written with the trainer's own pen."""

import contextlib
import os
import random
import subprocess
import sys
import time

from drivetrain.run_record import DataChoice, RunInfo, RunPaths, RunRecord, append_line, claim_run

ARGV = ("python", "python/src/training/train_rl.py", "--config", "python/configs/planning/ppo.yaml", "--run-id")


def info_of(run_id, **changes):
    values = {
        "run_id": run_id,
        "algorithm": "ppo",
        "argv": (*ARGV, run_id),
        "config_hash": "c0ffee",
        "git_commit": "1234567",
        "git_dirty": False,
        "host": os.uname().nodename,
        "created": time.time(),
        "total_steps": 1_000_000,
        "parent": None,
        "data": DataChoice(path="datasets/processed/sample", fingerprint="f00d", choice="auto: sample"),
        "seed": 0,
        "device": "cpu",
        "checkpoint_dir": f"experiments/checkpoints/{run_id}",
    }
    return RunInfo(**values | changes)


def rows_of(count, *, interval_s=2.0, steps=10_000, life=1, **metrics):
    """Evenly spaced rows that end now; a metric is a value, or a function of the row's index."""
    now, clock = time.time(), time.monotonic()
    return [
        {
            "step": (index + 1) * steps,
            "iteration": index + 1,
            "life": life,
            "time": now - (count - 1 - index) * interval_s,
            "monotonic": clock - (count - 1 - index) * interval_s,
            **{name: value(index) if callable(value) else value for name, value in metrics.items()},
        }
        for index in range(count)
    ]


def noise(*, sd=1.0, seed=0, start=0.0, rise=0.0):
    """A function of the index: white noise on a line."""
    random_numbers = random.Random(seed)
    return lambda index: start + rise * index + random_numbers.gauss(0.0, sd)


def write_run(root, run_id, *, rows=(), status="running", message="", state=(), **info):
    """Write a run and return (record, lock); the lock is held by this process."""
    paths = RunPaths(root=root, run_id=run_id)
    lock = claim_run(paths, resume=False, overwrite=False)
    record = RunRecord.create(paths, info_of(run_id, **info))
    for row in rows:
        append_line(paths.metrics_jsonl, row)
    newest = {}
    for row in rows:
        newest |= {name: value for name, value in row.items() if value is not None}
    record.update(
        status="running",
        phase="collecting",
        step=rows[-1]["step"] if rows else 0,
        row=newest,
        immediately=True,
        **dict(state),
    )
    if status != "running":
        record.finish(status, exit_code=int(status == "failed"), message=message)
    return record, lock


def write_ended_run(root, run_id, **options):
    """Write a run whose trainer is gone; without a final status it was lost."""
    record, lock = write_run(root, run_id, **options)
    lock.release()
    return record


def rewrite_state(record, **changes):
    """Replace fields of state.json, the heartbeat's too, which the pen itself never backdates."""
    import dataclasses

    from drivetrain.run_record import write_json_atomic

    state = dataclasses.asdict(record.state) | changes
    if "updated" in changes and "heartbeat" not in changes:  # both clocks tell the same silence
        state["heartbeat"] = time.monotonic() - (time.time() - changes["updated"])
    write_json_atomic(record.paths.state_json, state)


TRAINER = """
import pathlib, sys, time
from tests.runs.run_folders import rows_of, write_run
root, run_id, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
record, lock = write_run(root, run_id, rows=rows_of(count, mean_reward=lambda index: float(index), loss=0.5))
print("up", flush=True)
while True:
    time.sleep(0.1)
    record.update(immediately=True)
"""


@contextlib.contextmanager
def living_trainer(root, run_id, *, count=50):
    """A process that holds the run's lock and writes its state; it is killed -9 at the end, if not before."""
    command = [sys.executable, "-c", TRAINER, str(root), run_id, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()
