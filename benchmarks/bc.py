"""Samples per second of behaviour cloning end to end: read rows, hide states, learn, gradients exchanged.

The default network and minibatch, with the action head alone and with the trajectory head, without rollouts.

python benchmarks/bc.py
"""

from __future__ import annotations

import time
from dataclasses import replace

from bench_scenes import bench_store
from drivetrain.algorithms.bc import BCConfig
from drivetrain.algorithms.dagger import DaggerConfig
from drivetrain.config import load_config
from drivetrain.models.trajectory_head import TrajectoryConfig
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer.experiment import Experiment, ExperimentConfig, build_experiment, resolve_device
from drivetrain.trainer.learner_processes import LearnerProcesses
from figures import ROOT, Figure, figure, measure_and_store, pinned, print_figures, window_rates

CONFIG = ROOT / "python" / "configs" / "planning" / "bc.yaml"
WINDOWS = 15


def measure() -> list[Figure]:
    """Return the rates of whole iterations on one core (CPU time) and two (wall time)."""
    figures = []
    for name, heads in (("actions", TrajectoryConfig()), ("actions and trajectories", None)):
        for minibatch_size in (512, 2048):
            for cores in (1, 2):
                with pinned(cores) as got:
                    if got == cores:
                        figures.append(_figure(name, _config(cores, heads, minibatch_size), cores))
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


def _figure(name: str, config: ExperimentConfig, cores: int) -> Figure:
    with LearnerProcesses(cores) as learners:
        experiment = build_experiment(config, root=ROOT, commit=None, say=lambda _: None, learners=learners)
        return _measure(name, experiment, cores)


def _measure(name: str, experiment: Experiment, cores: int) -> Figure:
    config, algorithm = experiment.config, experiment.algorithm
    assert isinstance(config.algorithm, BCConfig)
    shares = {"load": 0.0, "learn": 0.0}

    def window() -> float:
        result = algorithm.iterate()
        for part in shares:
            shares[part] += result.seconds[part]
        return float(result.metrics["sps_samples"]) * sum(result.seconds.values())

    clock = time.process_time if cores == 1 else time.perf_counter
    rates = window_rates(window, clock=clock, windows=WINDOWS, warm_up=3)
    total = sum(shares.values())
    heads = sum(p.numel() for head in experiment.heads.values() for p in head.parameters())
    return figure(
        f"BC end to end, {name}, minibatch {config.algorithm.minibatch_size:,}, {cores} core{'s' if cores > 1 else ''}",
        rates,
        unit="samples/s",
        policy=f"ActorCritic, {sum(p.numel() for p in experiment.policy.parameters()):,} parameters, heads {heads:,}",
        precision=config.policy.precision,
        minibatch_size=config.algorithm.minibatch_size,
        clock="CPU time, pinned" if cores == 1 else "wall time, pinned",
        cores=cores,
        processes=cores,
        observation=f"{CANONICAL.name}, {experiment.environment.observation_dtype}",
        share_of_time={part: round(seconds / total, 2) for part, seconds in shares.items()},
    )


if __name__ == "__main__":
    print_figures(measure_and_store("bc", measure))
