"""Where a training shall run, and what it needs there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drivetrain.errors import UsageError
from drivetrain.run_record import Launch
from drivetrain.runs.launcher import LaunchRequest
from drivetrain.runs.room import cores_of, device_of, has_learners_elsewhere

BACKENDS = ("local", "ray", "slurm")
"""Where trainings can run."""

RESTARTS = 3
"""A trainer that was killed more often than this has a reason that another start would not mend."""


DRIVER_CPUS = 0.1
"""Processors of a training whose learners are workers of the same Ray cluster: it waits for them."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What `start` and `resume` were told of a cluster; what is None is found out."""

    backend: str
    """ray or slurm."""
    address: str | None = None
    """Where Ray's Jobs API answers."""
    cpus: float | None = None
    """Processors; None: one for each learner process."""
    gpus: float | None = None
    """GPUs; None: one where the training asks for cuda, else none."""
    partition: str | None = None
    """Slurm's partition."""
    minutes: int | None = None
    """Slurm's time limit [min]."""
    restarts: int | None = None
    """How often a killed trainer is started again within its job; None: :data:`RESTARTS`."""

    def __post_init__(self) -> None:
        for option, value, least in (("--cpus", self.cpus, 0.0), ("--gpus", self.gpus, -1.0)):
            if value is not None and not (math.isfinite(value) and value > least and value >= 0.0):
                raise UsageError(f"{option} {value:g}: give {'a positive number' if least == 0.0 else '0 or more'}")
        if self.minutes is not None and self.minutes < 1:
            raise UsageError(f"--minutes {self.minutes}: give 1 or more")
        if self.restarts is not None and self.restarts < 0:
            raise UsageError(f"--restarts {self.restarts}: give 0 or more")
        stray = {
            "ray": {"--partition": self.partition, "--minutes": self.minutes},
            "slurm": {"--address": self.address},
        }[self.backend]
        for option, value in stray.items():
            if value is not None:
                raise UsageError(f"{option} {value}: not for --backend {self.backend}")

    def cpus_for(self, request: LaunchRequest) -> float:
        """Return the processors to ask for."""
        if self.cpus is not None:
            return self.cpus
        return DRIVER_CPUS if self._only_drives(request) else float(cores_of(request))

    def gpus_for(self, request: LaunchRequest) -> float:
        """Return the GPUs to ask for."""
        if self.gpus is not None:
            return self.gpus
        return 1.0 if device_of(request).startswith("cuda") and not self._only_drives(request) else 0.0

    def _only_drives(self, request: LaunchRequest) -> bool:
        """Return whether the learners of the training are workers of the same cluster, which ask for themselves."""
        return self.backend == "ray" and has_learners_elsewhere(request)


def placement_of(launch: Launch) -> Placement:
    """Return where a run was trained last, to train it there again."""
    return Placement(
        backend=launch.backend,
        address=launch.address or None,
        cpus=launch.cpus,
        gpus=launch.gpus,
        partition=launch.partition or None,
        minutes=launch.minutes or None,
        restarts=launch.restarts,
    )
