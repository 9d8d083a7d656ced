"""Agent-steps per second of PPO end to end: simulate, infer, learn, gradients exchanged.

The default config, and the smallest network on the most compact observation, where the simulator and the loop show.

python benchmarks/ppo.py
"""

from __future__ import annotations

import time
from dataclasses import replace

from bench_scenes import bench_store
from drivetrain.algorithms.ppo import PPOConfig
from drivetrain.config import load_config
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.observation import CANONICAL, OBSERVATION_DTYPES
from drivetrain.trainer.experiment import Experiment, ExperimentConfig, build_experiment, resolve_device
from drivetrain.trainer.learner_processes import LearnerProcesses
from figures import ROOT, Figure, figure, measure_and_store, pinned, print_figures, window_rates

CONFIG = ROOT / "python" / "configs" / "planning" / "ppo.yaml"
WINDOWS = 15


def measure() -> list[Figure]:
    """Return the rates of whole iterations on one core (CPU time) and two (wall time)."""
    figures = []
    for name, change in (("default policy", _as_it_is), ("MLP 64-64, int8", _small_and_fast)):
        for cores in (1, 2):
            with pinned(cores) as got:
                if got == cores:
                    figures.append(_figure(name, change(_config(cores)), cores))
    return figures


def _config(cores: int) -> ExperimentConfig:
    config = resolve_device(load_config(CONFIG, ExperimentConfig))
    return replace(
        config,
        data=str(bench_store()),
        environment=replace(_driving(config), threads=1),
        training=replace(config.training, threads=1, processes=cores, device="cpu"),
    )


def _driving(config: ExperimentConfig) -> DrivingConfig:
    if not isinstance(config.environment, DrivingConfig):
        raise SystemExit(f"{CONFIG}: the benchmark needs a driving environment")
    return config.environment


def _as_it_is(config: ExperimentConfig) -> ExperimentConfig:
    return config


def _small_and_fast(config: ExperimentConfig) -> ExperimentConfig:
    return replace(
        config,
        environment=replace(_driving(config), num_worlds=4096, observation_dtype="int8"),
        algorithm=replace(config.algorithm, epochs=1, minibatch_size=8192),
        policy=replace(config.policy, encoder="flat", precision="bfloat16"),
    )


def _figure(name: str, config: ExperimentConfig, cores: int) -> Figure:
    with LearnerProcesses(cores) as learners:
        experiment = build_experiment(config, root=ROOT, commit=None, say=lambda _: None, learners=learners)
        return _measure(name, experiment, cores)


def _measure(name: str, experiment: Experiment, cores: int) -> Figure:
    config, algorithm = experiment.config, experiment.algorithm
    driving = _driving(config)
    shares: dict[str, float] = {"sim": 0.0, "infer": 0.0, "learn": 0.0}

    def window() -> float:
        result = algorithm.iterate()
        for part in shares:
            shares[part] += result.seconds.get(part, 0.0)
        return result.agent_steps

    clock = time.process_time if cores == 1 else time.perf_counter
    rates = window_rates(window, clock=clock, windows=WINDOWS, warm_up=3)
    experiment.environment.close()
    assert isinstance(config.algorithm, PPOConfig)
    total = sum(shares.values()) or 1.0
    assert isinstance(config.algorithm, PPOConfig)
    return figure(
        f"PPO end to end, {name}, {cores} core{'s' if cores > 1 else ''}",
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
        observation=f"{CANONICAL.name}, {driving.observation_dtype}",
        observation_bytes=CANONICAL.size * OBSERVATION_DTYPES[driving.observation_dtype]().itemsize,
        N=driving.num_worlds * driving.rows_per_world,
        W=driving.num_worlds,
        control=driving.control,
        traffic=driving.traffic,
        share_of_time={part: round(seconds / total, 2) for part, seconds in shares.items()},
    )


if __name__ == "__main__":
    print_figures(measure_and_store("ppo", measure))
