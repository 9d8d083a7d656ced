"""Processor time of `drivetrain status` and `drivetrain report` over many run folders, as processes of their own.

Wall time says little on a busy machine; what is counted is user and system time of the whole process, start included.

python benchmarks/status_speed.py
python benchmarks/status_speed.py --runs 1000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from drivetrain.run_record import DataChoice, RunInfo, RunLock, RunPaths, RunState, boot_id
from figures import ROOT, Figure, figure, pinned, print_figures

NUM_RUNS = 200
NUM_ACTIVE = 5
ROWS = 400
REPEATS = 5
UNWANTED = ("torch", "mlflow", "numpy")
"""What neither command may load."""
COMMANDS = ("status", "report")
PROBE = (
    "import sys; from drivetrain.interfaces.cli import main; code = main(sys.argv[1:]); "
    f"print([name for name in {UNWANTED!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
)


def measure(num_runs: int) -> list[Figure]:
    """Return the cost of both commands."""
    with tempfile.TemporaryDirectory() as folder, pinned(1) as cores:
        root = Path(folder)
        locks = [write_run(root, f"run_{i:04d}", active=i < NUM_ACTIVE) for i in range(num_runs)]
        found = []
        for command in COMMANDS:
            costs = [cost_of(command, root) for _ in range(REPEATS)]
            name = f"Processor time of `drivetrain {command}`"
            conditions = {"runs": num_runs, "active": NUM_ACTIVE}
            found.append(figure(name, costs, unit="ms", **conditions, rows=ROWS, cores=cores, clock="processor time"))
        for lock in filter(None, locks):
            lock.release()
    return found


def write_run(root: Path, run_id: str, *, active: bool) -> RunLock | None:
    """Write the folder of a run with its rows; return the lock of one that is active."""
    paths, now = RunPaths(root=root, run_id=run_id), time.time()
    paths.folder.mkdir(parents=True)
    info = RunInfo(
        run_id=run_id,
        algorithm="ppo",
        argv=("python", "python/src/training/train_rl.py", "--run-id", run_id),
        config_hash="0",
        git_commit=None,
        git_dirty=False,
        host=socket.gethostname(),
        created=now,
        total_steps=ROWS * 1000,
        parent=None,
        data=DataChoice(path="", fingerprint="", choice=""),
        seed=0,
        device="cpu",
        checkpoint_dir=f"experiments/checkpoints/{run_id}",
    )
    paths.run_json.write_text(json.dumps(asdict(info)))
    rows = [
        {"step": i * 1000, "life": 1, "time": now, "monotonic": 2.0 * i, "mean_reward": 0.1 * i} for i in range(ROWS)
    ]
    paths.metrics_jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows))
    state = asdict(_state(now, active=active)) | {"row": rows[-1]}
    paths.state_json.write_text(json.dumps(state))
    return RunLock(paths.run_lock) if active else None


def _state(now: float, *, active: bool) -> RunState:
    return RunState(
        status="running" if active else "completed",
        phase="collecting",
        step=ROWS * 1000,
        total_steps=ROWS * 2000,
        pid=os.getpid(),
        start_ticks=None,
        boot_id=boot_id(),
        life=1,
        started=now,
        updated=now,
        heartbeat=0.0,
        life_start_step=0,
        checkpoint_dir="",
    )


def cost_of(command: str, root: Path) -> float:
    """Return the processor time of a command [ms].

    Raises:
        RuntimeError: It failed, or loaded what it must not.
    """
    environment = os.environ | {"DRIVETRAIN_ROOT": str(root), "PYTHONPATH": str(ROOT / "python" / "src")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", PROBE, command], env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0 or done.stderr.splitlines()[-1:] != ["[]"]:
        raise RuntimeError(f"drivetrain {command}: exit code {done.returncode}, {done.stderr.strip()[-300:]}")
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=NUM_RUNS, help=f"run folders ({NUM_RUNS})")
    print_figures(measure(parser.parse_args().runs))


if __name__ == "__main__":
    main()
