"""Who trains a run: a POSIX lock held for the trainer's life, and process identities that survive reused pids.

The kernel frees the lock at death or reboot, so there is no stale pid file, and forked children do not inherit it.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from drivetrain.errors import RunError
from drivetrain.run_record.json_files import cannot_write
from drivetrain.run_record.paths import RunPaths, check_run_id

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

_held: dict[Path, int] = {}
"""Locks of this process: path -> pid that took it. Closing *any* descriptor of a locked file frees the lock, and the
holder's own probe reads "free": so this process answers for its own runs without touching the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LockState:
    """Whether some process trains this run."""

    held: bool
    """True while the trainer lives."""
    pid: int | None = None
    """Its process id; None if free, or in another process namespace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    """Process id."""
    start_ticks: int | None
    """Start time in kernel ticks since boot; None where the system does not tell."""
    boot_id: str | None
    """Which boot of the machine; None where the system does not tell."""

    @staticmethod
    def of(pid: int) -> ProcessIdentity:
        """Return the identity of the process that has ``pid`` now."""
        fields = _stat_fields(pid)
        return ProcessIdentity(pid=pid, start_ticks=int(fields[19]) if fields else None, boot_id=boot_id())

    def send(self, number: int) -> bool:
        """Send a signal to this very process; return False if it is gone.

        Raises:
            RunError: It belongs to somebody else.
        """
        try:
            # Held open, the process cannot make room for another with its pid between the look and the signal.
            handle = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None
        except OSError:
            handle = None
        try:
            if not self.is_alive():
                return False
            if handle is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        except PermissionError as error:
            raise RunError(f"pid {self.pid} belongs to another user, who alone can stop it") from error
        finally:
            if handle is not None:
                os.close(handle)
        return True

    def is_alive(self) -> bool:
        """Return True if this very process still runs (a zombie does not)."""
        if self.boot_id is not None and self.boot_id != boot_id():
            return False
        if self.start_ticks is not None:
            fields = _stat_fields(self.pid)
            return bool(fields) and fields[0] not in ("Z", "X") and int(fields[19]) == self.start_ticks
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """The process that holds a run's lock, for a trainer that writes in its name from another process."""

    process: ProcessIdentity
    """Who it is."""
    host: str
    """Name of its machine."""
    argv: tuple[str, ...]
    """The command it was started by."""
    clock_offset: float
    """Wall clock minus monotonic clock of its machine [s]."""

    @staticmethod
    def here() -> Holder:
        """Return this process."""
        return Holder(
            process=ProcessIdentity.of(os.getpid()),
            host=socket.gethostname(),
            argv=(sys.executable, *sys.argv),
            clock_offset=time.time() - time.monotonic(),
        )

    def monotonic(self) -> float:
        """Return the monotonic clock of its machine [s]; from another one as well as wall clocks agree."""
        return time.monotonic() if self.process.boot_id == boot_id() else time.time() - self.clock_offset


class RunLock:
    """The lock of one run, held from creation to :meth:`release` or the death of the process."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Args:
            path: The lock file; created if missing.

        Raises:
            RunError: Another process holds it, the folder cannot be written, or the system has no POSIX locks.
        """
        if fcntl is None:
            raise RunError("runs need POSIX file locks, which this system lacks; use Linux, macOS or WSL")
        self._path = path.resolve()
        if _held.get(self._path) == os.getpid():
            raise RunError(_already_trained(path.parent.name, os.getpid()))
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunError(cannot_write(path, error)) from error
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _query(self._descriptor).pid
            os.close(self._descriptor)
            raise RunError(_already_trained(path.parent.name, holder)) from error
        _held[self._path] = os.getpid()

    def release(self) -> None:
        """Free the lock; calling it twice does nothing."""
        if _held.pop(self._path, None) is not None:
            os.close(self._descriptor)


def probe_lock(path: Path) -> LockState:
    """Return whether ``path`` is locked and by whom, without taking the lock."""
    resolved = path.resolve()
    if _held.get(resolved) == os.getpid():
        return LockState(held=True, pid=os.getpid())
    if fcntl is None:
        return LockState(held=False)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return LockState(held=False)
    try:
        return _query(descriptor)
    finally:
        os.close(descriptor)


def claim_run(paths: RunPaths, *, resume: bool, overwrite: bool) -> RunLock:
    """Take the lock of a run and make sure that nothing is overwritten silently.

    Nothing is deleted here: ``--overwrite`` clears the folder only after the config was found good.

    Args:
        paths: The run.
        resume: Continue it; it must exist.
        overwrite: Replace it if it exists.

    Raises:
        UsageError: The run id cannot name a folder.
        RunError: Somebody trains it, it exists and neither flag was given, or there is nothing to resume.
    """
    check_run_id(paths.run_id)
    if resume and not paths.run_json.is_file():
        raise RunError(f"run '{paths.run_id}': nothing to resume in {paths.folder}; start it without --resume")
    try:
        paths.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(cannot_write(paths.folder, error)) from error
    lock = RunLock(paths.run_lock)
    try:
        refuse_to_overwrite(paths, resume=resume, overwrite=overwrite)
    except RunError:
        lock.release()
        raise
    return lock


def boot_id() -> str | None:
    """Return an id of this boot of the machine, or None where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def refuse_while_trained(paths: RunPaths) -> None:
    """Raise if somebody trains the run, without taking its lock.

    Raises:
        RunError: Somebody does.
    """
    lock = probe_lock(paths.run_lock)
    if lock.held:
        raise RunError(_already_trained(paths.run_id, lock.pid))


def refuse_to_overwrite(paths: RunPaths, *, resume: bool, overwrite: bool) -> None:
    """Raise if a start would silently replace what an earlier run left.

    Raises:
        RunError: It would, and neither flag was given.
    """
    if resume or overwrite:
        return
    if paths.run_json.is_file():
        raise RunError(
            f"run '{paths.run_id}' exists in {paths.folder}; continue it with --resume, replace it with --overwrite, "
            "or choose another --run-id"
        )
    for checkpoint in (paths.best, paths.last):
        if checkpoint.is_file():
            raise RunError(
                f"run '{paths.run_id}': {checkpoint} holds a checkpoint of an earlier run; replace it with "
                "--overwrite, or choose another --run-id or --output"
            )


def _already_trained(run_id: str, pid: int | None) -> str:
    who = f"pid {pid}" if pid else "another process"
    return (
        f"run '{run_id}' is already being trained by {who}; stop it with 'drivetrain stop {run_id}', "
        "or choose another --run-id"
    )


def _query(descriptor: int) -> LockState:
    """Ask the kernel who would keep us from locking the whole file; the C struct differs by platform."""
    assert fcntl is not None
    if sys.platform == "darwin":
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack("qqihh", 0, 0, 0, fcntl.F_WRLCK, 0))
        _, _, pid, kind, _ = struct.unpack("qqihh", answer)
    else:
        answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        kind, _, _, _, pid = struct.unpack("hhqqi4x", answer)
    if kind == fcntl.F_UNLCK:
        return LockState(held=False)
    return LockState(held=True, pid=pid if pid > 0 else None)


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on (field 3), or nothing."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text[text.rfind(")") + 2 :].split()  # the name in parentheses may hold anything
