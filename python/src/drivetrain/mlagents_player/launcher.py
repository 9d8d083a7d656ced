"""The executable that stands where a Unity build would: a few lines of shell that start the player."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import drivetrain
from drivetrain.errors import RunError, UsageError
from drivetrain.run_record import write_bytes_atomic

_STRIPPED = (".app", ".exe", ".x86_64", ".x86")
"""mlagents-learn takes these out of a path wherever they stand."""
_PATTERNS = "*?["
_MARK = "# drivetrain's driving task as an ML-Agents player"
_SCRIPT = """\
#!/bin/sh
{mark}, written by 'drivetrain mlagents player-export'.
# mlagents-learn CONFIG --env THIS_FILE starts it. More options for the player: --env-args, as the last.
PYTHONPATH={source}${{PYTHONPATH:+:$PYTHONPATH}} OMP_NUM_THREADS=1
export PYTHONPATH OMP_NUM_THREADS
exec {python} -m drivetrain.mlagents_player --data {data} --worlds {worlds} "$@"
"""


def write_launcher(target: Path, *, data: Path, num_worlds: int) -> None:
    """Write the executable.

    Args:
        target: Where, exactly as `--env` will name it.
        data: The scenario store.
        num_worlds: Agents of the player.

    Raises:
        UsageError: `--env` could not find such a file, or something else lies there.
        RunError: The folder cannot be written.
    """
    check_target(target)
    text = _SCRIPT.format(
        mark=_MARK,
        source=shlex.quote(str(Path(drivetrain.__file__).resolve().parents[1])),
        python=shlex.quote(sys.executable),
        data=shlex.quote(str(data.resolve())),
        worlds=num_worlds,
    )
    partial = target.with_name(f".{target.name}.executable")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # It must never be there without being executable: the trainer would stumble over it.
        write_bytes_atomic(partial, text.encode())
        partial.chmod(0o755)
        os.replace(partial, target)
    except OSError as error:
        raise RunError(f"{target}: cannot write ({error.strerror}); choose another place") from error


def check_target(target: Path) -> None:
    """Raise a UsageError where the executable cannot be written or would not be found by `--env`."""
    text = str(target)
    trap = next((part for part in _STRIPPED if part in text), None)
    if trap is not None:
        raise UsageError(
            f"player-export: {text}: mlagents-learn takes '{trap}' out of every path; choose one without it"
        )
    if any(sign in text for sign in _PATTERNS):
        raise UsageError(f"player-export: {text}: mlagents-learn reads {_PATTERNS} as patterns; choose another path")
    if target.is_dir():
        raise UsageError(f"player-export: {text} is a folder; --env needs a file: {target / 'build'}")
    if target.exists() and not is_launcher(target):
        raise UsageError(
            f"player-export: {text} is there already and no player of ours (a Unity build?); choose another path"
        )
    for other in (Path(f"{text}.x86_64"), Path(f"{text}.x86")):
        if other.exists():
            raise UsageError(f"player-export: --env would start {other} instead of {text}; choose another path")


def is_launcher(path: Path) -> bool:
    """Whether a file is an executable of ours."""
    try:
        with path.open("rb") as file:
            return _MARK.encode() in file.read(512)
    except OSError:
        return False
