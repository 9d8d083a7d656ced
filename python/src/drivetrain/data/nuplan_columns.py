"""Columns of somebody else's table as arrays: fast where every row is as it should be, slow and forgiving elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from drivetrain.sim.scenario import Bool, Float64, Int64

TOKEN_BYTES = 8


def tokens(column: Sequence[Any]) -> tuple[np.ndarray, Bool]:
    """Return 8-byte tokens as uint64 [n] (16 hexadecimal characters elsewhere), and which rows hold one."""
    try:
        joined = b"".join(column)
        if len(joined) == TOKEN_BYTES * len(column) and set(map(len, column)) <= {TOKEN_BYTES}:
            return np.frombuffer(joined, dtype=">u8").astype(np.uint64), np.ones(len(column), dtype=np.bool_)
    except TypeError:
        pass
    held = [isinstance(value, bytes) and len(value) == TOKEN_BYTES for value in column]
    joined = b"".join(value if good else bytes(TOKEN_BYTES) for value, good in zip(column, held, strict=True))
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64), np.array(held, dtype=np.bool_)


def numbers(column: Sequence[Any]) -> Float64:
    """Return numbers as float64 [n]; NaN where a row holds none."""
    try:
        return np.array(column, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.array([_number(value) for value in column])


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) else np.nan
    except OverflowError:
        return np.nan


class TokenRows:
    """Finds the row of a token among many."""

    def __init__(self, token: np.ndarray) -> None:
        """Take the tokens of rows 0, 1, ...; of equal ones the first counts."""
        self._order = np.argsort(token, kind="stable")
        self._sorted = token[self._order]

    def find(self, token: np.ndarray) -> Int64:
        """Return the row of each token, -1 where there is none."""
        if not len(self._sorted):
            return np.full(len(token), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._sorted, token), len(self._sorted) - 1)
        return np.where(self._sorted[place] == token, self._order[place], -1)
