"""What would make a `mlagents-learn` fail later and less clearly: looked at before a player is started."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from drivetrain.errors import RunError, UsageError

EXPORT = "drivetrain mlagents player-export"
_STRIPPED = (".app", ".exe", ".x86_64", ".x86")


def check_player(env_path: str | None) -> None:
    """Raise where ``--env`` leads to nothing that can be started.

    Raises:
        UsageError: It is missing, a folder, or not executable.
    """
    if env_path is None:
        return
    path = env_path.strip()
    for part in _STRIPPED:  # as ML-Agents does, wherever it stands
        path = path.replace(part, "")
    candidates = [Path(f"{path}{ending}") for ending in (".x86_64", ".x86", "", ".app", ".exe")]
    found = [candidate for candidate in candidates if candidate.exists()]
    if not found:
        raise UsageError(
            f"--env {env_path}: there is no such file; put a Unity build there, or our simulator: {EXPORT} {env_path}"
        )
    files = [candidate for candidate in found if candidate.is_file() or candidate.suffix == ".app"]
    if not files:
        inside = _executable_in(found[0])
        hint = f"; did you mean {inside}?" if inside else f", or write a player: {EXPORT} {found[0] / 'build'}"
        raise UsageError(f"--env {env_path}: it is a folder; name the executable{hint}")
    if files[0].is_file() and not os.access(files[0], os.X_OK):
        raise UsageError(f"--env {env_path}: {files[0]} is not executable; run: chmod +x {files[0]}")


def check_ports(base_port: int, count: int) -> None:
    """Raise where one of the ports that the workers need is taken.

    Raises:
        RunError: It is; a free block is named.
    """
    for port in range(base_port, base_port + count):
        if not is_free(port):
            raise RunError(
                f"port {port} is in use (another mlagents-learn?); give --base-port {free_block(count)}, or let "
                "'drivetrain start' choose"
            )


def free_block(count: int, *, first: int = 5005, last: int = 32000) -> int:
    """Return the first of so many free ports in a row.

    Blocks begin at a place that depends on the process, so that two starts at once hardly look at the same ones.

    Raises:
        RunError: There is none.
    """
    blocks = max((last - first) // count, 1)
    begin = os.getpid() * 7919 % blocks
    for number in range(blocks):
        base = first + (begin + number) % blocks * count
        if all(is_free(port) for port in range(base, base + count)):
            return base
    raise RunError(f"there are no {count} free ports in a row between {first} and {last}; stop some runs")


def is_free(port: int) -> bool:
    """Whether a server could listen on a port of this machine."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as test:
                test.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                test.bind((address, port))
        except OSError as error:
            if family == socket.AF_INET or error.errno == 98:
                return False
    return True


def _executable_in(folder: Path) -> Path | None:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return None
    return next((entry for entry in entries if entry.is_file() and os.access(entry, os.X_OK)), None)
