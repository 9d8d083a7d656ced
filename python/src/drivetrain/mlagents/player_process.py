"""The process of a player: found, started, watched and ended by us."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from drivetrain.errors import ConfigError, RunError, nearest

_SUFFIXES = (".x86_64", ".x86")
"""What Unity appends to the name of a Linux build."""
_PATIENCE_S = 5.0
"""A player that was told to end has this long to do so."""
_LAST_LINES = 3
_START = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Becomes the player after having asked the kernel to kill it with its parent; Ctrl-C is the trainer's alone."""


def executable_of(path: Path) -> Path:
    """Return the file to start for a build's path, which may leave out Unity's suffix.

    Raises:
        ConfigError: There is none, or it cannot be started.
    """
    inside = path / "Contents" / "MacOS" / path.stem if path.suffix == ".app" else path
    candidates = [inside, *(path.with_name(path.name + suffix) for suffix in _SUFFIXES)]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None and path.is_dir():
        builds = sorted(file.name for file in path.iterdir() if file.is_file() and os.access(file, os.X_OK))
        remedy = f"name the executable in it: {path / builds[0]}" if builds else "name the executable of the build"
        raise ConfigError(f"environment.path: '{path}' is a folder; {remedy}")
    if found is None:
        others = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ConfigError(
            f"environment.path: there is no player '{path}'{nearest(path.name, others)}; name the executable of a "
            "Unity build, or make one of ours with: drivetrain mlagents player-export PATH"
        )
    if not os.access(found, os.X_OK):
        raise ConfigError(f"environment.path: '{found}' is not executable; run: chmod +x {found}")
    return found


class PlayerProcess:
    """A running player: a process group of its own, which dies with this process and writes to a log file."""

    def __init__(self, command: Sequence[str], *, log: Path) -> None:
        """Start it.

        Args:
            command: The executable and its arguments.
            log: Where its output goes.

        Raises:
            RunError: It cannot be started.
        """
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # how the last one ended is worth keeping
            log.replace(log.with_suffix(".previous.log"))
        starter = [sys.executable, "-I", "-S", "-c", _START, str(os.getpid())]
        try:
            with log.open("wb") as output:
                self._process = subprocess.Popen(
                    [*starter, *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
        except OSError as error:
            raise RunError(f"the player {command[0]} cannot be started: {error.strerror}") from error

    @property
    def pid(self) -> int:
        """Process id, and that of its group."""
        return self._process.pid

    def ending(self) -> str | None:
        """Return how it ended with its last lines; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"{how}; {self.last_lines()}"

    def last_lines(self) -> str:
        """Return the end of its log in one line."""
        try:
            data = self.log.read_bytes()[-8192:]
        except OSError:
            data = b""
        lines = [" ".join(line.split()) for line in data.decode(errors="replace").splitlines() if line.strip()]
        if not lines:
            return f"it wrote nothing to {self.log}"
        return f"its last lines: {' | '.join(lines[-_LAST_LINES:])} (all of {self.log})"

    def end(self, *, patience_s: float = _PATIENCE_S) -> None:
        """Wait for its end; after some patience end it, and whatever it started."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=patience_s)
        # Also where the player itself is gone: what it left behind is of the same group.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + 1.0
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
