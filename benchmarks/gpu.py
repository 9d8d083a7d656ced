"""PPO end to end on one GPU: agent-steps per second with the default policy, and what simulator and network take.

Sizes that suit a GPU, with and without overlap, and the config as it stands. Says so where there is no GPU.

python benchmarks/gpu.py
python benchmarks/gpu.py --seconds 60 --worlds 32768 --minibatch 32768
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from bench_scenes import bench_store
from drivetrain.config import Override, load_config
from drivetrain.errors import DrivetrainError
from drivetrain.processes import usable_cores
from drivetrain.trainer.experiment import ExperimentConfig
from drivetrain.trainer.speed_trial import Bench, Trial
from drivetrain.trainer.tuning import in_words
from figures import ROOT

CONFIG = ROOT / "python" / "configs" / "planning" / "ppo.yaml"
GOAL = 1_000_000
"""Agent-steps per second on one H200-class GPU with 16 cores."""


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu runs the same code, to see that it works")
    parser.add_argument("--seconds", type=float, default=20.0, help="per setting [s]")
    parser.add_argument("--worlds", type=int, default=16_384)
    parser.add_argument("--minibatch", type=int, default=16_384)
    parser.add_argument("--data", type=Path, help="scenario store (default: one is generated)")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print(
            "no CUDA on this machine, or not for this build of torch: nothing was measured (--device cpu runs the code)"
        )
        return 0
    try:
        trials = measure(arguments)
    except DrivetrainError as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return error.exit_code
    name = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "no GPU"
    print(f"{name}, {usable_cores()} cores, torch {torch.__version__}; median, slowest and fastest iteration")
    for trial in trials:
        print_trial(trial)
    best = max(trial.rate for trial in trials)
    print(f"best {best:,.0f} agent-steps/s, goal {GOAL:,}: {'reached' if best >= GOAL else 'not reached'}")
    return 0


def measure(arguments: argparse.Namespace) -> list[Trial]:
    """Return the trials."""
    data = str(arguments.data or bench_store())
    given = {("training", "device"): arguments.device, ("training", "processes"): 1, ("data",): data}
    overrides = [Override(path=path, value=value, flag="benchmark") for path, value in given.items()]
    config = load_config(CONFIG, ExperimentConfig, overrides=overrides)
    bench = Bench.prepare(config, root=ROOT, say=lambda text: print(text, file=sys.stderr))
    large = {"environment.num_worlds": arguments.worlds, "algorithm.minibatch_size": arguments.minibatch}
    settings = (
        {**large, "training.overlap": True},
        {**large, "training.overlap": False},
        {**large, "training.overlap": True, "environment.observation_dtype": "int8"},
        {**large, "training.overlap": True, "policy.precision": "float32"},
        {},
    )
    return [bench.run(changes, seconds=arguments.seconds) for changes in settings]


def print_trial(trial: Trial) -> None:
    """Print one setting."""
    print(f"\n{in_words(trial.changes)}")
    if trial.failure is not None:
        print(f"  not measured: {trial.failure}")
        return
    print(f"  end to end  {trial.rate:>13,.0f} agent-steps/s ({trial.rate_low:,.0f} to {trial.rate_high:,.0f})")
    for part, rate in trial.phase_rates.items():
        print(f"  {part:<10}  {rate:>13,.0f} alone, {trial.shares[part]:.0%} of the time")
    if trial.gpu_bytes is not None:
        print(f"  GPU memory  {trial.gpu_bytes / 1e9:>13.2f} GB at most")


if __name__ == "__main__":
    sys.exit(main())
