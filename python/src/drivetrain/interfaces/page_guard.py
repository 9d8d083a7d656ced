"""Keeps a web server no longer than its owner: `python -m drivetrain.interfaces.page_guard COMMAND ...`.

Whoever starts the guard holds the other end of its stdin. When that end closes, because the owner says so or was
killed, the server and all that it started come to an end. Nothing that a kernel offers does the same for processes of
others everywhere: a signal on the parent's death reaches only the child itself, and only on Linux.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

GRACE_S = 5.0
"""A server that is told to end has this long, then it is killed [s]."""
POLL_S = 0.2
"""So long may it go unnoticed that a server has ended by itself [s]."""


def main(command: list[str]) -> int:
    """Run a command until it ends or stdin closes; return its exit code."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    try:
        while server.poll() is None:
            if select.select([sys.stdin], [], [], POLL_S)[0] and not os.read(sys.stdin.fileno(), 4096):
                _end(server)
        return server.returncode
    finally:
        # The process group outlives a server that ends by itself, and with it whatever it has left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def _end(server: subprocess.Popen[bytes]) -> None:
    import psutil

    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        # Some servers give their workers process groups of their own.
        family = psutil.Process(server.pid).children(recursive=True)
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(GRACE_S)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    server.kill()
    server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
