"""Agent-steps per second of PPO end to end: simulate, infer, learn, gradients exchanged.

The default config, and the smallest network on the most compact observation, where the simulator and the loop show.

python benchmarks/ppo.py
"""

from __future__ import annotations

from dataclasses import replace

from bench_scenes import bench_store
from drivetrain.algorithms.ppo import PPOConfig
from drivetrain.config import load_config
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.observation import CANONICAL, OBSERVATION_DTYPES
from drivetrain.trainer.experiment import ExperimentConfig, resolve_device
from figures import ROOT, Figure, measure_and_store, pinned, print_figures
from learning import learning_figure

CONFIG = ROOT / "python" / "configs" / "planning" / "ppo.yaml"


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
    driving, algorithm = _driving(config), config.algorithm
    assert isinstance(algorithm, PPOConfig)
    conditions = {
        "epochs": algorithm.epochs,
        "minibatch_size": algorithm.minibatch_size,
        "rollout_steps": algorithm.rollout_steps,
        "observation_bytes": CANONICAL.size * OBSERVATION_DTYPES[driving.observation_dtype]().itemsize,
        "N": driving.num_worlds * driving.rows_per_world,
        "W": driving.num_worlds,
        "control": driving.control,
        "traffic": driving.traffic,
    }
    return learning_figure(
        f"PPO end to end, {name}",
        config,
        cores=cores,
        work=lambda result: result.agent_steps,
        unit="agent-steps/s",
        parts=("sim", "infer", "learn"),
        conditions=lambda experiment: conditions,
    )


if __name__ == "__main__":
    print_figures(measure_and_store("ppo", measure))
