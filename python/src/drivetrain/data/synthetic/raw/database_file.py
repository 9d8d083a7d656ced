"""A new SQLite file that appears complete or not at all, with the same bytes for the same content."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from drivetrain.errors import DataError

UNFINISHED = ".partial"
"""End of the name of a file that is being written; each process has its own, which a killed one leaves behind."""


@contextlib.contextmanager
def new_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Give an empty database to fill; it replaces ``path`` when the block ends without an error.

    Raises:
        DataError: The disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        # One transaction into a file nobody else sees: neither a journal nor waiting for the disk in between is needed.
        connection = sqlite3.connect(temporary, isolation_level=None)
        try:
            for setting in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "page_size=4096"):
                connection.execute(f"PRAGMA {setting}")
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, sqlite3.OperationalError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"{path}: cannot be written ({reason}); free some space, or choose a folder you may write to"
        ) from error
