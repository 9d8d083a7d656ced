"""Values out of a JSON scene, checked: what is wrong is said with the JSON path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

INVALID_FILL = -10_000.0
"""What the public converters write where a track is not valid."""


class PartError(Exception):
    """One part of a scene cannot be used; whoever reads it drops the part or gives up on the file."""

    def __init__(self, where: str, what: str, found: Any = None) -> None:
        super().__init__(f"{where} {what}" + ("" if found is None else f" (found {brief(found)})"))
        self.where = where
        """JSON path, e.g. ``objects[3].heading``."""
        self.what = what
        """What is wrong with it, in words that do not depend on the value, so that they can be counted."""


def field_of(error: PartError, part: str) -> str:
    """Return the field of a part that an error is about, without indices, so that equal problems count as one."""
    return error.where.removeprefix(part).lstrip(".").split("[")[0] or "entry"


def member(part: Any, key: str, where: str) -> Any:
    """Return ``part[key]``; raises PartError where it is missing."""
    if not isinstance(part, dict):
        raise PartError(where, f"must be an object with '{key}'", part)
    if key not in part:
        raise PartError(f"{where}.{key}", "is missing")
    return part[key]


def numbers(value: Any, where: str, length: int | None = None) -> np.ndarray:
    """Return a list of numbers, NaN for null, float64; raises PartError where it is none or of another length."""
    if not isinstance(value, list):
        raise PartError(where, "must be a list of numbers", value)
    if length is not None and len(value) != length:
        raise PartError(where, f"must have {length} entries", value)
    try:
        return np.array([math.nan if v is None else v for v in value], dtype=np.float64).reshape(len(value))
    except (TypeError, ValueError) as error:
        raise PartError(where, "holds something that is no number") from error


def vectors(value: Any, where: str, length: int | None = None) -> np.ndarray:
    """Return points [n, 2] written as a list of {x, y} or as {x: [...], y: [...]}; raises PartError otherwise."""
    if isinstance(value, dict):
        columns = [numbers(member(value, axis, where), f"{where}.{axis}", length) for axis in "xy"]
        if len(columns[0]) != len(columns[1]):
            raise PartError(where, "must have as many x as y", [len(column) for column in columns])
        return np.column_stack(columns)
    if not isinstance(value, list):
        raise PartError(where, "must be a list of {x, y}", value)
    if length is not None and len(value) != length:
        raise PartError(where, f"must have {length} entries", value)
    rows: list[Sequence[Any]] = [
        [member(point, "x", f"{where}[{i}]"), member(point, "y", f"{where}[{i}]")] for i, point in enumerate(value)
    ]
    columns = [numbers([row[axis] for row in rows], where) for axis in (0, 1)]
    return np.column_stack(columns)


def flags(value: Any, where: str, length: int) -> np.ndarray:
    """Return a list of booleans; raises PartError where it is none or of another length."""
    if not isinstance(value, list) or not all(isinstance(v, bool | int) for v in value):
        raise PartError(where, "must be a list of true and false", value)
    if len(value) != length:
        raise PartError(where, f"must have {length} entries", value)
    return np.array(value, dtype=np.bool_)


def size(value: Any, where: str) -> float:
    """Return a number that is not negative; raises PartError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise PartError(where, "must be a number of metres", "null" if value is None else value)
    return float(value)


def brief(value: Any) -> str:
    """Return a value in a few characters."""
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'object'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
