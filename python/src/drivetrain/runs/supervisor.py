"""The process above a detached training: starts it, passes signals on, and writes down how it ended.

``python -m drivetrain.runs.supervisor`` reads its job as JSON from standard input (so that a list of processes shows
the training once), answers on standard output in lines (``pid N``, ``exit CODE``, ``signal N``, ``cannot REASON``) and
lives apart from whoever started it. It knows nothing of runs and loads little. Killing it does the training no harm;
only nobody writes down the end then.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def main() -> int:
    """Do the job on standard input; the caller's process returns as soon as the job is understood."""
    job = json.load(sys.stdin)
    if os.fork():
        os._exit(0)  # the caller need not wait for, or reap, what goes on without it
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 2)
    supervise(command=job["command"], console=job["console"], end_file=job["end_file"])
    return 0


def supervise(*, command: list[str], console: str, end_file: str) -> None:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        console: File that takes its standard output and error, behind what is there.
        end_file: File that takes how it ended; not written where its folder is gone by then.
    """
    end = run_to_end(command, console=console)
    if end is not None:
        write_end(end_file, end)


def run_to_end(command: list[str], *, console: str, own_session: bool = True) -> dict[str, Any] | None:
    """Run a command to its end and return how that was; None: it could not be started.

    Args:
        command: Program and arguments.
        console: File that takes its standard output and error, behind what is there.
        own_session: Whether the command leads a session of its own; without it a signal to the group reaches it, too.
    """
    before, begun = oom_kills(), time.time()
    # Signals that come before there is a child wait until there is one.
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    try:
        child = _start(command, console, own_session=own_session)
    except OSError as error:
        _tell(f"cannot {error.strerror or error}")
        return None
    passed_on: list[int] = []

    def pass_on(number: int, _: object) -> None:
        passed_on.append(number)
        _pass_on(child, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    start_ticks = _start_ticks(child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    _tell(f"pid {child}")
    _, status = os.waitpid(child, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # its pid may be another's from now on
    was_killed = os.WIFSIGNALED(status)
    code = os.WTERMSIG(status) if was_killed else os.waitstatus_to_exitcode(status)
    return {
        "pid": child,
        "start_ticks": start_ticks,
        "boot_id": _boot_id(),
        "code": None if was_killed else code,
        "signal": code if was_killed else None,
        "began": begun,
        "ended": time.time(),
        "oom_kills_before": before,
        "oom_kills_after": oom_kills(),
        "command": command,
        "passed_on": passed_on,
    }


def write_end(end_file: str, end: dict[str, Any]) -> None:
    """Write down how a command ended, and tell whoever listens."""
    _write(end_file, end)
    _tell(f"exit {end['code']}" if end["signal"] is None else f"signal {end['signal']}")


def oom_kills() -> int | None:
    """Return how many processes of this control group were killed for want of memory; None where nobody counts."""
    for path in _counters():
        try:
            with open(path, encoding="ascii") as file:
                lines = file.read().split("\n")
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.strip().isdigit():
                return int(value)
    return None


def _counters() -> list[str]:
    """Return the files that may hold the counter: the own group's, of version 2 or 1, then the mounted root's."""
    found = []
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        groups = []
    for _, controllers, place in groups:
        if not controllers:
            found.append(f"/sys/fs/cgroup{place.rstrip('/')}/memory.events")
        elif "memory" in controllers.split(","):
            found.append(f"/sys/fs/cgroup/memory{place.rstrip('/')}/memory.oom_control")
    return [*found, "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"]


def _start(command: list[str], console: str, *, own_session: bool) -> int:
    """Start the command and return its process id.

    Raises:
        OSError: The console or the program cannot be opened.
    """
    output = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    failed, failing = os.pipe()  # closed by a successful exec
    child = os.fork()
    if child == 0:
        try:
            if own_session:
                os.setsid()
            os.dup2(output, 1)
            os.dup2(output, 2)
            for number in (*PASSED_ON, signal.SIGHUP, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
            os.execvp(command[0], command)
        except OSError as error:
            os.write(failing, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(output)
    os.close(failing)
    number = os.read(failed, 16)
    os.close(failed)
    if number:
        os.waitpid(child, 0)
        raise OSError(int(number), os.strerror(int(number)))
    return child


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _write(path: str, document: dict[str, Any]) -> None:
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(partial, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(partial)


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(1, f"{line}\n".encode())


def _boot_id() -> str | None:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def _start_ticks(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


if __name__ == "__main__":
    sys.exit(main())
