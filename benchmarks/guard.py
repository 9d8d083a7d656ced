"""Has the simulator become slow? Its rate against a calibration loop in the same process, and against a stored ratio.

python benchmarks/guard.py            exit code 1 below 70 % of the stored ratio
python benchmarks/guard.py --store    store the present ratio

Vectorised code is fragile: a changed type or branch can halve the speed without any test noticing. A rate in seconds
would say more about the machine than about the code, so each window is followed by a fixed piece of arithmetic on
scattered memory, which suffers from the same neighbours; the median ratio counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import numpy as np

from bench_scenes import bench_bank
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.kernel_cache import jit
from figures import ROOT, commit, pinned

STORED = ROOT / "benchmarks" / "guard_baseline.json"
LEAST = 0.7
"""Share of the stored ratio below which the guard fails."""
WINDOWS = 120
WORLDS, STEPS = 1024, 12
ROWS, READS = 1 << 17, 20_000
"""Of the calibration: rows of 512 bytes in 64 MiB, and how many of them are read per window."""


@jit
def calibration(table: np.ndarray, rows: np.ndarray) -> np.float32:
    """Read rows that are scattered over memory and do a fixed amount of arithmetic with each."""
    total = np.float32(0.0)
    for row in rows:
        for k in range(table.shape[1]):
            total = total * np.float32(0.5) + table[row, k]
    return total


def measure() -> float:
    """Return agent-steps of the simulator per thousand rows of the calibration loop."""
    env = DrivingEnv(bench_bank(), DrivingConfig(num_worlds=WORLDS, threads=1, observation_dtype="int8"))
    random = np.random.default_rng(0)
    actions = random.integers(0, env.action_space.num_categories, size=(STEPS, WORLDS))
    env.reset(seed=0)
    table = np.ones((ROWS, 128), dtype=np.float32)
    rows = random.integers(0, ROWS, size=READS)
    ratios = []
    with pinned(1):
        for _ in range(WINDOWS):
            started = time.process_time()
            for action in actions:
                env.step(action)
            stepped = time.process_time()
            calibration(table, rows)
            done = time.process_time()
            ratios.append((done - stepped) / READS / ((stepped - started) / (STEPS * WORLDS)))
    env.close()
    return statistics.median(ratios) * 1e3


def main() -> int:
    """Measure, compare, say so; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", action="store_true", help="store the present ratio as the one to hold")
    arguments = parser.parse_args()
    ratio = measure()
    if arguments.store:
        STORED.write_text(json.dumps({"ratio": round(ratio, 1), **commit()}, indent=2) + "\n", encoding="utf-8")
        print(f"stored {ratio:.0f} agent-steps per thousand calibration rows")
        return 0
    if not STORED.is_file():
        print("no ratio is stored; run `python benchmarks/guard.py --store` on a quiet machine", file=sys.stderr)
        return 2
    before = json.loads(STORED.read_text(encoding="utf-8"))["ratio"]
    share = ratio / before
    verdict = "slow" if share < LEAST else "fine"
    print(f"{verdict}: {ratio:.0f} agent-steps per thousand calibration rows, {share:.0%} of the stored {before:.0f}")
    return int(share < LEAST)


if __name__ == "__main__":
    sys.exit(main())
