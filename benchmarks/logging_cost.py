"""Processor time of logging: a row in metrics.jsonl, train.log and TensorBoard's file, and the run's state.

The share is stated for an iteration that costs one second; longer ones log less. Nothing is stored.

python benchmarks/logging_cost.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from drivetrain.run_record import DataChoice, RunInfo, RunPaths, RunRecord
from drivetrain.trainer.metric_log import MetricLog, strict
from figures import Figure, figure, pinned, print_figures

NUM_METRICS = 60
"""Metrics in a row; PPO on sample scenes writes about forty."""
ROWS = 200
"""Rows per window."""
WINDOWS = 7
ITERATION_S = 1.0
"""Processor time of an iteration that the share is stated for [s]."""


def measure() -> list[Figure]:
    """Return the cost of a row with its state, and what share of an iteration that is."""
    with pinned(1) as cores, tempfile.TemporaryDirectory() as folder:
        record, log = _open_run(Path(folder))
        costs = [_cost_of_a_row(_writer(record, log)) for _ in range(WINDOWS + 1)][1:]
    conditions = {"metrics": NUM_METRICS, "cores": cores, "clock": "processor time"}
    return [
        figure("Logging: a row and the state", [cost * 1e3 for cost in costs], unit="ms", **conditions),
        figure(
            "Logging: share of training",
            [cost / ITERATION_S * 100.0 for cost in costs],
            unit="%",
            iteration_cpu_s=ITERATION_S,
            **conditions,
        ),
    ]


def _open_run(root: Path) -> tuple[RunRecord, MetricLog]:
    paths = RunPaths(root=root, run_id="logging")
    paths.folder.mkdir(parents=True)
    info = RunInfo(
        run_id="logging",
        algorithm="ppo",
        argv=("train", "ppo.yaml"),
        config_hash="0",
        git_commit=None,
        git_dirty=False,
        host="host",
        created=time.time(),
        total_steps=10**9,
        parent=None,
        data=DataChoice(path="", fingerprint="", choice=""),
        seed=0,
        device="cpu",
        checkpoint_dir="experiments/checkpoints/logging",
    )
    return RunRecord.create(paths, info), MetricLog(paths, resumed_step=None)


def _writer(record: RunRecord, log: MetricLog) -> Callable[[int], None]:
    def write(number: int) -> None:
        values = {f"metric_{i}": number + i / 7.0 for i in range(NUM_METRICS)}
        row = strict(
            {
                "step": number,
                "life": 1,
                "time": time.time(),
                "monotonic": time.monotonic(),
                "mean_reward": 1.0,
                **values,
            }
        )
        log.write(row)
        # Written at most once a second by itself; here every time, the worst case.
        record.update(phase="collecting", step=number, row=row, immediately=True)

    return write


def _cost_of_a_row(write: Callable[[int], None]) -> float:
    start = time.process_time()
    for number in range(ROWS):
        write(number)
    return (time.process_time() - start) / ROWS


def main() -> None:
    print_figures(measure())


if __name__ == "__main__":
    main()
