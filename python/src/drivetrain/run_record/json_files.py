"""JSON on disk: whole files replaced atomically, lines appended in one write, the newest lines read from the end."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from drivetrain.errors import RunError

_BLOCK = 65536
"""Bytes read at a time when looking for the newest lines."""


def write_bytes_atomic(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace ``path`` by ``content``; see :func:`write_atomic`."""
    write_atomic(path, lambda file: file.write(content), durable=durable)


def write_atomic(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = False) -> None:
    """Replace ``path`` by what is written: a reader sees the old or the new file, never a part.

    Args:
        path: Target; its folder must exist.
        write: Writes all bytes of the file.
        durable: Also survive a power cut (fsync of file and folder, some milliseconds).

    Raises:
        RunError: The folder cannot be written or the disk is full; the old file is untouched.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(cannot_write(path, error)) from error


def link_atomic(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disk knows no links; an older ``target`` is replaced.

    Raises:
        RunError: The folder cannot be written or the disk is full; an older ``target`` is untouched.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
        partial.replace(target)
        # Renaming one name of a file to another of the same file does nothing, and leaves the first.
        partial.unlink(missing_ok=True)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(cannot_write(target, error)) from error


def write_json_atomic(path: Path, data: Mapping[str, Any], *, durable: bool = False) -> None:
    """Replace ``path`` by strict JSON (a NaN or infinity is refused); see :func:`write_bytes_atomic`."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, indent=1)
    write_bytes_atomic(path, text.encode() + b"\n", durable=durable)


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append ``row`` as one line of strict JSON, in one write: whole, or not at all.

    Raises:
        RunError: The file cannot be written or the disk is full; earlier lines are untouched.
    """
    append_bytes(path, json.dumps(row, allow_nan=False, ensure_ascii=False).encode() + b"\n")


def append_bytes(path: Path, content: bytes) -> None:
    """Append ``content`` in one write: whole, or not at all.

    Raises:
        RunError: The file cannot be written or the disk is full; what it held before is untouched.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            written = os.write(descriptor, content)
            if written != len(content):
                # A full disk takes a part: give it back, so that the file still ends with a whole line or record.
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
                raise OSError(28, "No space left on device")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in ``path``, or None if the file is missing or is not a JSON object."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def read_jsonl_tail(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the newest ``count`` rows, oldest first, without reading the rest of the file.

    A torn last line (the writer died, or is writing) and lines that are no JSON objects are skipped. Rows that carry
    ``life`` and ``step`` and were written by an earlier life at or beyond the first step of a later life are dropped:
    that later life lived them again.

    Args:
        path: A file of one JSON object per line; a missing file has no rows.
        count: Largest number of rows.
    """
    rows = []
    for line in _last_complete_lines(path, count):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return _drop_relived(rows)


def drop_torn_line(path: Path) -> None:
    """Cut off what follows the last newline, so that the next line starts on its own."""
    try:
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            tail, _ = _read_back(file, size, newlines=1)
            torn = len(tail) - (tail.rfind(b"\n") + 1)
            if torn:
                file.truncate(size - torn)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error


def cannot_write(path: Path, error: OSError) -> str:
    """Return the one-line message for a file that could not be written, with its remedy."""
    reason = error.strerror or str(error)
    remedy = "free some space" if error.errno in (28, 122) else "check that the folder exists and is writable"
    return f"{path}: cannot write ({reason}); {remedy}; what was written before is kept"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_back(file: Any, size: int, *, newlines: int) -> tuple[bytes, int]:
    """Return the end of a file that holds at least ``newlines`` newlines (or all of it), and where it starts."""
    tail, start = b"", size
    while start > 0 and tail.count(b"\n") < newlines:
        step = min(_BLOCK, start)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    return tail, start


def _last_complete_lines(path: Path, count: int) -> list[bytes]:
    if count < 1:
        return []
    try:
        with path.open("rb") as file:
            tail, start = _read_back(file, file.seek(0, os.SEEK_END), newlines=count + 1)
    except OSError:
        return []
    lines = tail.split(b"\n")
    complete = lines[:-1]  # what follows the last newline is torn, or nothing
    if start > 0:
        complete = complete[1:]  # the first piece is the end of a line that began before
    return complete[-count:]


def _drop_relived(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    newest_life: int | None = None
    first_step = float("inf")  # of the lives later than the row at hand
    seen = float("inf")  # of the life at hand and later ones
    for row in reversed(rows):
        life, step = row.get("life"), row.get("step")
        if not isinstance(life, int) or not isinstance(step, int | float):
            kept.append(row)
            continue
        if newest_life is None or life < newest_life:
            newest_life, first_step = life, seen
        if step < first_step:
            kept.append(row)
            seen = min(seen, step)
    return kept[::-1]
