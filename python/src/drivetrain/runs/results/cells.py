"""The cells of the algorithm table on disk: one JSON per row and seed, with the values of every scenario.

E scenarios, in the order of their ids.

Values are kept as text, a word or a sign per scenario: small, the same for everybody, and readable in a diff.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import DataError
from drivetrain.run_record import read_json, write_json_atomic
from drivetrain.runs.results.table import ResultTable, Row, differences, is_built, settings_of

FORMAT, VERSION = "drivetrain-result", 1
RATES = ("collision_at_fault_rate", "offroad_rate", "red_light_rate")
"""Metrics that are 0 or 1 in a scenario."""
DIGITS = {"score": 4, "progress": 4, "mean_abs_jerk": 3}
"""Decimals that are kept of the others."""
METRICS = ("score", *RATES, "progress", "mean_abs_jerk")
"""What a cell holds of every scenario."""
UNKNOWN = "-"
"""Of a scenario without a score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drive:
    """What one cell drove in one kind of traffic and dynamics."""

    traffic: str
    dynamics: str
    asked: int
    """Scenarios that were to be driven."""
    values: Mapping[str, NDArray[np.float64]]
    """Metric -> value per scenario, NaN where there is none, each of shape [E]."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Time of a training."""

    seconds: float = 0.0
    """Wall time [s]."""
    cpu_seconds: float = 0.0
    """Processor time of all its processes [s]."""

    def __add__(self, other: Spent) -> Spent:
        """Return both together."""
        return Spent(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One row for one seed, done."""

    row: str
    seed: int | None
    settings: Mapping[str, Any]
    """By which it was made (:func:`~drivetrain.runs.results.table.settings_of`)."""
    scenarios: str
    """Fingerprint of the scenarios' ids."""
    steps: int | None
    """Steps of training; None of a planner."""
    spent: Spent | None
    """On training, without the prior; None of a planner."""
    prior_spent: Spent
    """On the prior's training, its own prior's included."""
    drives: tuple[Drive, ...]

    @property
    def total(self) -> Spent | None:
        """What was spent on training with the prior."""
        return None if self.spent is None else self.spent + self.prior_spent

    def drive(self, traffic: str, dynamics: str) -> Drive | None:
        """Return what it drove there."""
        return next((d for d in self.drives if (d.traffic, d.dynamics) == (traffic, dynamics)), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class CellState:
    """A place in the table and what stands there."""

    row: Row
    seed: int | None
    path: Path
    cell: Cell | None
    """None: missing."""
    stale: tuple[str, ...] = ()
    """Settings in which the cell differs from what is asked."""
    reason: str = ""
    """Why it cannot be filled yet; empty: it can."""

    @property
    def state(self) -> str:
        """``done``, ``stale`` or ``missing``."""
        if self.cell is None:
            return "missing"
        return "stale" if self.stale else "done"

    @property
    def label(self) -> str:
        """Row and seed, for people."""
        return self.row.name if self.seed is None else f"{self.row.name} seed {self.seed}"


def cell_states(table: ResultTable, folder: Path, root: Path, *, split: str) -> list[CellState]:
    """Return every cell of a table: seed by seed, from top to bottom.

    Args:
        table: What is asked.
        folder: Where the cells lie.
        root: The project root.
        split: Which part of the data.

    Raises:
        DataError: A cell is damaged.
    """
    order: dict[int | None, None] = dict.fromkeys([None, *table.seeds])
    return [
        _state(table, row, seed, folder, root, split=split)
        for seed in order
        for row in table.rows
        if seed in table.seeds_of(row)
    ]


def _state(table: ResultTable, row: Row, seed: int | None, folder: Path, root: Path, *, split: str) -> CellState:
    path = folder / split / (f"{row.name}.json" if seed is None else f"{row.name}-{seed}.json")
    cell = read_cell(path) if path.is_file() else None
    if not is_built(table, row, root):
        reason = f"{table.trained(row).config} does not exist"
        return CellState(row=row, seed=seed, path=path, cell=cell, stale=("config",) if cell else (), reason=reason)
    asked = settings_of(table, row, root, split=split)
    stale = tuple(differences(cell.settings, asked)) if cell is not None else ()
    return CellState(row=row, seed=seed, path=path, cell=cell, stale=stale)


def read_cell(path: Path) -> Cell:
    """Return a cell.

    Raises:
        DataError: The file is damaged, or of a newer format.
    """
    document = read_json(path)
    try:
        if document is None or document["format"] != FORMAT or document["version"] > VERSION:
            raise ValueError("no result of this version")
        training = document["training"]
        return Cell(
            row=document["row"],
            seed=document["seed"],
            settings=document["settings"],
            scenarios=document["scenarios"],
            steps=training["steps"] if training else None,
            spent=Spent(training["seconds"], training["cpu_seconds"]) if training else None,
            prior_spent=Spent(training["prior_seconds"], training["prior_cpu_seconds"]) if training else Spent(),
            drives=tuple(_drive(entry) for entry in document["drives"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it, and 'drivetrain results' makes it anew") from error


def write_cell(path: Path, cell: Cell, *, made: Mapping[str, Any], run: Mapping[str, Any] | None) -> None:
    """Write a cell atomically and durably.

    Args:
        path: Its file.
        cell: What is known.
        made: When, where and by which code it was made.
        run: What else to say of its training; None: there was none.

    Raises:
        RunError: The folder cannot be written.
    """
    training = None
    if cell.spent is not None:
        prior = {f"prior_{name}": value for name, value in asdict(cell.prior_spent).items()}
        training = {"steps": cell.steps, **asdict(cell.spent), **prior, **(run or {})}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "row": cell.row,
        "seed": cell.seed,
        "settings": cell.settings,
        "made": made,
        "training": training,
        "scenarios": cell.scenarios,
        "drives": [
            {
                "traffic": drive.traffic,
                "dynamics": drive.dynamics,
                "asked": drive.asked,
                "values": {name: _packed(name, values) for name, values in drive.values.items()},
            }
            for drive in cell.drives
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, document, durable=True)


def drive_of(document: Mapping[str, Any]) -> tuple[Drive, str]:
    """Return what ``drivetrain evaluate --per-scenario --json`` says of one kind of traffic, and the ids' fingerprint.

    nuPlan's score and that of the training simulator are both kept as ``score``: the dynamics tell them apart.
    """
    rows = {row["scenario"]: row for row in document["per_scenario"]}
    ids = sorted([*rows, *document.get("failures", {})])
    source = {name: name for name in METRICS} | {"score": "score" if "score" in document else "score_basic"}
    empty: dict[str, Any] = {}
    values = {
        name: np.array([_number(rows.get(scenario, empty).get(source[name])) for scenario in ids]) for name in METRICS
    }
    drive = Drive(
        traffic=document["traffic"],
        dynamics="tracker" if "score" in document else "direct",
        asked=document["scenarios"]["asked"],
        values=values,
    )
    return drive, hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _packed(name: str, values: NDArray[np.float64]) -> str:
    if name in RATES:
        return "".join(UNKNOWN if np.isnan(value) else str(round(value)) for value in values.tolist())
    digits = DIGITS[name]
    return " ".join(UNKNOWN if np.isnan(value) else f"{value:.{digits}f}" for value in values.tolist())


def _drive(entry: Mapping[str, Any]) -> Drive:
    values = {name: _unpacked(name, entry["values"][name]) for name in METRICS}
    if len({len(array) for array in values.values()}) > 1:
        raise ValueError("metrics of different lengths")
    return Drive(traffic=entry["traffic"], dynamics=entry["dynamics"], asked=entry["asked"], values=values)


def _unpacked(name: str, text: str) -> NDArray[np.float64]:
    words: Sequence[str] = list(text) if name in RATES else text.split()
    return np.array([np.nan if word == UNKNOWN else float(word) for word in words])
