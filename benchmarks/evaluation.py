"""Closed-loop evaluation: how fast planners are scored, and how closely the discrete actions can follow a log.

    python benchmarks/evaluation.py [DATA]

``DATA`` is a scenario store (default: the sample); its ``val`` split is used.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from drivetrain.planners.constant_velocity import ConstantVelocity
from drivetrain.planners.state_match import match_actions
from drivetrain.planners.trajectory import PlannedTrajectory
from drivetrain.planners.view import ScenarioView
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.scene_arrays import X, Y
from drivetrain.trainer.evaluate import open_store
from drivetrain.trainer.evaluation import REFERENCE_PLANNERS, EvaluationScenes, evaluate_planner, load_scenes
from figures import Figure, figure, measure_and_store, pinned, print_figures

HORIZONS = (2, 3, 4, 5, 7, 10)
MATCH_SCENES = 100


def scenarios_per_second(scenes: EvaluationScenes) -> list[Figure]:
    """Scenarios per second of CPU time for every reference planner."""
    found = []
    for name in REFERENCE_PLANNERS:
        evaluate_planner(name, scenes)
        rates = []
        for _ in range(5):
            start = time.process_time()
            result = evaluate_planner(name, scenes)
            rates.append(result.scored / (time.process_time() - start))
        found.append(figure(f"evaluation_{name}", rates, unit="scenarios/s", scenarios=len(scenes.bank), cores=1))
    return found


def own_planner(scenes: EvaluationScenes, *, scenarios: int) -> Figure:
    """Planner calls per second of CPU time, views and tracker included, for a callable that costs next to nothing."""
    plan = ConstantVelocity()

    def straight_on(view: ScenarioView) -> PlannedTrajectory:
        return plan(view)

    rates = []
    for _ in range(5):
        start = time.process_time()
        result = evaluate_planner(straight_on, scenes)
        rates.append(float(result.values["episode_length"].sum()) / (time.process_time() - start))
    return figure(f"evaluation_own_planner_{scenarios}", rates, unit="steps/s", scenarios=scenarios, cores=1)


def match(scenes: EvaluationScenes, horizon: int) -> list[Figure]:
    """Distance between the re-driven and the logged ego over all steps, and the mean absolute jerk."""
    bank = scenes.bank
    config = DrivingConfig(num_worlds=len(bank), threads=1)
    env = DrivingEnv(bank, config, sequential=True, automatic_reset=False, perturb=False)
    env.reset(seed=0)
    errors: list[float] = []
    jerks: list[float] = []
    while env.state.running.any():
        result = env.step(match_actions(bank.arrays, env.state, horizon=horizon))
        jerks.extend(result.episodes.get("mean_abs_jerk", np.zeros(0)).tolist())
        for world in np.flatnonzero(env.state.running).tolist():
            logged = bank.log_of(world)[env.state.frame[world]]
            own = env.state.agents[world, :, 0]
            errors.append(float(np.hypot(own[X] - logged[X, 0], own[Y] - logged[Y, 0])))
    conditions = {"horizon": horizon, "scenarios": len(bank), "steps": len(errors)}
    return [
        figure(f"match_error_mean_{horizon}", [float(np.mean(errors))], unit="m", **conditions),
        figure(f"match_error_p95_{horizon}", [float(np.quantile(errors, 0.95))], unit="m", **conditions),
        figure(f"match_jerk_{horizon}", [float(np.mean(jerks))], unit="m/s^3", **conditions),
    ]


def measure(data: str) -> list[Figure]:
    """Return all figures."""
    store = open_store(data)
    scenes, few = load_scenes(store), load_scenes(store, episodes=MATCH_SCENES)
    with pinned(1):
        found = scenarios_per_second(scenes)
        found.append(own_planner(load_scenes(store, episodes=1), scenarios=1))
        found.append(own_planner(few, scenarios=MATCH_SCENES))
        for horizon in HORIZONS:
            found += match(few, horizon)
    return found


def main() -> None:
    """Measure, store and print."""
    data = sys.argv[1] if len(sys.argv) > 1 else "auto"
    print_figures(measure_and_store("evaluation", lambda: measure(data)))


if __name__ == "__main__":
    main()
