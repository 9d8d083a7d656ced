"""Which demonstrations an imitation learns from: those of the cache, or made now and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.data import log_demonstrations
from drivetrain.data.counted import StderrProgress
from drivetrain.data.demonstration_cache import cached_demonstrations
from drivetrain.data.demonstrations import DemonstrationConfig, Demonstrations
from drivetrain.errors import ConfigError
from drivetrain.sim.env import DrivingConfig
from drivetrain.trainer.training_scenes import MANY_SCENES, TrainingScenes


def load_demonstrations(
    config: DemonstrationConfig,
    environment: DrivingConfig | GymnasiumConfig | UnityConfig,
    scenes: TrainingScenes | None = None,
    *,
    root: Path,
    say: Callable[[str], None],
    is_shown: bool = False,
) -> Demonstrations:
    """Return the demonstrations that a config asks for.

    Args:
        config: Which expert, and how.
        environment: Where it acts; gives the vehicle model and how observations are stored.
        scenes: Whose logs are re-driven (driving).
        root: The project root, for the paths of recordings.
        say: Told how many there are and what was left out.
        is_shown: Show a progress bar where making them takes long.

    Raises:
        ConfigError: There is no such expert in this environment.
        DataError: No scene has a drive that can be used.
    """
    if isinstance(environment, GymnasiumConfig):
        from drivetrain.algorithms import gymnasium_demonstrations  # Gymnasium comes with it

        inputs = gymnasium_demonstrations.inputs_of(config, environment)
        made = cached_demonstrations(
            inputs, lambda: gymnasium_demonstrations.play_expert(config, environment, inputs=inputs)
        )
    elif isinstance(environment, UnityConfig):
        made = _from_recordings(config, environment, root)
    else:
        if config.expert != "log":
            raise ConfigError(
                f"demonstrations.expert: '{config.expert}' cannot drive; use log, the recorded drives of the data set"
            )
        assert scenes is not None
        made = _from_logs(config, environment, scenes, is_shown=is_shown)
    say(f"demonstrations: {made.summary()}")
    return made


def _from_recordings(config: DemonstrationConfig, environment: UnityConfig, root: Path) -> Demonstrations:
    from drivetrain.algorithms import demo_demonstrations  # protobuf is loaded by those who read such files alone

    if config.expert != "demo":
        raise ConfigError(
            f"demonstrations.expert: nobody can play {environment.path} as '{config.expert}'; use demo and "
            "demonstrations.path, a .demo file that Unity recorded"
        )
    path = root / Path(config.path).expanduser()
    inputs = demo_demonstrations.inputs_of(path)
    return cached_demonstrations(inputs, lambda: demo_demonstrations.read_demonstrations(path, inputs=inputs))


def _from_logs(
    config: DemonstrationConfig, driving: DrivingConfig, scenes: TrainingScenes, *, is_shown: bool
) -> Demonstrations:
    inputs = log_demonstrations.inputs_of(scenes.content, config, driving)

    def build() -> Demonstrations:
        bank = scenes.compile(say=lambda text: None, is_shown=is_shown)
        report = StderrProgress("making demonstrations") if is_shown and len(bank) >= MANY_SCENES else None
        return log_demonstrations.drive_logs(bank, config, driving, inputs=inputs, progress=report)

    return cached_demonstrations(inputs, build)
