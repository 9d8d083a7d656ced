"""What an imitation learns from, and what it is only looked at with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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
