"""Closed-loop evaluation: every scenario once, all of them side by side, by one engine whoever drives.

W worlds (one per scenario), E scored scenarios.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.data import scenario_store
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import UsageError, nearest
from drivetrain.planners.constant_velocity import ConstantVelocity
from drivetrain.planners.idm import IntelligentDriver
from drivetrain.planners.trajectory import Planner, StatefulPlanner
from drivetrain.sim import route_ahead
from drivetrain.sim.bank_cache import cached_bank
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.kernel_cache import source_hash
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.scene_bank import SceneBank, build_bank
from drivetrain.trainer.drivers import Driver, ExpertDriver, LogDriver, PlannerDriver, Policy, PolicyDriver
from drivetrain.trainer.evaluation_result import GYMNASIUM_METRICS, METRICS, EvaluationResult, result_of
from drivetrain.trainer.scenario_choice import choose_rows, fingerprint_of, load_rows
from drivetrain.trainer.traffic_choice import TrafficChoice, choose_traffic
from drivetrain.trainer.trajectory_recorder import Recorder

REFERENCE_PLANNERS = ("log_replay", "constant_velocity", "idm", "expert")
"""The reference rows of every evaluation, in the order in which they are shown."""
WORLDS_AT_ONCE = 1024
"""More scenarios than this are evaluated in several batches, to bound memory; results do not depend on it."""
HELD_OUT_SEED = 7_919_000
"""Keeps the starts of evaluation episodes apart from those of a training with the same seed (Gymnasium)."""
STATISTIC = {
    "collision_at_fault_rate": "collision",
    "collision_any_rate": "collision_any",
    "offroad_rate": "offroad",
    "red_light_rate": "red_light",
    "goal_rate": "goal",
}
"""What the environment calls a rate's events; other metrics have the same name there."""
Progress = Callable[[int, int], None]
"""Called with (finished, all) scenarios."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationScenes:
    """A fixed set of scenarios, compiled for simulation."""

    bank: SceneBank
    scenarios: Mapping[str, Scenario]
    """By scenario id."""
    data: str
    """Where they come from."""
    fingerprint: str
    """Identifies the choice of scenarios, and their content where it is known."""
    content_known: bool
    """They come from a store, which knows a fingerprint of what is in it."""
    split: str
    every_route: bool = False
    """Every vehicle that drives has a route, not only the ego."""
    route: str = "log"
    """What the egos are told of their way, see ``DrivingConfig.route``."""


def load_scenes(
    data: str | Path | ScenarioStore | Sequence[Scenario],
    *,
    split: str = "val",
    episodes: int | None = None,
    seed: int = 0,
    rows: NDArray[np.int64] | None = None,
) -> EvaluationScenes:
    """Return the scenarios of a split, or ``episodes`` of them drawn by ``seed``, ready for simulation.

    ``rows`` names them where they have been chosen already.

    Raises:
        DataError: There is no such store or split, or nothing in it can be simulated.
    """
    opened = ScenarioStore(data) if isinstance(data, str | Path) else data
    if rows is None:
        rows = choose_rows(opened, split=split, episodes=episodes, seed=seed)
    chosen = load_rows(opened, rows)
    is_store = isinstance(opened, ScenarioStore)
    origin, content = (str(opened.path), opened.fingerprint) if is_store else ("scenarios", "")
    fingerprint = fingerprint_of(content, [s.scenario_id for s in chosen])
    return EvaluationScenes(
        bank=_compiled(fingerprint, chosen) if content else build_bank(chosen),
        scenarios={s.scenario_id: s for s in chosen},
        data=origin,
        fingerprint=fingerprint,
        content_known=bool(content),
        split=split,
    )


def _compiled(
    fingerprint: str, scenarios: list[Scenario], *, every_route: bool = False, route: str = "log"
) -> SceneBank:
    content = f"{fingerprint} {source_hash(scenario_store.__file__)} evaluation{' of all' if every_route else ''}"
    if route != "log":
        content += f" {route} {source_hash(route_ahead.__file__)}"
    return cached_bank(
        content,
        lambda: build_bank(scenarios, all_controllable=every_route, route_of=route_ahead.ROUTES[route]),
    )


def with_routes(scenes: EvaluationScenes, *, every: bool = False, route: str | None = None) -> EvaluationScenes:
    """Return the same scenes with other routes.

    Args:
        scenes: The scenes.
        every: Every vehicle that drives has one, as self-play needs.
        route: What the egos are told of theirs, see ``DrivingConfig.route``; None: as they are.
    """
    every, route = every or scenes.every_route, route or scenes.route
    if (every, route) == (scenes.every_route, scenes.route):
        return scenes
    chosen = list(scenes.scenarios.values())
    bank = (
        _compiled(scenes.fingerprint, chosen, every_route=every, route=route)
        if scenes.content_known
        else build_bank(chosen, all_controllable=every, route_of=route_ahead.ROUTES[route])
    )
    return replace(scenes, bank=bank, every_route=every, route=route)


def evaluate_policy(
    policy: Policy,
    scenes: EvaluationScenes,
    *,
    name: str,
    traffic: str | TrafficChoice = "replay",
    deterministic: bool = True,
    temperature: float = 1.0,
    seed: int = 0,
    driving: DrivingConfig | None = None,
    device: str | torch.device = "cpu",
    recorder: Recorder | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Return the result of a policy whose actions drive the vehicle model directly.

    Args:
        policy: Acts on observations [N, D].
        scenes: From :func:`load_scenes`.
        name: How the row is called, e.g. the checkpoint's path.
        traffic: How everybody else drives, see ``traffic_kinds``.
        deterministic: Do not draw actions (see ``ActorCritic.act``).
        temperature: Divides the logits of a policy that draws.
        seed: Of those draws.
        driving: The environment the policy was trained in (action space, actuator lags, rewards).
        device: Where the policy lives.
        recorder: Takes what was driven.
        progress: Called as scenarios finish.
    """
    driver = policy_driver(policy, deterministic=deterministic, temperature=temperature, seed=seed, device=device)
    inputs: dict[str, Any] = {"deterministic": deterministic}
    if not deterministic:
        inputs.update(temperature=temperature, seed=seed)
    if driving is not None:
        scenes = with_routes(scenes, route=driving.route)
    return _evaluate(
        driver, scenes, name=name, traffic=traffic, driving=driving, seed=seed, inputs=inputs, recorder=recorder,
        progress=progress,
    )  # fmt: skip


def evaluate_planner(
    planner: Planner | StatefulPlanner | str,
    scenes: EvaluationScenes,
    *,
    name: str | None = None,
    traffic: str | TrafficChoice = "replay",
    seed: int = 0,
    driving: DrivingConfig | None = None,
    recorder: Recorder | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Return the result of a reference planner (by its name) or of any callable from a view to a trajectory.

    Raises:
        UsageError: There is no such reference planner.
    """
    driver: Driver
    if planner == "log_replay":
        driver, label = LogDriver(), "log_replay"
    elif planner == "expert":
        driver, label = ExpertDriver(), "expert"
        driving = replace(driving or DrivingConfig(), action="discrete")
    else:
        label = name or planner_name(planner)
        driver = PlannerDriver(planner=_planner(planner), name=label, scenarios=scenes.scenarios)
    return _evaluate(
        driver, scenes, name=name or label, traffic=traffic, driving=driving, seed=seed, inputs={}, recorder=recorder,
        progress=progress,
    )  # fmt: skip


def evaluate_gymnasium(
    policy: Policy,
    environment: GymnasiumConfig,
    *,
    name: str,
    episodes: int = 100,
    deterministic: bool = True,
    temperature: float = 1.0,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> EvaluationResult:
    """Return the result of a policy over ``episodes`` episodes of a Gymnasium environment."""
    if episodes < 1:
        raise UsageError(f"episodes: {episodes} is too few; use 1 or more")
    driver = policy_driver(policy, deterministic=deterministic, temperature=temperature, seed=seed, device=device)
    from drivetrain.algorithms.gymnasium_environment import GymnasiumEnvironment  # Gymnasium comes with it

    env = GymnasiumEnvironment(replace(environment, num_worlds=episodes), seed=HELD_OUT_SEED + seed)
    try:
        values = _roll_out(env, driver, env.current_observation(), None)
    finally:
        env.close()
    return result_of(
        {metric: values[metric] for metric in GYMNASIUM_METRICS},
        kinds=GYMNASIUM_METRICS,
        planner=name,
        traffic="",
        dynamics="",
        scenario_ids=[str(i) for i in range(episodes)],
        failures={},
        inputs={"environment": environment.id, "deterministic": deterministic, "seed": seed},
    )


def policy_driver(
    policy: Policy, *, deterministic: bool, temperature: float, seed: int, device: str | torch.device
) -> PolicyDriver:
    """Return a driver that takes a policy's actions."""
    return PolicyDriver(
        policy=policy,
        deterministic=deterministic,
        temperature=temperature,
        device=torch.device(device),
        generator=torch.Generator(device=device).manual_seed(seed),
    )


def planner_name(planner: Planner | StatefulPlanner | str) -> str:
    """Return what a planner is called: a reference planner's name, else that of the function or class."""
    return planner if isinstance(planner, str) else getattr(planner, "__name__", type(planner).__name__)


def check_plans(planner: object) -> None:
    """Check that something given as a planner can be one; a class in place of an instance is the likeliest slip.

    Raises:
        UsageError: It is neither callable, nor begins, nor names anything.
    """
    if isinstance(planner, type):
        raise UsageError(f"planner: {planner.__name__} is a class; give an instance of it: {planner.__name__}(...)")
    if not (isinstance(planner, (str, Path)) or callable(planner) or hasattr(planner, "begin")):
        raise UsageError(
            f"planner: an object of type {type(planner).__name__} plans nothing; give a callable, an object with "
            "begin(view), a name or the path of a checkpoint"
        )


def _planner(planner: Planner | StatefulPlanner | str) -> Planner | StatefulPlanner:
    if not isinstance(planner, str):
        return planner
    if planner == "constant_velocity":
        return ConstantVelocity()
    if planner == "idm":
        return IntelligentDriver()
    raise UsageError(
        f"planner: '{planner}' is not one of {', '.join(REFERENCE_PLANNERS)}{nearest(planner, REFERENCE_PLANNERS)}"
    )


def _evaluate(
    driver: Driver,
    scenes: EvaluationScenes,
    *,
    name: str,
    traffic: str | TrafficChoice,
    driving: DrivingConfig | None,
    seed: int,
    inputs: Mapping[str, Any],
    recorder: Recorder | None,
    progress: Progress | None,
) -> EvaluationResult:
    around = choose_traffic(traffic)
    if around.policy is not None:
        scenes = with_routes(scenes, every=True)
    config = replace(driving or DrivingConfig(), control="ego", traffic=around.environment_kind, at_goal="end")
    count = len(scenes.bank)
    parts = []
    if progress is not None:
        progress(0, count)
    for first in range(0, count, WORLDS_AT_ONCE):
        worlds = min(WORLDS_AT_ONCE, count - first)
        env = DrivingEnv(
            scenes.bank,
            replace(config, num_worlds=worlds),
            sequential=True,
            automatic_reset=False,
            perturb=False,
            compute_ttc=True,
            first_world=first,
            num_worlds_global=count,
            traffic_driver=around.driver(),
        )
        report = None if progress is None else _offset(progress, first, count)
        try:
            parts.append(_roll_out(env, driver, env.reset(seed=seed), report, recorder))
            if recorder is not None:
                recorder.end(env, scenes.scenarios, logged=driver.dynamics == "log", without=driver.failures)
        finally:
            env.close()
    scored = np.array([scenario not in driver.failures for scenario in scenes.bank.scenario_ids])
    values = {metric: np.concatenate([part[STATISTIC.get(metric, metric)] for part in parts]) for metric in METRICS}
    values = {metric: found[scored] for metric, found in values.items()}
    return result_of(
        values,
        kinds=METRICS,
        planner=name,
        traffic=around.name,
        dynamics=driver.dynamics,
        scenario_ids=[scenario for scenario in scenes.bank.scenario_ids if scenario not in driver.failures],
        failures={**scenes.bank.dropped, **driver.failures},
        inputs={"data": scenes.data, "data_fingerprint": scenes.fingerprint, "split": scenes.split, **inputs},
    )


def _offset(progress: Progress, first: int, count: int) -> Callable[[int], None]:
    return lambda finished: progress(first + finished, count)


def _roll_out(
    env: Any,
    driver: Driver,
    observation: NDArray[np.float32],
    report: Callable[[int], None] | None,
    recorder: Recorder | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return the statistics of the first episode of every row, by name, each of shape [N]."""
    waiting = np.ones(env.num_rows, dtype=np.bool_)
    if recorder is not None:
        recorder.drives.begin(env)
    values: dict[str, NDArray[np.float64]] = {}
    while waiting.any():
        result = driver.step(env, observation)
        observation = result.observation
        if recorder is not None:
            recorder.drives.take(env, waiting)
        if not len(result.final_rows):
            continue
        first_time = waiting[result.final_rows]
        rows = result.final_rows[first_time]
        for metric, ended in result.episodes.items():
            values.setdefault(metric, np.zeros(env.num_rows))[rows] = ended[first_time]
        waiting[rows] = False
        if report is not None:
            report(int((~waiting).sum()))
    return values
