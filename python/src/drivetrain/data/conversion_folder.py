"""Where an interrupted conversion keeps what it has done: a hidden folder beside the store, held by one process.

::

    .<store>.converting/lock              held by the process that converts
    .<store>.converting/settings.json     what the parts were made with
    .<store>.converting/maps/<city>-<key>.dts  a map that was read
    .<store>.converting/parts/<log>-<key>.dts  a log that was read

The keys stand for the settings and, for a log, the place, size and time of its file: what a process of an earlier
conversion may still write is never taken for another's.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import drivetrain
from drivetrain.data.nuplan_files import MAP_INDEX
from drivetrain.data.store_files import STORE_VERSION, io_errors, write_json
from drivetrain.errors import DataError

_SETTINGS = "settings.json"


class ConversionFolder:
    """The working folder of one conversion; use as a context, which holds its lock."""

    def __init__(self, store: Path, key: str = "") -> None:
        """Name the folder.

        Args:
            store: Where the store is to appear.
            key: Stands for the settings, as :meth:`begin` found in another process.
        """
        self.store = store
        self.key = key
        self.path = store.with_name(f".{store.name}.converting")
        self.parts = self.path / "parts"
        self.maps = self.path / "maps"
        self._lock: TextIO | None = None

    def __enter__(self) -> ConversionFolder:
        """Take the lock.

        Raises:
            DataError: Another conversion to the same store runs, or the folder cannot be written.
        """
        with io_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise DataError(
                f"{self.store}: another conversion writes this store (process {holder}); wait for it or stop it"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def begin(self, settings: Mapping[str, Any]) -> bool:
        """Make the folder ready for a conversion; return whether parts of one with other settings were removed."""
        place = self.path / _SETTINGS
        text = json.dumps(settings, sort_keys=True)
        self.key = hashlib.sha256(text.encode()).hexdigest()[:16]
        try:
            same = place.is_file() and json.dumps(json.loads(place.read_text()), sort_keys=True) == text
        except ValueError:
            same = False
        with io_errors(self.path):
            discarded = not same and self.parts.is_dir() and any(self.parts.glob("*.dts"))
            if not same:
                shutil.rmtree(self.parts, ignore_errors=True)
                shutil.rmtree(self.maps, ignore_errors=True)
            self.parts.mkdir(exist_ok=True)
            self.maps.mkdir(exist_ok=True)
            if not same:
                write_json(place, settings)
            for stale in (*self.parts.glob(".*"), *self.maps.glob(".*.partial*")):
                stale.unlink(missing_ok=True)
        return discarded

    def part(self, log: Path) -> Path:
        """Return where the part of a log file lies; a file that has changed has another place.

        Raises:
            DataError: The file is gone.
        """
        try:
            state = log.stat()
        except OSError as error:
            raise DataError(f"{log}: cannot be read ({error.strerror}); it was there a moment ago") from error
        text = f"{self.key}/{log.resolve()}/{state.st_size}/{state.st_mtime_ns}"
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return self.parts / f"{log.name.removesuffix('.db')[:100]}-{key}.dts"

    def map_part(self, city: str) -> Path:
        """Return where the part of a city's map lies."""
        return self.maps / f"{city}-{self.key}.dts"

    def is_idle(self) -> bool:
        """Return whether nothing is kept here."""
        return not any(self.parts.glob("*.dts"))

    def remove(self) -> None:
        """Remove the folder and all parts."""
        shutil.rmtree(self.path, ignore_errors=True)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file; wait for who has it."""
    with io_errors(path):
        file = path.open("a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def conversion_settings(maps_root: Path, selection: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides on the content of a part, apart from its log file."""
    index = maps_root / MAP_INDEX
    maps = {}
    for file in sorted(maps_root.glob("*/*/map.gpkg")):
        state = file.stat()
        maps[str(file.relative_to(maps_root))] = [state.st_size, state.st_mtime_ns]
    return {
        "store_version": STORE_VERSION,
        "converter": _code_digest(),
        "maps_root": str(maps_root.resolve()),
        "maps": maps,
        "map_index": hashlib.sha256(index.read_bytes()).hexdigest() if index.is_file() else None,
        "selection": dict(selection),
    }


@functools.cache
def _code_digest() -> str:
    """Return a digest of the modules that make parts: after an update nothing older is used."""
    package = Path(drivetrain.__file__).parent
    digest = hashlib.sha256(drivetrain.__version__.encode())
    for file in sorted([*(package / "data").glob("*.py"), *(package / "sim").glob("*.py")]):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]
