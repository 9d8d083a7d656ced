"""What an imitation learns from, and what it is only looked at with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivetrain.algorithms.gail import ExpertRows
from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.data.demonstrations import DemonstrationConfig, Demonstrations
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.environment import VectorEnvironment
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
    root: Path
    """The project root."""
    max_scenes: int
    """Most training scenes."""
    seed: int
    """Of the choices."""
    listed: Path | None = None
    """File that lists the training scenes; None: the train split."""
    workers: int = 1
    """Processes that re-drive logs."""

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
            route=driving.route,
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
    learnt = _learnt(teacher, say=say, is_shown=is_shown)
    held_out = _held_out(teacher, evaluation, say=say)
    if held_out is None:
        learnt, held_out = learnt.split(held_out_share, seed=teacher.seed)
    return Imitated(demonstrations=learnt, held_out=held_out)


def prepared(
    teacher: Teacher, *, evaluation: EvaluationConfig | None, say: Callable[[str], None]
) -> dict[str, Demonstrations]:
    """Return what a training will learn from, made now and kept: with its name, first what it learns.

    Args:
        teacher: Who is imitated.
        evaluation: Which scenes are held out, for BC; None: none are.
        say: Told how many there are.

    Raises:
        DrivetrainError: There are no such demonstrations.
    """
    made = {"demonstrations": _learnt(teacher, say=say, is_shown=True)}
    held_out = None if evaluation is None else _held_out(teacher, evaluation, say=say)
    return made if held_out is None else {**made, "held_out": held_out}


def _learnt(teacher: Teacher, *, say: Callable[[str], None], is_shown: bool) -> Demonstrations:
    return load_demonstrations(
        teacher.demonstrations,
        teacher.environment,
        teacher.scenes(),
        root=teacher.root,
        say=say,
        is_shown=is_shown,
        workers=teacher.workers,
    )


def _held_out(teacher: Teacher, evaluation: EvaluationConfig, *, say: Callable[[str], None]) -> Demonstrations | None:
    """Return undisturbed demonstrations of the scenes that are held out; None where nothing drives."""
    scenes = teacher.held_out(evaluation)
    if scenes is None:
        return None
    return load_demonstrations(
        replace(teacher.demonstrations, displaced_passes=0),
        teacher.environment,
        scenes,
        root=teacher.root,
        say=lambda text: say(f"held out: {text}"),
        workers=teacher.workers,
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
    shown = _learnt(teacher, say=say, is_shown=is_shown)
    if shown.displaced.any():
        shown = shown.take_episodes(np.flatnonzero(~shown.displaced))
    is_discrete = environment.action == "discrete" if drives else len(shown.action_index) > 0
    return ExpertRows(
        observation=shown.observation,
        action=shown.action_index.astype(np.int64) if is_discrete else shown.action,
        # A log that is over, or at its goal, did not fail.
        num_terminated=0 if drives else int(shown.terminated.sum()),
    )


def check_seen(
    observation: NDArray, environment: VectorEnvironment, *, has_categories: bool, has_vectors: bool
) -> None:
    """Check that an expert saw and did what the agents of an environment see and do.

    Args:
        observation: What the expert saw, shape [M, D].
        environment: Where it is imitated.
        has_categories: Whether its actions are known as categories.
        has_vectors: Whether they are known as vectors.

    Raises:
        DataError: It saw or did something else.
    """
    size, is_discrete = observation.shape[1], environment.action_space.is_discrete
    if size != environment.observation_size:
        raise DataError(
            f"demonstrations: observations of {size} values, the environment has {environment.observation_size}; use "
            "recordings of the same agents"
        )
    if not (has_categories if is_discrete else has_vectors):
        wanted, found = ("categories", "vectors") if is_discrete else ("vectors", "categories")
        raise DataError(
            f"demonstrations: actions are {found}, the environment takes {wanted}; use recordings of the same agents"
        )
