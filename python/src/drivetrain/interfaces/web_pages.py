"""Web servers of other programs on this machine's own address: started together, ended together."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from drivetrain.errors import RunError, UsageError

LOOPBACK = "127.0.0.1"
"""Pages are for this machine alone: neither viewer asks who is there."""
PORTS_TRIED = 100
START_S = 120.0
"""A server that has not answered by then is given up; a busy machine may import for a minute [s]."""
END_S = 15.0
"""The guards need little more than their own grace; after this they are killed [s]."""
POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Page:
    """A server to start."""

    name: str
    """What people call it."""
    command: Sequence[str]
    """Its command without the port."""
    port: int
    """The port asked for; the next free one is taken where it is in use."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables set for it, besides ours."""


@dataclass(frozen=True, kw_only=True)
class _Server:
    page: Page
    port: int
    guard: subprocess.Popen[bytes]
    output: IO[bytes]
    """All that it has printed, in a file without a name."""


def serve(pages: Sequence[Page], *, folder: Path, say: Callable[[str], None]) -> None:
    """Start servers, say their addresses, and wait until one ends or Ctrl-C; all of them end then.

    Args:
        pages: What to start.
        folder: Working folder of the servers.
        say: Prints a line.

    Raises:
        RunError: A server could not be started or ended by itself; says its last words.
        UsageError: No free port was found.
        KeyboardInterrupt: Ctrl-C, with every server ended.
    """
    servers: list[_Server] = []
    with contextlib.ExitStack() as stack:
        for page in pages:
            port = free_port(page.port, taken={server.port for server in servers})
            if port != page.port:
                say(f"port {page.port} is in use; {page.name} gets {port}")
            servers.append(stack.enter_context(_running(page, port=port, folder=folder)))
        for server in servers:
            _wait_until_it_answers(server)
            say(f"{server.page.name:<12} http://{LOOPBACK}:{server.port}/")
        say("Ctrl-C ends both" if len(servers) > 1 else "Ctrl-C ends it")
        while all(server.guard.poll() is None for server in servers):
            time.sleep(POLL_S)
        raise _ended(next(server for server in servers if server.guard.poll() is not None))


def free_port(first: int, *, taken: Collection[int] = ()) -> int:
    """Return the first port from `first` on that nobody listens on.

    Raises:
        UsageError: There is none within reach.
    """
    last = min(first + PORTS_TRIED, 65536) - 1
    for port in range(first, last + 1):
        if port in taken:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            # As servers do it themselves: a connection that is only fading away does not occupy the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
            return port
    raise UsageError(f"port {first}: none of {first} to {last} is free; name another")


@contextlib.contextmanager
def _running(page: Page, *, port: int, folder: Path) -> Iterator[_Server]:
    """Start a server and end it, with all that it started."""
    command = [sys.executable, "-m", "drivetrain.interfaces.page_guard", *page.command, "--port", str(port)]
    with tempfile.TemporaryFile() as output:
        guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, **page.environment},
            # Ctrl-C in the terminal is for us; we tell the guard.
            start_new_session=True,
        )
        try:
            yield _Server(page=page, port=port, guard=guard, output=output)
        finally:
            assert guard.stdin is not None
            guard.stdin.close()
            try:
                guard.wait(END_S)
            except subprocess.TimeoutExpired:
                guard.kill()
                guard.wait()


def _wait_until_it_answers(server: _Server) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.guard.poll() is not None:
            raise _ended(server)
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, server.port), timeout=1.0):
            return
        time.sleep(POLL_S)
    raise RunError(f"{server.page.name}: no answer on port {server.port} within {START_S:.0f} s; it was ended")


def _ended(server: _Server) -> RunError:
    server.output.seek(0)
    lines = server.output.read().decode(errors="replace").strip().splitlines()
    last = f": {lines[-1].strip()[:300]}" if lines else ""
    return RunError(f"{server.page.name} ended by itself with exit code {server.guard.returncode}{last}")
