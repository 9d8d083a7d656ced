"""Two learners as Ray's workers against two processes of our own: steps per second in steady state, start-up apart.

Both roads train the same config (driving worlds, PPO) with the same seed, in turn, and are read from their own rows:
without evaluations, and the first fifth of the rows is warm-up. Their rows must be equal, or the comparison means
nothing. The machine must be otherwise idle.

    python benchmarks/ray_learners.py [--turns 3] [--steps 2000000] [--store]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_scenes import bench_store
from figures import ROOT, Figure, figure, measure_and_store, print_figures

SAME = ("step", "loss", "policy_loss", "value_loss", "mean_reward")
"""What rows of both roads must agree in."""
GOAL = 0.85


def main() -> int:
    """Measure, print the result; return 0 if the share is reached and the rows are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "python/configs/planning/ppo.yaml")
    parser.add_argument("--data", type=Path, help="scenario store; by default that of the other benchmarks")
    parser.add_argument("--turns", type=int, default=3, help="runs of each road, in turn")
    parser.add_argument("--steps", type=int, default=2_000_000, help="steps of a run")
    parser.add_argument("--store", action="store_true", help="write benchmarks/results/ray_learners.json")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="change a key of the config")
    arguments = parser.parse_args()
    measured_roads: dict[str, list[dict[str, Any]]] = {"local": [], "ray": []}

    def work() -> list[Figure]:
        with tempfile.TemporaryDirectory(prefix="ray_learners-") as folder:
            for turn in range(arguments.turns):
                # Every other turn the other way round: a machine that slows down harms neither.
                for road in ("local", "ray") if turn % 2 == 0 else ("ray", "local"):
                    measured_roads[road].append(measured(Path(folder), f"{road}_{turn}", road, arguments))
                    print(f"{road:5s} {told(measured_roads[road][-1])}", file=sys.stderr, flush=True)
        return figures_of(measured_roads, steps=arguments.steps)

    found = measure_and_store("ray_learners", work) if arguments.store else work()
    print_figures(found)
    runs = [run for of in measured_roads.values() for run in of]
    equal = all(run["rows"] == runs[0]["rows"] for run in runs)
    print("rows are equal" if equal else "rows DIFFER: the comparison means nothing")
    return 0 if equal and share_of(measured_roads) >= GOAL else 1


def figures_of(roads: dict[str, list[dict[str, Any]]], *, steps: int) -> list[Figure]:
    """Return speeds, the share of Ray's in our own (of medians; its windows are the turns) and start-up."""
    conditions = {"clock": "wall", "learners": 2, "steps": steps, "start-up": "apart"}
    names = {"local": "own processes", "ray": "Ray's workers"}
    found = [
        figure(f"two learners, {names[road]}", [run["sps"] for run in of], unit="agent-steps/s", **conditions)
        for road, of in roads.items()
    ]
    pairs = [ray["sps"] / local["sps"] for local, ray in zip(roads["local"], roads["ray"], strict=True)]
    share = figure("two learners, Ray's workers over own processes", pairs, unit="times", **conditions)
    found.append(replace(share, value=share_of(roads)))
    for road, of in roads.items():
        found.append(
            figure(f"two learners, {names[road]}, to the first row", [r["start_s"] for r in of], unit="s", clock="wall")
        )
    return found


def share_of(roads: dict[str, list[dict[str, Any]]]) -> float:
    """Return the median speed of Ray's workers over that of our own processes."""
    return statistics.median(run["sps"] for run in roads["ray"]) / statistics.median(
        run["sps"] for run in roads["local"]
    )


def measured(root: Path, run_id: str, road: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train once and return speed, start-up and rows."""
    command = [sys.executable, str(ROOT / "python/src/training/train_rl.py"), "--config", str(arguments.config)]
    command += ["--run-id", run_id, "--no-mlflow", "--total-steps", str(arguments.steps), "--device", "cpu"]
    command += ["--set", "training.processes=2", "--set", "training.threads=1", "--set", f"training.workers={road}"]
    command += ["--set", "evaluation.max_share=0", "--set", "evaluation.at_start=false"]
    command += ["--data", str(arguments.data or bench_store())]
    for change in arguments.set:
        command += ["--set", change]
    environment = {**os.environ, "DRIVETRAIN_ROOT": str(root), "RAY_USAGE_STATS_ENABLED": "0"}
    begun = time.time()
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)
    lines = (root / "experiments/logs" / run_id / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "sps" in row]
    steady = rows[len(rows) // 5 :]
    first, last = steady[0], steady[-1]
    return {
        "sps": (last["step"] - first["step"]) / (last["monotonic"] - first["monotonic"]),
        "start_s": rows[0]["time"] - begun,
        "iterations": len(steady),
        "rows": [{name: row.get(name) for name in SAME} for row in rows],
    }


def told(result: dict[str, Any]) -> str:
    speed, start = f"{result['sps']:,.0f} steps/s", f"first row after {result['start_s']:.1f} s"
    return f"{speed} over {result['iterations']} iterations, {start}"


if __name__ == "__main__":
    sys.exit(main())
