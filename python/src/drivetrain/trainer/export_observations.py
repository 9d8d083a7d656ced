"""Observations that a policy really meets: it drives recorded scenes, or the episodes of its environment.

N rows, D observation values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.gymnasium_environment import GymnasiumEnvironment
from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.config import from_plain
from drivetrain.errors import CheckpointError, DataError, UsageError
from drivetrain.run_record import project_root
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.observation import decode
from drivetrain.trainer.checkpoint import LoadedPolicy
from drivetrain.trainer.closed_loop_policy import one_thread
from drivetrain.trainer.data_choice import choose_data
from drivetrain.trainer.evaluation import HELD_OUT_SEED, load_scenes

SCENES = 100
"""Scenes that are driven at the same time, at most."""
STRIDE = 5
"""Steps between two observations of a scene: neighbours in time are much alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RealObservations:
    """Rows that a policy met, and where."""

    rows: NDArray[np.float32]
    """Shape [N, D]."""
    source: str
    """Of what they are, for people."""


def real_observations(loaded: LoadedPolicy, count: int, *, data: str | None, split: str) -> RealObservations:
    """Return ``count`` observations of a policy that drives deterministically.

    Args:
        loaded: The policy.
        count: Rows (N).
        data: A scenario store; None: that of the training.
        split: Which part of it.

    Raises:
        DrivetrainError: The checkpoint does not say in what it drove, or the data cannot be used.
    """
    environment = loaded.checkpoint.config.get("environment")
    if not environment:
        raise CheckpointError(
            f"{loaded.path}: holds no config: what it drives in is unknown; use the best.pt or last.pt of a run"
        )
    if environment.get("name") in ("gymnasium", "unity"):
        if data is not None:
            place = environment.get("id") or environment.get("path")
            raise UsageError(f"export: --data: {loaded.path} drives in no scenes, but in {place}; leave it out")
        return _of_episodes(loaded, environment, count)
    store = data or loaded.checkpoint.data.get("path")
    if not store:
        raise UsageError(f"export: {loaded.path} does not say on which data it was trained; name some with --data DIR")
    try:
        opened, choice = choose_data(str(store), project_root(), say=_silent, may_generate=False)
    except DataError as error:
        if data is not None:
            raise
        raise DataError(f"{error}; or name other data with --data DIR") from error
    scenes = load_scenes(opened, split=split, episodes=SCENES)
    driving = from_plain(DrivingConfig, environment)
    driving = replace(driving, control="ego", num_worlds=len(scenes.bank), threads=1)
    env = DrivingEnv(scenes.bank, driving, sequential=True, perturb=False)
    found = _collected(loaded, env, env.reset(seed=0), count)
    return RealObservations(rows=found, source=f"{len(scenes.bank)} scenes of {choice.path} ({split})")


def _of_episodes(loaded: LoadedPolicy, environment: Mapping[str, Any], count: int) -> RealObservations:
    """Return observations of an environment that is no driving of ours, played for them."""
    if environment["name"] == "gymnasium":
        config = from_plain(GymnasiumConfig, environment)
        env: Any = GymnasiumEnvironment(replace(config, num_worlds=50), seed=HELD_OUT_SEED)
        return RealObservations(rows=_collected(loaded, env, env.current_observation(), count), source=config.id)
    from drivetrain.algorithms.unity_environment import UnityEnvironment  # gRPC is loaded by those who play alone

    player = from_plain(UnityConfig, environment)
    env = UnityEnvironment(replace(player, num_players=1), root=project_root(), seed=HELD_OUT_SEED)
    return RealObservations(rows=_collected(loaded, env, env.reset(seed=0), count), source=player.path)


def _collected(loaded: LoadedPolicy, env: Any, observation: NDArray, count: int) -> NDArray[np.float32]:
    kept: list[NDArray[np.float32]] = []
    step = 0
    try:
        with one_thread():
            while sum(len(rows) for rows in kept) < count:
                if step % STRIDE == 0:
                    kept.append(decode(observation).copy())
                observation = env.step(loaded(observation)).observation
                step += 1
    finally:
        env.close()
    return np.concatenate(kept)[:count]


def _silent(message: str) -> None:
    """Say nothing: nothing is generated here."""
