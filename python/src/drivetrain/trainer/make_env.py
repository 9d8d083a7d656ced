"""The driving simulator for other people's learning code: ``make_env``, and what Gymnasium's own makers call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import UsageError, nearest
from drivetrain.registration import DRIVING
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.gymnasium_vector import GymnasiumVector
from drivetrain.sim.gymnasium_world import GymnasiumWorld
from drivetrain.sim.route_ahead import ROUTES
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.scene_bank import SceneBank, build_bank
from drivetrain.trainer.evaluate import open_store
from drivetrain.trainer.scenario_choice import choose_rows, load_rows

Data = str | Path | ScenarioStore | Sequence[Scenario]
Control = Literal["ego", "all"]
Traffic = Literal["replay", "idm", "idm_aggressive", "idm_timid", "both"]
Action = Literal["discrete", "continuous"]
RouteTold = Literal["log", "mission"]

_CHOICES = {
    "control": ("ego", "all"),
    "traffic": get_args(Traffic),
    "action": ("discrete", "continuous"),
    "route": get_args(RouteTold),
}


def make_env(
    data: Data = "auto",
    *,
    split: str = "train",
    max_scenes: int | None = 1000,
    num_worlds: int = 64,
    control: Control = "ego",
    agents_per_world: int = 8,
    traffic: Traffic = "replay",
    action: Action = "discrete",
    route: RouteTold = "log",
    horizon_s: float = 15.0,
    threads: int = 0,
    seed: int = 0,
) -> GymnasiumVector:
    """Return a ``gymnasium.vector.VectorEnv`` of driving worlds.

    Args:
        data: A scenario store, its folder, scenarios, or ``auto``: the nuPlan store, else the sample.
        split: Which part of a store.
        max_scenes: Load at most so many scenes, drawn by ``seed``; None: all.
        num_worlds: Worlds stepped together.
        control: Drive the ego of every world, or up to ``agents_per_world`` vehicles in each.
        agents_per_world: Rows per world with ``control: all``.
        traffic: ``replay``, ``idm`` for traffic that reacts (``idm_aggressive``, ``idm_timid`` by other drivers), or
            ``both``: every second world reacts.
        action: 91 categories, or two numbers in [-1, 1].
        route: What the egos are told of their way: that of the log and where it ended (``log``), or what nuPlan tells
            a planner (``mission``).
        horizon_s: Longest episode [s].
        threads: Threads that step the worlds; 0: as many as the process has cores.
        seed: Draws the scenes, and seeds the first reset unless that gets one.

    Raises:
        DataError: There is no such data; the message says how to make it.
        UsageError: An option has an impossible value.
    """
    _check_choices(control=control, traffic=traffic, action=action, route=route)
    config = DrivingConfig(
        num_worlds=num_worlds,
        control=control,
        agents_per_world=agents_per_world,
        traffic=traffic,
        action=action,
        route=route,
        horizon_s=horizon_s,
        threads=threads,
    )
    bank = _scenes(data, split=split, max_scenes=max_scenes, control=control, route=route, seed=seed)
    return GymnasiumVector(DrivingEnv(bank, config), seed=seed)


def make_vector(
    num_envs: int = 1,
    *,
    data: Data | None = None,
    split: str = "train",
    max_scenes: int | None = 1000,
    control: Control = "ego",
    agents_per_world: int = 8,
    traffic: Traffic = "replay",
    action: Action = "discrete",
    route: RouteTold = "log",
    horizon_s: float = 15.0,
    threads: int = 0,
    seed: int = 0,
) -> GymnasiumVector:
    """Return ``num_envs`` rows: what ``gymnasium.make_vec("drivetrain/Driving-v0", ...)`` calls.

    The options are those of :func:`make_env`, but ``num_envs`` counts rows: with ``control: all`` a multiple of
    ``agents_per_world``.

    Raises:
        DataError: There is no such data; the message says how to make it.
        UsageError: An option is missing or has an impossible value.
    """
    rows = agents_per_world if control == "all" else 1
    if num_envs < 1 or num_envs % rows:
        raise UsageError(
            f"num_envs: {num_envs} is no positive multiple of the {rows} rows per world; "
            f"use {max(round(num_envs / rows), 1) * rows}"
        )
    return make_env(
        _required(data),
        split=split,
        max_scenes=max_scenes,
        num_worlds=num_envs // rows,
        control=control,
        agents_per_world=agents_per_world,
        traffic=traffic,
        action=action,
        route=route,
        horizon_s=horizon_s,
        threads=threads,
        seed=seed,
    )


def make_world(
    *,
    data: Data | None = None,
    split: str = "train",
    max_scenes: int | None = 1000,
    control: Control = "ego",
    traffic: Traffic = "replay",
    action: Action = "discrete",
    route: RouteTold = "log",
    horizon_s: float = 15.0,
    seed: int | None = None,
) -> GymnasiumWorld:
    """Return one world as a plain ``gymnasium.Env``: what ``gymnasium.make("drivetrain/Driving-v0", ...)`` calls.

    The options are those of :func:`make_env`. Episodes start as a batch's do, but always at the first frame of a log.
    Without a ``seed`` the first reset is seeded by Gymnasium's rules, so that several copies differ.

    Raises:
        DataError: There is no such data; the message says how to make it.
        UsageError: An option is missing or has an impossible value.
    """
    _check_choices(control=control, traffic=traffic, action=action, route=route)
    if control != "ego":
        raise UsageError(f"control: '{control}' needs several rows; use gymnasium.make_vec, or control='ego'")
    config = DrivingConfig(num_worlds=1, traffic=traffic, action=action, route=route, horizon_s=horizon_s, threads=1)
    bank = _scenes(_required(data), split=split, max_scenes=max_scenes, control=control, route=route, seed=seed or 0)
    return GymnasiumWorld(DrivingEnv(bank, config, automatic_reset=False, stagger=False), seed=seed)


def _scenes(
    data: Data, *, split: str, max_scenes: int | None, control: Control, route: RouteTold, seed: int
) -> SceneBank:
    opened = open_store(data)
    scenarios = load_rows(opened, choose_rows(opened, split=split, episodes=max_scenes, seed=seed))
    return build_bank(scenarios, all_controllable=control == "all", route_of=ROUTES[route])


def _required(data: Data | None) -> Data:
    if data is None:
        raise UsageError(
            f"{DRIVING}: data is missing; make a sample with 'drivetrain data sample' and give its folder, "
            "data='datasets/processed/sample', or data='auto' to use (or make) what trainings use"
        )
    return data


def _check_choices(**given: str) -> None:
    for name, value in given.items():
        if value not in _CHOICES[name]:
            raise UsageError(
                f"{name}: '{value}' is unknown; use {' or '.join(_CHOICES[name])}{nearest(value, _CHOICES[name])}"
            )
