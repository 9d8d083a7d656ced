"""Has the simulator become slow? Its rate against a calibration loop in the same process, and against a stored ratio.

python benchmarks/guard.py            exit code 1 below 70 % of the stored ratio
python benchmarks/guard.py --store    store the present ratio

Vectorised code is fragile: a changed type or branch can halve the speed without any test noticing. A rate in seconds
would say more about the machine than about the code, so the same process times a fixed piece of arithmetic and memory
traffic; the best of several interleaved windows counts on both sides, because noise only ever slows down.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from bench_scenes import bench_bank
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.kernel_cache import jit
from figures import RESULTS, commit, pinned

STORED = RESULTS / "guard.json"
LEAST = 0.7
"""Share of the stored ratio below which the guard fails."""
WINDOWS = 15
WORLDS, STEPS = 1024, 60


@jit
def calibration(values: np.ndarray, rounds: int) -> np.float32:
    """Do a fixed amount of arithmetic: a stable recurrence over an array that fits the second cache."""
    total = np.float32(0.0)
    for _ in range(rounds):
        for i in range(values.shape[0]):
            values[i] = values[i] * np.float32(0.5) + np.float32(1.0)
        total += values[0]
    return total


def measure() -> float:
    """Return agent-steps of the simulator per million values of the calibration loop."""
    env = DrivingEnv(bench_bank(), DrivingConfig(num_worlds=WORLDS, threads=1, observation_dtype="int8"))
    actions = np.random.default_rng(0).integers(0, env.action_space.num_categories, size=(STEPS, WORLDS))
    env.reset(seed=0)
    values = np.ones(1 << 17, dtype=np.float32)
    fastest_step = fastest_value = float("inf")
    with pinned(1):
        for _ in range(WINDOWS):
            started = time.process_time()
            for action in actions:
                env.step(action)
            stepped = time.process_time()
            calibration(values, 100)
            fastest_step = min(fastest_step, (stepped - started) / (STEPS * WORLDS))
            fastest_value = min(fastest_value, (time.process_time() - stepped) / (100 * len(values)))
    env.close()
    return fastest_value / fastest_step * 1e6


def main() -> int:
    """Measure, compare, say so; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", action="store_true", help="store the present ratio as the one to hold")
    arguments = parser.parse_args()
    ratio = measure()
    if arguments.store:
        STORED.write_text(json.dumps({"ratio": round(ratio, 1), **commit()}, indent=2) + "\n", encoding="utf-8")
        print(f"stored {ratio:.0f} agent-steps per million calibration values")
        return 0
    if not STORED.is_file():
        print("no ratio is stored; run `python benchmarks/guard.py --store` on a quiet machine", file=sys.stderr)
        return 2
    before = json.loads(STORED.read_text(encoding="utf-8"))["ratio"]
    share = ratio / before
    verdict = "slow" if share < LEAST else "fine"
    print(f"{verdict}: {ratio:.0f} agent-steps per million calibration values, {share:.0%} of the stored {before:.0f}")
    return int(share < LEAST)


if __name__ == "__main__":
    sys.exit(main())
