"""Which scenarios an evaluation drives: of a split, of some types, so many of each, so many in all.

N scenarios.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.selection import Selection
from drivetrain.data.selection_files import read_token_file
from drivetrain.data.store_files import SPLITS
from drivetrain.errors import DataError, UsageError, nearest
from drivetrain.sim.scenario import Scenario

Source = ScenarioStore | Sequence[Scenario]
"""A store, or scenarios as they are."""
MOST_COMPARED = 10_000
"""Among more ids than this the nearest one is not looked for."""


def choose_rows(
    data: Source,
    *,
    split: str,
    episodes: int | None = None,
    seed: int = 0,
    types: Sequence[str] = (),
    max_per_type: int | None = None,
    scenarios: str | Path | None = None,
) -> NDArray[np.int64]:
    """Return which scenarios are driven: rows of a store or places in a list, ascending.

    Args:
        data: A store or scenarios.
        split: Of a store.
        episodes: At most so many, of a store drawn by ``seed``, of a list the first; None: all.
        seed: Of the draws.
        types: Only scenarios of these types, given by names or shell patterns; empty: all.
        max_per_type: At most so many of each type, drawn by ``seed``; None: all.
        scenarios: A file that lists ids (:func:`listed_rows`): these instead of those of ``split``.

    Raises:
        DataError: The split has no scenarios, or the file or one that it lists does not exist.
        UsageError: There is no such split or type, or fewer than one scenario is asked for.
    """
    for name, number in (("episodes", episodes), ("max_per_type", max_per_type)):
        if number is not None and number < 1:
            raise UsageError(f"{name}: {number} is too few; use 1 or more")
    if seed < 0:
        raise UsageError(f"seed: {seed} is negative; use 0 or more")
    rows = _rows_of_split(data, split) if scenarios is None else listed_rows(data, Path(scenarios))
    if types and len(rows):
        kinds = np.array(types_of(data, rows))
        rows = rows[np.isin(kinds, matching_types(types, kinds.tolist()))]
    if max_per_type is not None:
        rows = _some_of_each(rows, np.array(types_of(data, rows)), max_per_type, seed)
    if episodes is not None and episodes < len(rows):
        if not isinstance(data, ScenarioStore):
            return rows[:episodes]
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:episodes])
    return rows


def listed_rows(data: Source, path: Path) -> NDArray[np.int64]:
    """Return the rows of the scenarios that a file lists, ascending, of whatever split.

    Args:
        data: A store or scenarios.
        path: One id per line; empty lines and what follows a ``#`` do not count.

    Raises:
        DataError: The file cannot be read, or lists a scenario that these data do not have.
        UsageError: It holds something else than ids.
    """
    asked = read_token_file(path)
    if asked.tokens is None or asked != Selection(tokens=asked.tokens, tag_spacing_s=asked.tag_spacing_s):
        raise UsageError(f"{path}: asks for more than scenarios by their ids; give a text file with one id per line")
    rows = np.arange(len(data))
    ids = ids_of(data, rows)
    row_of = dict(zip(ids, rows.tolist(), strict=True))
    wanted = [f"{token:016x}" for token in asked.tokens]
    missing = [name for name in wanted if name not in row_of]
    if missing:
        place = data.path if isinstance(data, ScenarioStore) else "the scenarios"
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        hint = nearest(missing[0], ids) if len(ids) <= MOST_COMPARED else ""
        raise DataError(
            f"{path}: lists scenario '{missing[0]}'{others}, not among the {len(ids)} of {place}"
            f"{hint or '; give the data that the list was made from'}"
        )
    return np.sort(np.array([row_of[name] for name in wanted], dtype=np.int64))


def splits_of(data: Source, rows: NDArray[np.int64]) -> str:
    """Return the names of the splits that some rows are in, joined by ``+``."""
    if isinstance(data, ScenarioStore):
        there = {SPLITS[number] for number in np.unique(data.index["split"][rows]).tolist()}
    else:
        there = {data[row].split for row in rows.tolist()}
    return "+".join(name for name in SPLITS if name in there)


def types_of(data: Source, rows: NDArray[np.int64]) -> list[str]:
    """Return the types of scenarios, in the order of their rows."""
    if isinstance(data, ScenarioStore):
        return [data.types[number] for number in data.index["type"][rows].tolist()]
    return [data[row].scenario_type for row in rows.tolist()]


def ids_of(data: Source, rows: NDArray[np.int64]) -> list[str]:
    """Return the ids of scenarios, in the order of their rows."""
    if isinstance(data, ScenarioStore):
        return [f"{token:016x}" for token in data.index["token"][rows].tolist()]
    return [data[row].scenario_id for row in rows.tolist()]


def matching_types(patterns: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """Return the types that names or shell patterns (``starting_*``) mean.

    Args:
        patterns: What was asked for.
        kinds: The types of the scenarios there are.

    Raises:
        UsageError: A pattern means none; the message lists those there are.
    """
    there = sorted(set(kinds))
    found: set[str] = set()
    for pattern in patterns:
        matches = [kind for kind in there if fnmatchcase(kind, pattern)]
        if not matches:
            counts = ", ".join(f"{kind} ({kinds.count(kind)})" for kind in there)
            raise UsageError(
                f"type: there are no scenarios of type '{pattern}', only {counts}{nearest(pattern, there)}"
            )
        found.update(matches)
    return sorted(found)


def fingerprint_of(content: str, scenario_ids: Sequence[str]) -> str:
    """Return what identifies a choice of scenarios of some content."""
    return hashlib.sha256("\n".join([content, *scenario_ids]).encode()).hexdigest()[:16]


def load_rows(data: Source, rows: NDArray[np.int64]) -> list[Scenario]:
    """Return the scenarios of some rows."""
    if isinstance(data, ScenarioStore):
        return [data.load(row) for row in rows.tolist()]
    return [data[row] for row in rows.tolist()]


def _rows_of_split(data: Source, split: str) -> NDArray[np.int64]:
    if not isinstance(data, ScenarioStore):
        return np.arange(len(data))
    if split not in SPLITS:
        raise UsageError(f"split: '{split}' is not one of {', '.join(SPLITS)}{nearest(split, SPLITS)}")
    rows = data.rows(split)
    if not len(rows):
        there = ", ".join(f"{name} has {count}" for name, count in data.splits.items() if count)
        raise DataError(
            f"{data.path}: split '{split}' has no scenarios{f'; {there}' if there else ', nor has any other'}"
        )
    return rows


def _some_of_each(rows: NDArray[np.int64], kinds: NDArray[np.str_], limit: int, seed: int) -> NDArray[np.int64]:
    """Return at most ``limit`` rows of each type; which of a type does not depend on what other types there are."""
    kept = [rows[:0]]
    for kind in np.unique(kinds).tolist():
        drawn = np.random.default_rng([seed, zlib.crc32(kind.encode())])
        kept.append(drawn.permutation(rows[kinds == kind])[:limit])
    return np.sort(np.concatenate(kept))
