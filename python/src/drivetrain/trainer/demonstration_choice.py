"""Which demonstrations an imitation learns from: those of the cache, or made now and kept.

Logs are re-driven in pieces of some hundred scenes, each compiled by who drives it: in this process, in several, or by
the workers of a cluster (see :mod:`drivetrain.processes`), with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.data import log_demonstrations
from drivetrain.data.counted import StderrProgress
from drivetrain.data.demonstration_cache import cached_demonstrations, demonstrations_in_pieces
from drivetrain.data.demonstrations import DemonstrationConfig, Demonstrations
from drivetrain.data.log_demonstrations import Piece, drive_logs, no_demonstrations, pieces_of
from drivetrain.data.worker_pool import Died, work_through
from drivetrain.errors import ConfigError, DataError, DrivetrainError
from drivetrain.processes import crew_elsewhere
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
    workers: int = 1,
) -> Demonstrations:
    """Return the demonstrations that a config asks for.

    Args:
        config: Which expert, and how.
        environment: Where it acts; gives the vehicle model and how observations are stored.
        scenes: Whose logs are re-driven (driving).
        root: The project root, for the paths of recordings.
        say: Told how many there are and what was left out.
        is_shown: Show a progress bar where making them takes long.
        workers: Processes that re-drive logs; a crew elsewhere has its own number.

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
        made = _from_logs(config, environment, scenes, is_shown=is_shown, workers=workers)
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
    config: DemonstrationConfig, driving: DrivingConfig, scenes: TrainingScenes, *, is_shown: bool, workers: int
) -> Demonstrations:
    inputs = log_demonstrations.inputs_of(scenes.content, config, driving)
    pieces = pieces_of(len(scenes.rows), config)
    if not pieces:
        raise DataError(f"demonstrations: {scenes.store.path} has no scenes to make them of; use another data set")

    def make(numbers: Sequence[int]) -> Iterator[tuple[int, Demonstrations]]:
        total = sum(pieces[number].count for number in numbers)
        report = StderrProgress("making demonstrations") if is_shown and total >= MANY_SCENES else lambda done, of: None
        done = 0
        if crew_elsewhere() is None and min(workers, len(numbers)) <= 1:
            drive = LogDriver(scenes=scenes, config=config, driving=driving)
            for number in numbers:
                piece = pieces[number]

                def within(share: float, done: int = done, count: int = piece.count) -> None:
                    report(done + int(share * count), total)

                yield number, drive(piece, within)
                done += piece.count
            return
        driver = LogDriver(scenes=scenes, config=config, driving=replace(driving, threads=1))
        jobs = {pieces[number]: number for number in numbers}
        for piece, made in work_through(jobs, _made_by, driver, workers=min(workers, len(jobs))):
            if isinstance(made, DrivetrainError):
                raise made
            if isinstance(made, Died):
                raise DataError(
                    f"demonstrations: a process that re-drives {piece.count} scenes {made.reason}, twice; try again "
                    "with fewer workers: what is done is kept"
                )
            yield jobs[piece], made
            done += piece.count
            report(done, total)

    made = demonstrations_in_pieces(inputs, len(pieces), make)
    made.check_any(len(scenes.rows))
    return made


@dataclass(frozen=True, kw_only=True)
class LogDriver:
    """Makes pieces of demonstrations; is sent to the processes that do."""

    scenes: TrainingScenes
    """All of them."""
    config: DemonstrationConfig
    """Whose drives, and how they are matched."""
    driving: DrivingConfig
    """The environment they are for; its threads are those of one process."""

    def __call__(self, piece: Piece, progress: Callable[[float], None] | None = None) -> Demonstrations:
        """Return a piece."""
        bank = self.scenes.compile_part(piece.first, piece.count)
        if bank is None:
            return no_demonstrations(self.driving)
        return drive_logs(bank, self.config, self.driving, piece=piece, progress=progress)


def _made_by(driver: LogDriver) -> Callable[[Piece], Demonstrations | DrivetrainError]:
    def make(piece: Piece) -> Demonstrations | DrivetrainError:
        try:
            return driver(piece)
        except DrivetrainError as error:  # damaged data, say: told here, not by the death of a process
            return error

    return make
