"""``make_env``: the driving simulator for other people's learning code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.gymnasium_vector import GymnasiumVector
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.scene_bank import build_bank
from drivetrain.trainer.evaluate import open_store
from drivetrain.trainer.evaluation import choose_scenarios


def make_env(
    data: str | Path | ScenarioStore | Sequence[Scenario] = "auto",
    *,
    split: str = "train",
    max_scenes: int | None = 1000,
    num_worlds: int = 64,
    control: Literal["ego", "all"] = "ego",
    traffic: Literal["replay", "idm"] = "replay",
    action: Literal["discrete", "continuous"] = "discrete",
    seed: int = 0,
) -> GymnasiumVector:
    """Return a ``gymnasium.vector.VectorEnv`` of driving worlds.

    Args:
        data: A scenario store, its folder, scenarios, or ``auto``: the nuPlan store, else the sample.
        split: Which part of a store.
        max_scenes: Load at most so many scenes, drawn by ``seed``; None: all.
        num_worlds: Worlds stepped together.
        control: Drive the ego of every world, or up to eight vehicles in each.
        traffic: ``replay``, or ``idm`` for traffic that reacts.
        action: 91 categories, or two numbers in [-1, 1].
        seed: Draws the scenes, and seeds the first reset unless that gets one.
    """
    scenarios, _, _ = choose_scenarios(open_store(data), split=split, episodes=max_scenes, seed=seed)
    config = DrivingConfig(num_worlds=num_worlds, control=control, traffic=traffic, action=action)
    bank = build_bank(scenarios, all_controllable=control == "all")
    return GymnasiumVector(DrivingEnv(bank, config), seed=seed)
