"""The exception tree: every error a user can cause is one of these and prints as one line.

    DrivetrainError            exit code 1
    ├── UsageError             exit code 2: the command line or a call is wrong
    ├── ConfigError            exit code 2: a config file or a --set override is wrong
    ├── DataError              a data set, log, map or JSON file cannot be used
    │   └── WriteError         the disk refuses what is to be written
    ├── SimulationError        the simulator was given or produced something impossible (NaN, bad shape)
    ├── CheckpointError        a checkpoint is missing, damaged or made for something else
    └── RunError               a run id is taken, missing, locked or cannot be written
        ├── DivergenceError    what is learnt has become NaN or infinite, or the watchdog says that it goes wrong
        └── LostProcessError   a process that takes part in a training died, or cannot be reached any more

A message says what is wrong, where, which value, and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DrivetrainError(Exception):
    """Base of all errors that a user can cause and mend."""

    exit_code = 1


class UsageError(DrivetrainError):
    """The command line or an API call is wrong."""

    exit_code = 2


class ConfigError(DrivetrainError, ValueError):
    """A config file or an override is wrong.

    Also a ``ValueError``: so the loader can collect what the config classes' own checks raise, and report all at once.
    """

    exit_code = 2


class DataError(DrivetrainError):
    """A data set, log, map or scenario file cannot be used."""


class WriteError(DataError):
    """The disk refuses what is to be written; nothing else will fare better there."""


class SimulationError(DrivetrainError):
    """The simulator was given, or produced, something impossible."""


class CheckpointError(DrivetrainError):
    """A checkpoint is missing, damaged, or made for another observation or action schema."""


class RunError(DrivetrainError):
    """A run id is taken, missing or locked, or its folder cannot be written."""


class DivergenceError(RunError):
    """What is learnt has become NaN or infinite, or otherwise goes wrong; the last good checkpoint is from before."""


class LostProcessError(RunError):
    """A process that takes part in a training died or cannot be reached; what the last checkpoint holds is kept."""


def nearest(value: str, choices: Iterable[str]) -> str:
    """Return a hint ``"; did you mean 'x'?"`` for the nearest choice, or an empty string."""
    matches = difflib.get_close_matches(value, list(choices), n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def one_line(error: BaseException) -> str:
    """Return what went wrong in one line, with the kind of error where it is none of ours."""
    text = str(error).strip().splitlines()
    said = text[0] if text else ""
    if isinstance(error, DrivetrainError) and said:
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
