"""What scores a policy while it trains: closed-loop drives, or episodes, on a fixed set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.run_record import DataChoice
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.traffic_kinds import labels
from drivetrain.trainer.drivers import Policy
from drivetrain.trainer.evaluation import (
    evaluate_gymnasium,
    evaluate_planner,
    evaluate_policy,
    load_scenes,
    with_routes,
)
from drivetrain.trainer.evaluation_result import EvaluationResult
from drivetrain.trainer.motion_histograms import MotionHistograms
from drivetrain.trainer.traffic_choice import TrafficChoice, choose_traffic
from drivetrain.trainer.traffic_panel import panel_metrics
from drivetrain.trainer.training_config import EvaluationConfig
from drivetrain.trainer.unity_evaluation import evaluate_unity

Arena = Callable[[Policy], dict[str, float]]
"""Scores a policy on the fixed evaluation episodes: the mean of every metric by its name."""


def gymnasium_arena(env: GymnasiumConfig, evaluation: EvaluationConfig) -> tuple[Arena, DataChoice]:
    """Return what scores policies in a Gymnasium environment, and what stands for its data."""

    def arena(policy: Policy) -> dict[str, float]:
        return _means(
            evaluate_gymnasium(policy, env, name="policy", episodes=evaluation.episodes, seed=evaluation.seed)
        )

    import gymnasium

    version = f"gymnasium-{gymnasium.__version__}"
    return arena, DataChoice(path=f"gymnasium:{env.id}", fingerprint=version, choice="environment")


def unity_arena(env: UnityConfig, evaluation: EvaluationConfig, *, root: Path) -> tuple[Arena, DataChoice]:
    """Return what scores policies in players of their own, and what stands for their data."""
    from drivetrain.mlagents.messages import COMMUNICATION_VERSION

    def arena(policy: Policy) -> dict[str, float]:
        return _means(
            evaluate_unity(policy, env, name="policy", episodes=evaluation.episodes, seed=evaluation.seed, root=root)
        )

    version = f"ml-agents-{COMMUNICATION_VERSION}"
    return arena, DataChoice(path=f"unity:{env.path}", fingerprint=version, choice="environment")


def driving_arena(
    env: DrivingConfig,
    evaluation: EvaluationConfig,
    store: ScenarioStore,
    *,
    device: str,
    root: Path,
    say: Callable[[str], None],
) -> Arena:
    """Return what scores policies in held-out scenes of a store.

    Args:
        env: The worlds they learn in.
        evaluation: Which scenes, and what traffic.
        store: Of the scenes.
        device: Where policies compute.
        root: The project root, for the checkpoints that drive others.
        say: Told what was chosen.
    """
    panel = [choose_traffic(name, root=root) for name in evaluation.traffics]
    found = load_scenes(store, split=evaluation.split, episodes=evaluation.episodes, seed=evaluation.seed)
    scenes = with_routes(found, route=env.route)
    every_route = with_routes(scenes, every=True) if any(traffic.policy for traffic in panel) else scenes
    names = ", ".join(evaluation.traffics)
    say(f"evaluation: {len(scenes.bank):,} scenes of split '{evaluation.split}', traffic {names}")
    if evaluation.split == "train":
        say("evaluation.split is train: the policy is judged, and best.pt chosen, on scenes it learns from; use val")
    logged = MotionHistograms() if evaluation.compare_motion else None
    if logged is not None:
        evaluate_planner("log_replay", scenes, driving=env, recorder=logged)

    def score(policy: Policy, traffic: TrafficChoice) -> dict[str, float]:
        driven = None if logged is None else MotionHistograms()
        result = evaluate_policy(
            policy,
            every_route if traffic.policy else scenes,
            name="policy",
            traffic=traffic,
            seed=evaluation.seed,
            driving=env,
            device=device,
            recorder=driven,
        )
        alike = {} if driven is None or logged is None else driven.divergence(logged)
        return {**_means(result), **alike}

    shown = labels(evaluation.traffics)
    return lambda policy: panel_metrics(
        {label: score(policy, traffic) for label, traffic in zip(shown, panel, strict=True)}
    )


def _means(result: EvaluationResult) -> dict[str, float]:
    """Return the mean of every metric that was measured."""
    return {name: value.mean for name, value in result.metrics.items() if value.mean is not None}
