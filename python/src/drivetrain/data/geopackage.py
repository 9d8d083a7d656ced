"""Layers of a GeoPackage as shapely geometries in metres.

Blob headers are read by hand, the WKB inside by shapely, and pyproj projects to the grid that the file names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from pyproj.exceptions import ProjError

from drivetrain.data.sqlite_file import SqliteFile
from drivetrain.errors import DataError

_ENVELOPE_BYTES = (0, 32, 48, 48, 64)
_EMPTY_FLAG = 0x10


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """The usable rows of one layer, ordered by fid."""

    fid: list[int]
    """Primary keys."""
    geometry: np.ndarray
    """Shapely geometries [m] in the projected grid, shape [rows]."""
    columns: dict[str, list[Any]]
    """The columns asked for."""
    dropped: int
    """Rows left out because their geometry is missing, empty, damaged or not finite."""
    closed: int
    """Rows with a ring that did not end where it began, which was closed."""

    def __len__(self) -> int:
        return len(self.fid)


def wkb_of(blob: bytes) -> bytes | None:
    """Return the well-known binary inside a GeoPackage blob; None where it holds no geometry.

    Raises:
        ValueError: The blob is not a GeoPackage geometry.
    """
    if len(blob) < 8 or blob[:2] != b"GP":
        raise ValueError("does not start with 'GP'")
    flags = blob[3]
    envelope = flags >> 1 & 0x7
    if envelope >= len(_ENVELOPE_BYTES):
        raise ValueError(f"has envelope code {envelope}")
    if flags & _EMPTY_FLAG:
        return None
    return blob[8 + _ENVELOPE_BYTES[envelope] :]


class GeoPackage:
    """A map file, opened for reading."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its coordinate systems.

        Raises:
            DataError: The file or its ``meta`` table cannot be used.
        """
        self.path = path
        self._file = SqliteFile(path)
        try:
            self.epsg, self._projection = self._grid()
        except DataError:
            self._file.close()
            raise

    def _grid(self) -> tuple[int, pyproj.Transformer]:
        """Return the EPSG code of the projected grid and the way from the file's coordinates to it."""
        self._file.require(["meta"])
        meta = dict(self._file.rows("SELECT key, value FROM meta"))
        system = str(meta.get("projectedCoordSystem", ""))
        geographic = str(meta.get("geographicCoordSystem", "epsg:4326"))
        try:
            epsg = int(system.lower().removeprefix("epsg:"))
            return epsg, pyproj.Transformer.from_crs(geographic, f"epsg:{epsg}", always_xy=True)
        except (ValueError, ProjError) as error:
            raise DataError(
                f"{self.path}: meta.projectedCoordSystem is '{system}', expected something like 'epsg:32611'"
            ) from error

    def __enter__(self) -> GeoPackage:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def require(self, layers: Sequence[str]) -> None:
        """Check that the layers exist; raises DataError otherwise."""
        self._file.require(layers)

    def layer(self, name: str, columns: Sequence[str] = ()) -> Layer:
        """Return a layer, projected.

        Raises:
            DataError: The table or a column is missing, or the file is damaged.
        """
        self._file.require([name])
        # Column names stay unquoted: SQLite reads an unknown name in double quotes as a text.
        rows = self._file.rows(f'SELECT {", ".join(("fid", "geom", *columns))} FROM "{name}" ORDER BY fid')
        with np.errstate(invalid="ignore"):  # what is not finite is dropped below, and counted
            shapes, was_open = _parse([blob for _, blob, *_ in rows])
            geometry = self._project(shapes)
        good = _are_usable(geometry)
        usable = np.flatnonzero(good).tolist()
        return Layer(
            fid=[int(rows[i][0]) for i in usable],
            geometry=geometry[usable],
            columns={column: [rows[i][2 + k] for i in usable] for k, column in enumerate(columns)},
            dropped=len(rows) - len(usable),
            closed=int((was_open & good).sum()),
        )

    def table(self, name: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return columns of a table without its geometry, ordered by fid; raises DataError like :meth:`layer`."""
        self._file.require([name])
        return self._file.rows(f'SELECT {", ".join(columns)} FROM "{name}" ORDER BY fid')

    def _project(self, geometry: np.ndarray) -> np.ndarray:
        points = shapely.get_coordinates(geometry)
        if len(points):
            east, north = self._projection.transform(points[:, 0], points[:, 1])
            shapely.set_coordinates(geometry, np.stack([east, north], axis=1))
        return geometry


def _parse(blobs: list[object]) -> tuple[np.ndarray, np.ndarray]:
    """Return the geometries of blobs (None where there is none that can be read) and which had an open ring."""
    content = np.full(len(blobs), None, dtype=object)
    for i, blob in enumerate(blobs):
        if isinstance(blob, bytes):
            with contextlib.suppress(ValueError):
                content[i] = wkb_of(blob)
    shapes = shapely.from_wkb(content, on_invalid="ignore")
    odd = np.flatnonzero(shapely.is_missing(shapes) & np.array([wkb is not None for wkb in content], dtype=np.bool_))
    was_open = np.zeros(len(blobs), dtype=np.bool_)
    if len(odd):
        shapes[odd] = shapely.from_wkb(content[odd], on_invalid="fix")
        was_open[odd] = ~shapely.is_missing(shapes[odd])
    return shapely.force_2d(shapes), was_open


def _are_usable(geometry: np.ndarray) -> np.ndarray:
    """Return which geometries are there, hold something, and are finite, shape [geometries]."""
    usable = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
    points, owner = shapely.get_coordinates(geometry, return_index=True)
    usable[owner[~np.isfinite(points).all(axis=1)]] = False
    return usable
