"""Reading a SQLite file of somebody else's: read-only, and every failure is one line that names the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from drivetrain.errors import DataError

_REMEDY = "download or copy the file again"
PIECE = 10_000
"""Rows read at a time: as fast as all at once, in a few megabytes."""


class SqliteFile:
    """An SQLite file opened read-only."""

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        """Open the file.

        Args:
            path: The file.
            timeout_s: How long to wait for a program that has locked it [s].

        Raises:
            DataError: It is missing or no SQLite file.
        """
        self.path, self._timeout_s = path, timeout_s
        if not path.is_file():
            raise DataError(f"{path}: does not exist or is not a file")
        self._connection: sqlite3.Connection = self._attempt(self._connect)
        try:
            rows = self.rows("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        except DataError:
            self.close()
            raise
        self.tables = {str(name) for (name,) in rows}
        """Names of the tables."""

    def _connect(self) -> sqlite3.Connection:
        # In a folder that cannot be written SQLite opens a file in WAL mode only if told that nobody changes it; where
        # no write-ahead log lies beside it, nobody does.
        still = "&immutable=1" if self._is_in_wal_mode() and not self._has_wal() else ""
        return sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro{still}", uri=True, timeout=self._timeout_s)

    def _is_in_wal_mode(self) -> bool:
        try:
            with self.path.open("rb") as file:
                return 2 in file.read(20)[18:]
        except OSError:
            return False

    def _has_wal(self) -> bool:
        wal = self.path.with_name(f"{self.path.name}-wal")
        return wal.is_file() and wal.stat().st_size > 0

    def __enter__(self) -> SqliteFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def require(self, tables: Sequence[str]) -> None:
        """Check that the tables exist.

        Raises:
            DataError: One is missing.
        """
        for table in tables:
            if table not in self.tables:
                found = ", ".join(sorted(self.tables)[:30]) or "none"
                raise DataError(f"{self.path}: table '{table}' is missing (tables: {found}); {_REMEDY}")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows of a query.

        Raises:
            DataError: The file is truncated or damaged, or a column is missing.
        """
        return self._attempt(lambda: self._connection.execute(query).fetchall())

    def pieces(self, query: str, *, size: int = PIECE) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query, so many at a time.

        Raises:
            DataError: As :meth:`rows`.
        """
        cursor = self._attempt(lambda: self._connection.execute(query))
        while rows := self._attempt(lambda: cursor.fetchmany(size)):
            yield rows

    def _attempt(self, action: Any) -> Any:
        try:
            return action()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            if "locked" in reason:
                raise DataError(
                    f"{self.path}: is locked by another program ({reason}); close that program and try again"
                ) from error
            raise DataError(f"{self.path}: cannot be read as SQLite ({reason}); {_REMEDY}") from error
