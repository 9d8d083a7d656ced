"""The scenes a player drives in: compiled once, kept on disk, shared by all players of the same data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import UsageError
from drivetrain.mlagents_player.driving import DrivingAgents
from drivetrain.sim.env import DrivingConfig
from drivetrain.trainer.training_scenes import TrainingScenes

MOST_SCENES = 2000
"""Scenes compiled at most; beyond that a player would start slowly."""
MOST_WORLDS = 512
"""Agents of one player at most: a step in which every episode ends must stay below gRPC's 4 MB."""


def agents(
    data: Path, *, num_worlds: int, split: str, seed: int, say: Callable[[str], None], is_shown: bool = False
) -> DrivingAgents:
    """Return the driving task over the scenes of a store.

    Args:
        data: A scenario store.
        num_worlds: Agents.
        split: Which part of the store.
        seed: Of everything random.
        say: Takes lines of the log.
        is_shown: Show a progress bar where compiling takes long.

    Raises:
        UsageError: Too many worlds, or none.
        DataError: There is no such store, or no scene in it that can be driven.
    """
    check_worlds(num_worlds)
    config = player_config(num_worlds)
    scenes = TrainingScenes.choose(
        ScenarioStore(data),
        split=split,
        most=MOST_SCENES,
        seed=0,  # of the choice of scenes: the same for all players, so that they share the compiled ones
        all_controllable=False,
        min_distance_m=config.min_distance_m,
    )
    return DrivingAgents(scenes.compile(say=say, is_shown=is_shown), config, seed=seed, say=say)


def player_config(num_worlds: int) -> DrivingConfig:
    """Return the worlds of a player whose knobs nobody has turned."""
    return DrivingConfig(num_worlds=num_worlds, traffic="replay", action="continuous", threads=1)


def check_worlds(num_worlds: int) -> None:
    """Raise a UsageError where a player cannot have so many agents."""
    if not 1 <= num_worlds <= MOST_WORLDS:
        raise UsageError(
            f"--worlds {num_worlds}: a player has 1 to {MOST_WORLDS} agents (a step must stay below gRPC's 4 MB); "
            "for more give mlagents-learn --num-envs N"
        )
