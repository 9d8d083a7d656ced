"""Recorded drives of our scenes as a demonstration file for ML-Agents' cloning and GAIL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drivetrain.algorithms.demo_demonstrations import records_of
from drivetrain.data.demonstrations import DemonstrationConfig
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import RunError, UsageError
from drivetrain.mlagents.demo_file import demo_bytes
from drivetrain.mlagents_player.driving import BEHAVIOR
from drivetrain.mlagents_player.scenes import player_config
from drivetrain.run_record import write_bytes_atomic
from drivetrain.sim.observation import CANONICAL
from drivetrain.trainer.demonstration_choice import load_demonstrations
from drivetrain.trainer.training_scenes import TrainingScenes

NAME = "driving"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedDemo:
    """What was written."""

    episodes: int
    """Drives."""
    transitions: int
    """Actions of all drives."""
    num_bytes: int
    """Size of the file [byte]."""


def export_demo(
    target: Path,
    *,
    store: ScenarioStore,
    root: Path,
    drives: int,
    seed: int,
    is_scaled: bool,
    say: Callable[[str], None],
) -> ExportedDemo:
    """Write the recorded drives of some training scenes, as the player's agents would have seen and done them.

    Args:
        target: The file.
        store: Whose scenes.
        root: The project root.
        drives: Scenes at most; those that the vehicle model cannot follow are left out.
        seed: Of the choice of scenes.
        is_scaled: Multiply actions for ML-Agents' own cloning, see ``demo_file.POLICY_SCALE``.
        say: Told what was left out.

    Raises:
        UsageError: The name is none of such a file, or no drive is asked for.
        DrivetrainError: No scene can be used, or the file cannot be written.
    """
    if target.suffix != ".demo":
        raise UsageError(f"demo-export: {target}: ML-Agents reads files that end in .demo; use {target}.demo")
    if drives < 1:
        raise UsageError(f"demo-export: --drives {drives} is too few; use 1 or more")
    config = player_config(1)
    scenes = TrainingScenes.choose(
        store, split="train", most=drives, seed=seed, all_controllable=False, min_distance_m=config.min_distance_m
    )
    shown = load_demonstrations(DemonstrationConfig(), config, scenes, root=root, say=say)
    records = records_of(shown, CANONICAL, behavior=BEHAVIOR)
    data = b"".join(demo_bytes(records, name=NAME, is_scaled=is_scaled))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(target, data)
    except OSError as error:
        raise RunError(f"{target}: cannot write ({error.strerror}); choose another place") from error
    return ExportedDemo(episodes=shown.num_episodes, transitions=len(shown), num_bytes=len(data))
