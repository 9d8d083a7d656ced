"""Values out of a scene of NumPy arrays and lists, checked: what is wrong is said with its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from drivetrain.data.json_values import PartError

FARTHEST = 1e8
"""Coordinates [m] and angles [rad] are smaller than this."""
UNUSABLE = f"is NaN, infinite or beyond {FARTHEST:g}"
"""What is said of other numbers."""
_LONGEST_M = 100_000.0
"""Lanes of forty kilometres occur; routes along them are sampled metre by metre."""


def column(value: Any, where: str, length: int) -> np.ndarray:
    """Return one number per step from an array of shape [T] or [T, 1], or a list, float64 [T].

    Raises:
        PartError: It is none, or of another length.
    """
    numbers = _numeric(value, where, columns=1)
    if len(numbers) != length:
        raise PartError(where, f"must have {length} entries", len(numbers))
    return numbers.reshape(length)


def points(value: Any, where: str, length: int | None = None) -> np.ndarray:
    """Return x and y from an array of shape [n, 2] or [n, 3], or a list of such points, float64 [n, 2].

    Raises:
        PartError: It is none, or of another length.
    """
    numbers = _numeric(value, where, columns=3)
    if numbers.ndim != 2 or numbers.shape[1] < 2:
        raise PartError(where, "must be points of 2 or 3 numbers")
    if length is not None and len(numbers) != length:
        raise PartError(where, f"must have {length} entries", len(numbers))
    return numbers[:, :2]


def line(value: Any, where: str, *, least: int = 2) -> np.ndarray:
    """Return points without repetitions, float64 [n, 2].

    Raises:
        PartError: It is none, a point is NaN or too far, fewer than ``least`` different ones are left, or the line is
            too long.
    """
    found = points(value, where)
    usable = is_usable(found)
    if not usable.all():
        raise PartError(f"{where}[{int(np.flatnonzero(~usable)[0])}]", UNUSABLE)
    moved = np.ones(len(found), dtype=np.bool_)
    moved[1:] = (np.diff(found, axis=0) != 0).any(axis=1)
    found = found[moved]
    if len(found) < least:
        raise PartError(where, f"has fewer than {least} different points")
    if float(np.hypot(*np.diff(found, axis=0).T).sum()) > _LONGEST_M:
        raise PartError(where, f"is longer than {_LONGEST_M / 1000:g} km")
    return found


def is_usable(values: np.ndarray) -> np.ndarray:
    """Return for each row of coordinates or angles whether all are numbers that are not too large, bool [n]."""
    return np.all(np.abs(values) < FARTHEST, axis=1)  # pyright: ignore[reportReturnType]


def ring(value: Any, where: str) -> np.ndarray:
    """Return a closed ring of at least three different points, float64 [n, 2]; raises PartError like :func:`line`."""
    found = line(value, where, least=3)
    if (found[0] == found[-1]).all():
        if len(found) < 4:
            raise PartError(where, "has fewer than 3 different points")
        return found
    return np.concatenate([found, found[:1]])


def is_area(closed: np.ndarray) -> bool:
    """Return whether a closed ring [n, 2] bounds an area and does not cross itself."""
    polygon = shapely.Polygon(closed)
    return bool(polygon.is_valid and polygon.area > 0)


def _numeric(value: Any, where: str, *, columns: int) -> np.ndarray:
    """Return an array of at most ``columns`` numbers per row, float64; raises PartError otherwise."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf" or not 1 <= value.ndim <= 2 or (value.ndim == 2 and value.shape[1] > columns):
            raise PartError(where, f"must be an array of numbers with at most {columns} columns")
        return value.astype(np.float64)
    if not isinstance(value, list | tuple):
        raise PartError(where, "must be an array of numbers")
    # Rows are looked at before they are put together: a small file can name one long list many times.
    if any(np.size(row) > columns if isinstance(row, np.ndarray) else _is_long(row, columns) for row in value):
        raise PartError(where, f"must be an array of numbers with at most {columns} columns")
    try:
        numbers = np.array([_plain(row) for row in value], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise PartError(where, "holds something that is no number") from error
    if numbers.ndim > 2:
        raise PartError(where, f"must be an array of numbers with at most {columns} columns")
    return numbers


def _is_long(row: Any, columns: int) -> bool:
    return isinstance(row, list | tuple) and len(row) > columns


def _plain(row: Any) -> Any:
    """Return a row of plain numbers; raises TypeError for anything else (text would be read as a number)."""
    parts = row.tolist() if isinstance(row, np.ndarray) else row
    if not all(isinstance(part, int | float) for part in (parts if isinstance(parts, list | tuple) else [parts])):
        raise TypeError
    return parts
