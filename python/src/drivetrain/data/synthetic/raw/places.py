"""Where a world lies in the raw sample: its city, its cell of the city's grid, its ids, its log's name and time.

Every world keeps its own roads: worlds are dealt to nuPlan's four cities in turn and lie far apart on a square grid,
the cells counted in growing squares from a corner. Cell 0 of each city is the yard (see ``yard``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

CELL_M = 1500.0
"""Distance between neighbouring worlds [m]; a world reaches at most about 600 m from its centre."""
CELLS_PER_SIDE = 64
"""A city's grid stays within 100 km, well inside its UTM zone."""
IDS_PER_CELL = 10_000
"""The ids of a world's map elements are all below this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class City:
    """A city map of nuPlan: the names and grid that readers expect, none of its content."""

    name: str
    """Folder and ``map_version``."""
    version: str
    """Folder below."""
    epsg: int
    """UTM zone."""
    corner: tuple[float, float]
    """Easting, northing of cell 0 [m]."""


CITIES = (
    City(name="us-nv-las-vegas-strip", version="9.15.1915", epsg=32611, corner=(664_000.0, 3_999_000.0)),
    City(name="us-pa-pittsburgh-hazelwood", version="9.17.1937", epsg=32617, corner=(589_000.0, 4_474_000.0)),
    City(name="us-ma-boston", version="9.12.1817", epsg=32619, corner=(331_000.0, 4_690_000.0)),
    City(name="sg-one-north", version="9.17.1964", epsg=32648, corner=(366_000.0, 143_000.0)),
)
MAX_WORLDS = len(CITIES) * (CELLS_PER_SIDE**2 - 1)
_YEAR = {"train": 2021, "val": 2022, "test": 2023}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Everything about one log of the raw sample that does not depend on what is driven in it."""

    split: str
    """``train``, ``val`` or ``test``; also the folder of the log."""
    world_seed: int
    kind: str | None
    """Kind of world, None where its seed decides."""
    city: City
    cell: int
    """Cell of the city's grid, from 1."""
    log_name: str
    """nuPlan's form: date, vehicle (here the sample's seed), first and last second."""
    start_us: int
    """Nominal time of the first frame [us]."""

    @property
    def origin(self) -> NDArray[np.float64]:
        """Global position of the world's own origin [m], shape [2]."""
        return cell_origin(self.city, self.cell)

    @property
    def first_id(self) -> int:
        """What is added to the ids of the world's map elements."""
        return self.cell * IDS_PER_CELL


def place_world(
    *, order: int, split: str, number: int, world_seed: int, sample_seed: int, kind: str | None, duration_s: int
) -> Place:
    """Return the place of a world.

    Args:
        order: Number of the world in the whole sample, below ``MAX_WORLDS``; decides city and cell.
        split: ``train``, ``val`` or ``test``.
        number: Number of the world within its split; decides its date.
        world_seed: Seed of the world.
        sample_seed: Seed of the sample; names the vehicle, so that samples of two seeds share no log name.
        kind: Kind of world, None where the seed decides.
        duration_s: Length of the log [s].
    """
    start = datetime(_YEAR[split], 1, 1, tzinfo=UTC) + timedelta(minutes=number)
    return Place(
        split=split,
        world_seed=world_seed,
        kind=kind,
        city=CITIES[order % len(CITIES)],
        cell=1 + order // len(CITIES),
        log_name=f"{start:%Y.%m.%d.%H.%M.%S}_veh-{sample_seed:02d}_{0:05d}_{duration_s:05d}",
        start_us=int(start.timestamp()) * 1_000_000,
    )


def cell_origin(city: City, cell: int) -> NDArray[np.float64]:
    """Return the global position of a cell's centre [m], shape [2]."""
    side = math.isqrt(cell)
    along = cell - side * side
    column, row = (along, side) if along <= side else (side, 2 * side - along)
    return np.array(city.corner) + CELL_M * np.array([column, row], dtype=np.float64)
