"""The algorithm table as it is asked for: its rows, how each is made, and what makes two cells comparable.

A *cell* is one row for one seed: trained by the ordinary launcher, then evaluated. Its *settings* are all that decides
its figures besides code and luck; a cell on disk that was made by others is stale.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drivetrain.config import load_config
from drivetrain.config.yaml_source import parse_yaml
from drivetrain.errors import ConfigError, nearest

TABLE = Path("results") / "table.yaml"
"""Where the project's own table is described, relative to the root."""
DYNAMICS = ("tracker", "direct")
SPLITS = ("val", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    """Short name: of files, runs and flags."""
    title: str
    """What the table calls it."""
    planner: str | None = None
    """A planner that needs no training."""
    config: str | None = None
    """The experiment that trains it, relative to the root."""
    run: str | None = None
    """The row whose training it shares, evaluated in another way."""
    prior: str | None = None
    """The row whose policy, of the same seed, it starts from; its time counts."""
    steps: int | None = None
    """Budget of steps besides that of time; None: of BC its epochs, else without end."""
    share: float = 1.0
    """Of the table's time that it may take at most: a prior must leave some to what starts from it."""
    set: tuple[str, ...] = ()
    """``KEY=VALUE`` put over the config, after those of the table."""
    evaluate: tuple[str, ...] = ()
    """More flags of ``drivetrain evaluate``."""
    dynamics: tuple[str, ...] | None = None
    """Where it can be driven; None: wherever the table asks."""

    def __post_init__(self) -> None:
        given = [name for name in ("planner", "config", "run") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(f"name: row '{self.name}' needs one of planner, config, run; it has {len(given)}")
        if not 0 < self.share <= 1:
            raise ConfigError(f"share: {self.share} is no share of the time; use a number above 0, up to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultTable:
    """The whole table."""

    rows: tuple[Row, ...]
    """From top to bottom; a prior stands above those that start from it."""
    data: str
    """Folder of the scenario store, relative to the root."""
    fingerprint: str
    """Of the store: figures of other data do not compare."""
    also: tuple[str, ...] = ()
    """Fingerprints of the same scenes generated on other processors, whose last bits differ without effect."""
    page: str | None = None
    """The document that shows the table, relative to the root."""
    cpu_minutes: float = 20.0
    """Processor time of a run's training, that of its prior included [min]: ten minutes of two cores are 20."""
    set: tuple[str, ...] = ()
    """``KEY=VALUE`` put over every config."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of everything that learns."""
    traffic: tuple[str, ...] = ("replay", "idm")
    """Kinds of traffic that every cell drives in."""
    dynamics: tuple[str, ...] = DYNAMICS
    """``tracker``: nuPlan's closed loop; ``direct``: the training simulator."""
    episodes: int | None = None
    """At most so many scenarios; None: all of the split."""
    compare: tuple[tuple[str, str], ...] = field(default=())
    """Pairs of rows whose differences are shown."""

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"rows: '{twice}' is named twice; name each row once")
        for index, row in enumerate(self.rows):
            for other in (row.prior, row.run):
                if other is not None and other not in names[:index]:
                    raise ConfigError(f"rows: '{row.name}' needs '{other}', which is no row above it")
        for name in [name for pair in self.compare for name in pair]:
            if name not in names:
                raise ConfigError(f"compare: there is no row '{name}'{nearest(name, names)}")
        for name in [*self.dynamics, *(d for row in self.rows for d in row.dynamics or ())]:
            if name not in DYNAMICS:
                raise ConfigError(f"dynamics: '{name}' is unknown; use {' or '.join(DYNAMICS)}")
        if self.cpu_minutes <= 0:
            raise ConfigError(f"cpu_minutes: {self.cpu_minutes} is too short; use a number above 0")

    def is_of(self, fingerprint: str) -> bool:
        """Return whether figures of these data compare with the table's."""
        return fingerprint in (self.fingerprint, *self.also)

    def row(self, name: str) -> Row:
        """Return the row of a name."""
        return next(row for row in self.rows if row.name == name)

    def trained(self, row: Row) -> Row:
        """Return the row whose run a row shows: mostly itself."""
        return row if row.run is None else self.row(row.run)

    def seeds_of(self, row: Row) -> tuple[int | None, ...]:
        """Return the seeds of a row; a planner has none, and one cell."""
        return (None,) if row.planner is not None else self.seeds

    def cpu_minutes_of(self, row: Row) -> float:
        """Return the processor time of a row's training, that of its prior included [min]."""
        return self.cpu_minutes * self.trained(row).share

    def changes_of(self, row: Row) -> list[str]:
        """Return what is put over the config of a row that is trained."""
        return [*self.set, *row.set]

    def dynamics_of(self, row: Row) -> tuple[str, ...]:
        """Return where a row is driven."""
        return tuple(name for name in self.dynamics if row.dynamics is None or name in row.dynamics)


def load_table(path: Path) -> ResultTable:
    """Return the table that a YAML file describes.

    Raises:
        ConfigError: One line per problem, with its place.
    """
    return load_config(path, ResultTable)


def is_built(table: ResultTable, row: Row, root: Path) -> bool:
    """Return whether there is what the row is made by: its config may be yet to come."""
    return row.planner is not None or (root / str(table.trained(row).config)).is_file()


def training_settings(table: ResultTable, row: Row, root: Path) -> dict[str, Any]:
    """Return what decides how a row's policy is trained, besides its seed.

    Raises:
        ConfigError: The config cannot be read.
    """
    row = table.trained(row)
    settings: dict[str, Any] = {
        "config": row.config,
        "content": _digest(_content(root / str(row.config))),
        "set": table.changes_of(row),
        "steps": row.steps,
        "cpu_minutes": table.cpu_minutes_of(row),
        "data": table.fingerprint,
    }
    if row.prior is not None:
        settings["prior"] = training_settings(table, table.row(row.prior), root)
    return settings


def settings_of(table: ResultTable, row: Row, root: Path, *, split: str) -> dict[str, Any]:
    """Return what decides a row's figures besides its seed."""
    how = {"planner": row.planner} if row.planner else {"training": training_settings(table, row, root)}
    return {
        **how,
        "data": table.fingerprint,
        "split": split,
        "episodes": table.episodes,
        "traffic": list(table.traffic),
        "dynamics": list(table.dynamics_of(row)),
        "evaluate": list(row.evaluate),
    }


def differences(made_by: Any, asked: Any, key: str = "") -> list[str]:
    """Return the dotted names of the settings in which a cell differs from what is asked."""
    if isinstance(made_by, dict) and isinstance(asked, dict):
        names = dict.fromkeys([*asked, *made_by])
        found = [differences(made_by.get(n), asked.get(n), f"{key}.{n}" if key else n) for n in names]
        return [name for inner in found for name in inner]
    return [] if made_by == asked else [key]


def run_id_of(table: ResultTable, row: Row, seed: int, root: Path) -> str:
    """Return the name of a cell's run: other settings, other run."""
    return f"results-{table.trained(row).name}-{seed}-{_digest(training_settings(table, row, root))[:8]}"


def _content(path: Path) -> Any:
    """Return what a YAML file says: comments and order do not count."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8")).value
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the config ({getattr(error, 'strerror', error)})") from error


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
