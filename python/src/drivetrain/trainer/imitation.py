"""What an imitation learns from, and what it is only looked at with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from drivetrain.algorithms.gail import ExpertRows
from drivetrain.algorithms.gymnasium_environment import GymnasiumConfig
from drivetrain.algorithms.unity_config import UnityConfig
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """Who is imitated, and where."""

    demonstrations: DemonstrationConfig
    """Which expert, and how."""
    environment: DrivingConfig | GymnasiumConfig | UnityConfig
    """Where it acts."""
    store: ScenarioStore | None
    """Whose logs are re-driven; None where nothing drives."""
    max_scenes: int
    """Most training scenes."""
    seed: int
    """Of the choices."""
    listed: Path | None = None
    """File that lists the training scenes; None: the train split."""

    def scenes(self) -> TrainingScenes | None:
        """Return the training scenes; None where nothing drives."""
        if not isinstance(self.environment, DrivingConfig):
            return None
        return self._chosen(self.environment, "train", self.max_scenes, self.seed, self.listed)

    def held_out(self, evaluation: EvaluationConfig) -> TrainingScenes | None:
        """Return as many scenes of the evaluation's split as it scores; None where nothing drives."""
        if not isinstance(self.environment, DrivingConfig):
            return None
        return self._chosen(self.environment, evaluation.split, evaluation.episodes, evaluation.seed)

    def _chosen(
        self, driving: DrivingConfig, split: str, most: int, seed: int, listed: Path | None = None
    ) -> TrainingScenes:
        assert self.store is not None
        return TrainingScenes.choose(
            self.store,
            split=split,
            most=most,
            seed=seed,
            all_controllable=self.demonstrations.agents == "all" or driving.control == "all",
            min_distance_m=driving.min_distance_m,
            listed=listed,
        )


def imitated(
    teacher: Teacher,
    *,
    evaluation: EvaluationConfig,
    held_out_share: float,
    say: Callable[[str], None],
    is_shown: bool,
) -> Imitated:
    """Return the demonstrations of the training split and of as many scenes of the evaluation's split as it scores.

    Args:
        teacher: Who is imitated.
        evaluation: Which scenes are held out.
        held_out_share: Share of the episodes held out where nothing drives.
        say: Told how many there are.
        is_shown: Show a progress bar where making them takes long.

    Raises:
        DrivetrainError: There are no such demonstrations.
    """
    config, environment = teacher.demonstrations, teacher.environment
    learnt = load_demonstrations(config, environment, teacher.scenes(), say=say, is_shown=is_shown)
    other = teacher.held_out(evaluation)
    if other is None:
        learnt, held_out = learnt.split(held_out_share, seed=teacher.seed)
        return Imitated(demonstrations=learnt, held_out=held_out)
    return Imitated(
        demonstrations=learnt,
        held_out=load_demonstrations(
            replace(config, displaced_passes=0), environment, other, say=lambda text: say(f"held out: {text}")
        ),
    )


def expert_rows(teacher: Teacher, *, say: Callable[[str], None], is_shown: bool) -> ExpertRows:
    """Return the undisturbed episodes of the expert in the very scenes in which the policy will act.

    Args:
        teacher: Who is imitated.
        say: Told how many there are.
        is_shown: Show a progress bar where making them takes long.

    Raises:
        DrivetrainError: There are no such demonstrations.
    """
    environment = teacher.environment
    drives = isinstance(environment, DrivingConfig)
    shown = load_demonstrations(teacher.demonstrations, environment, teacher.scenes(), say=say, is_shown=is_shown)
    if shown.displaced.any():
        shown = shown.take_episodes(np.flatnonzero(~shown.displaced))
    is_discrete = environment.action == "discrete" if drives else len(shown.action_index) > 0
    return ExpertRows(
        observation=shown.observation,
        action=shown.action_index.astype(np.int64) if is_discrete else shown.action,
        # A log that is over, or at its goal, did not fail.
        num_terminated=0 if drives else int(shown.terminated.sum()),
    )
