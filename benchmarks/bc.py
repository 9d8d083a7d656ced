"""Samples per second of behaviour cloning end to end: read rows, hide states, learn, gradients exchanged.

The default network and minibatch, with the action head alone and with the trajectory head, without rollouts.

python benchmarks/bc.py
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench_scenes import bench_store
from drivetrain.algorithms.bc import BCConfig
from drivetrain.algorithms.dagger import DaggerConfig
from drivetrain.config import load_config
from drivetrain.models.trajectory_head import TrajectoryConfig
from drivetrain.sim.env import DrivingConfig
from drivetrain.trainer.experiment import Experiment, ExperimentConfig, resolve_device
from figures import ROOT, Figure, measure_and_store, pinned, print_figures
from learning import learning_figure

CONFIG = ROOT / "python" / "configs" / "planning" / "bc.yaml"


def measure() -> list[Figure]:
    """Return the rates of whole iterations on one core (CPU time) and two (wall time)."""
    figures = []
    for name, heads in (("actions", TrajectoryConfig()), ("actions and trajectories", None)):
        for minibatch_size in (512, 2048):
            for cores in (1, 2):
                with pinned(cores) as got:
                    if got == cores:
                        figures.append(_figure(name, _config(cores, heads, minibatch_size), minibatch_size, cores))
    return figures


def _config(cores: int, heads: TrajectoryConfig | None, minibatch_size: int) -> ExperimentConfig:
    config = resolve_device(load_config(CONFIG, ExperimentConfig))
    algorithm, driving = config.algorithm, config.environment
    if not isinstance(algorithm, BCConfig) or not isinstance(driving, DrivingConfig):
        raise SystemExit(f"{CONFIG}: the benchmark clones drives")
    return replace(
        config,
        data=str(bench_store()),
        environment=replace(driving, num_worlds=cores, threads=1),
        algorithm=replace(
            algorithm,
            minibatch_size=minibatch_size,
            trajectory=heads or algorithm.trajectory,
            dagger=DaggerConfig(),
        ),
        training=replace(config.training, epochs=1000, threads=1, processes=cores, device="cpu"),
    )


def _figure(name: str, config: ExperimentConfig, minibatch_size: int, cores: int) -> Figure:
    def conditions(experiment: Experiment) -> dict[str, Any]:
        heads = sum(p.numel() for head in experiment.heads.values() for p in head.parameters())
        return {"head_parameters": heads, "minibatch_size": minibatch_size}

    return learning_figure(
        f"BC end to end, {name}, minibatch {minibatch_size:,}",
        config,
        cores=cores,
        work=lambda result: float(result.metrics["sps_samples"]) * sum(result.seconds.values()),
        unit="samples/s",
        parts=("load", "learn"),
        conditions=conditions,
    )


if __name__ == "__main__":
    print_figures(measure_and_store("bc", measure))
