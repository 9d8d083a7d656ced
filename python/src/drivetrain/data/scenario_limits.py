"""Which scenarios of all logs together are kept: how far apart and how many.

Source: the scenario filters of nuplan-devkit and their order (per type, in all, then spacing in time). Where these
depend on the order in which logs happen to be read, or draw at random, the order here is that of log names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drivetrain.data.scenario_types import UNKNOWN
from drivetrain.data.selection import Selection
from drivetrain.sim.scenario import Bool, Int64


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """The scenarios of all logs, in the order of their logs."""

    token: np.ndarray
    """uint64, shape [N]."""
    kind: Int64
    """Scenario type, counting in ``types``, shape [N]."""
    types: tuple[str, ...]
    start_us: Int64
    """Time of the tag [us], shape [N]."""


def within_limits(candidates: Candidates, selection: Selection) -> tuple[Bool, dict[str, int]]:
    """Return which scenarios are kept, shape [N], and reasons with the number of those that are not."""
    kept = np.ones(len(candidates.token), dtype=np.bool_)
    dropped: dict[str, int] = {}

    def drop(reason: str, rows: np.ndarray) -> None:
        if len(rows):
            kept[rows] = False
            dropped[reason] = dropped.get(reason, 0) + len(rows)

    first = np.zeros(len(kept), dtype=np.bool_)
    first[np.unique(candidates.token, return_index=True)[1]] = True
    drop("scenario with the token of one of another log", np.flatnonzero(~first))
    if selection.limit_per_type is not None:
        for kind in range(len(candidates.types)):
            rows = np.flatnonzero(kept & (candidates.kind == kind))
            drop(f"scenario beyond {selection.limit_per_type} of its type", _surplus(rows, selection.limit_per_type))
    if selection.limit_total is not None:
        _limit_all(candidates, selection.limit_total, kept, drop)
    if selection.min_start_spacing_s is not None:
        reason = f"scenario within {selection.min_start_spacing_s:g} s of one of the same type"
        for kind in range(len(candidates.types)):
            drop(reason, _crowded(candidates, np.flatnonzero(kept & (candidates.kind == kind)), selection))
    return kept, dropped


def _limit_all(candidates: Candidates, limit: float, kept: Bool, drop) -> None:  # noqa: ANN001
    rows = np.flatnonzero(kept)
    wanted = limit if isinstance(limit, int) else math.ceil(limit * len(rows)) if limit < 1 else int(limit)
    reason = f"scenario beyond the {wanted} asked for in all"
    untyped = np.array([kind == UNKNOWN for kind in candidates.types], dtype=np.bool_)
    plain = rows[untyped[candidates.kind[rows]]] if len(candidates.types) else rows
    excess = len(rows) - wanted
    if excess <= 0:
        return
    if excess < len(plain):
        drop(reason, _surplus(plain, len(plain) - excess))
        return
    drop(reason, plain)
    typed = np.flatnonzero(kept)
    drop(reason, _surplus(typed[np.argsort(candidates.token[typed], kind="stable")], wanted))


def _surplus(rows: np.ndarray, limit: int) -> np.ndarray:
    """Return the rows that are left out when evenly spread ones are kept, no more than the limit."""
    if len(rows) <= limit:
        return rows[:0]
    return np.setdiff1d(rows, rows[np.arange(limit) * len(rows) // limit])


def _crowded(candidates: Candidates, rows: np.ndarray, selection: Selection) -> np.ndarray:
    assert selection.min_start_spacing_s is not None
    spacing_us = selection.min_start_spacing_s * 1e6
    rows = rows[np.argsort(candidates.start_us[rows], kind="stable")]
    crowded, free_from = [], -math.inf
    for row, start in zip(rows.tolist(), candidates.start_us[rows].tolist(), strict=True):
        if start < free_from:
            crowded.append(row)
        else:
            free_from = start + spacing_us
    return np.array(crowded, dtype=np.int64)
