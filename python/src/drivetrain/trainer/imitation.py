"""What an imitation learns from, and what it is only looked at with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from drivetrain.algorithms.gail import ExpertRows
from drivetrain.algorithms.gymnasium_environment import GymnasiumConfig
from drivetrain.data.demonstrations import DemonstrationConfig, Demonstrations
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.sim.env import DrivingConfig
from drivetrain.trainer.demonstration_choice import load_demonstrations
from drivetrain.trainer.training_config import EvaluationConfig
from drivetrain.trainer.training_scenes import TrainingScenes


@dataclass(frozen=True, kw_only=True, slots=True)
class Imitated:
    """Demonstrations, split by log."""

    demonstrations: Demonstrations
    """To learn from."""
    held_out: Demonstrations
    """To measure open-loop errors on: other logs, or other episodes."""


def imitated(
    config: DemonstrationConfig,
    environment: DrivingConfig | GymnasiumConfig,
    *,
    store: ScenarioStore | None,
    max_scenes: int,
    evaluation: EvaluationConfig,
    held_out_share: float,
    seed: int,
    say: Callable[[str], None],
    is_shown: bool,
) -> Imitated:
    """Return the demonstrations of the training split and of as many scenes of the evaluation's split as it scores.

    Args:
        config: Which expert, and how.
        environment: Where it acts.
        store: Whose logs are re-driven; None where nothing drives.
        max_scenes: Most training scenes.
        evaluation: Which scenes are held out.
        held_out_share: Share of the episodes held out where nothing drives.
        seed: Of the choices.
        say: Told how many there are.
        is_shown: Show a progress bar where making them takes long.

    Raises:
        DrivetrainError: There are no such demonstrations.
    """
    if isinstance(environment, GymnasiumConfig):
        made = load_demonstrations(config, environment, say=say)
        learnt, held_out = made.split(held_out_share, seed=seed)
        return Imitated(demonstrations=learnt, held_out=held_out)
    assert store is not None

    def scenes(split: str, most: int, seed: int) -> TrainingScenes:
        return TrainingScenes.choose(
            store,
            split=split,
            most=most,
            seed=seed,
            all_controllable=config.agents == "all" or environment.control == "all",
            min_distance_m=environment.min_distance_m,
        )

    learnt = load_demonstrations(config, environment, scenes("train", max_scenes, seed), say=say, is_shown=is_shown)
    other = scenes(evaluation.split, evaluation.episodes, evaluation.seed)
    return Imitated(
        demonstrations=learnt,
        held_out=load_demonstrations(
            replace(config, displaced_passes=0), environment, other, say=lambda text: say(f"held out: {text}")
        ),
    )


def expert_rows(
    config: DemonstrationConfig,
    environment: DrivingConfig | GymnasiumConfig,
    *,
    store: ScenarioStore | None,
    max_scenes: int,
    seed: int,
    say: Callable[[str], None],
    is_shown: bool,
) -> ExpertRows:
    """Return the undisturbed episodes of the expert in the very scenes in which the policy will act.

    Args:
        config: Which expert, and how.
        environment: Where it acts.
        store: Whose logs are re-driven; None where nothing drives.
        max_scenes: Most training scenes.
        seed: Of their choice.
        say: Told how many there are.
        is_shown: Show a progress bar where making them takes long.

    Raises:
        DrivetrainError: There are no such demonstrations.
    """
    drives = not isinstance(environment, GymnasiumConfig)
    scenes = None
    if drives:
        assert store is not None
        scenes = TrainingScenes.choose(
            store,
            split="train",
            most=max_scenes,
            seed=seed,
            all_controllable=config.agents == "all" or environment.control == "all",
            min_distance_m=environment.min_distance_m,
        )
    shown = load_demonstrations(config, environment, scenes, say=say, is_shown=is_shown)
    if shown.displaced.any():
        shown = shown.take_episodes(np.flatnonzero(~shown.displaced))
    is_discrete = environment.action == "discrete" if drives else len(shown.action_index) > 0
    return ExpertRows(
        observation=shown.observation,
        action=shown.action_index.astype(np.int64) if is_discrete else shown.action,
        # A log that is over, or at its goal, did not fail.
        num_terminated=0 if drives else int(shown.terminated.sum()),
    )
