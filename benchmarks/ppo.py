"""Agent-steps per second of PPO end to end: simulate, infer, learn, with the default config.

python benchmarks/ppo.py
"""

from __future__ import annotations

import time
from dataclasses import replace

from bench_scenes import bench_store
from drivetrain.config import load_config
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer.experiment import Experiment, ExperimentConfig, build_experiment, resolve_device
from drivetrain.trainer.learner_processes import LearnerProcesses
from figures import ROOT, Figure, figure, measure_and_store, pinned, print_figures, window_rates

CONFIG = ROOT / "python" / "configs" / "planning" / "ppo.yaml"
WINDOWS = 15


def measure() -> list[Figure]:
    """Return the rates of whole iterations on one core (CPU time) and two (wall time)."""
    figures = []
    for cores in (1, 2):
        with pinned(cores) as got:
            if got == cores:
                figures.append(_figure(cores))
    return figures


def _figure(cores: int) -> Figure:
    config = resolve_device(load_config(CONFIG, ExperimentConfig))
    driving = config.environment
    if not isinstance(driving, DrivingConfig):
        raise SystemExit(f"{CONFIG}: the benchmark needs a driving environment")
    config = replace(
        config,
        data=str(bench_store()),
        environment=replace(driving, threads=1),
        training=replace(config.training, threads=1, processes=cores, device="cpu"),
    )
    with LearnerProcesses(cores) as learners:
        experiment = build_experiment(config, root=ROOT, commit=None, say=lambda _: None, learners=learners)
        return _measure(experiment, cores)


def _measure(experiment: Experiment, cores: int) -> Figure:
    config, algorithm = experiment.config, experiment.algorithm
    driving = config.environment
    assert isinstance(driving, DrivingConfig)
    shares: dict[str, float] = {"sim": 0.0, "infer": 0.0, "learn": 0.0}

    def window() -> float:
        result = algorithm.iterate()
        for name in shares:
            shares[name] += result.seconds.get(name, 0.0)
        return result.agent_steps

    clock = time.process_time if cores == 1 else time.perf_counter
    rates = window_rates(window, clock=clock, windows=WINDOWS, warm_up=3)
    experiment.environment.close()
    total = sum(shares.values()) or 1.0
    return figure(
        f"PPO end to end, {cores} core{'s' if cores > 1 else ''}",
        rates,
        unit="agent-steps/s",
        policy=f"ActorCritic, {sum(p.numel() for p in experiment.policy.parameters()):,} parameters",
        precision=config.policy.precision,
        epochs=config.algorithm.epochs,
        minibatch_size=config.algorithm.minibatch_size,
        rollout_steps=config.algorithm.rollout_steps,
        clock="CPU time, pinned" if cores == 1 else "wall time, pinned",
        cores=cores,
        processes=cores,
        observation=f"{CANONICAL.name}, float32",
        observation_bytes=CANONICAL.size * 4,
        N=driving.num_worlds * driving.rows_per_world,
        W=driving.num_worlds,
        control=driving.control,
        traffic=driving.traffic,
        share_of_time={name: round(seconds / total, 2) for name, seconds in shares.items()},
    )


if __name__ == "__main__":
    print_figures(measure_and_store("ppo", measure))
