"""What follows from lanes, their links and their neighbours: links in both directions, roadblocks, order of areas.

For maps that have no roadblocks: lanes side by side are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from drivetrain.sim.scenario import PolygonSet, Ragged


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneGroups:
    """Which lanes make a roadblock together."""

    roadblock: Ragged
    """The roadblock row of every lane row, int32."""
    is_connector: np.ndarray
    """True where the lanes of a roadblock are connectors, bool [R]."""
    polygon: PolygonSet
    """Areas of the lanes of each roadblock; ``source_id`` holds the roadblock row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneNetwork:
    """How the lanes of a map lie to each other."""

    after: list[list[int]]
    """Lane rows that continue each lane row."""
    before: list[list[int]]
    """Lane rows that lead into each lane row."""
    groups: LaneGroups
    """The roadblocks."""
    shown: list[int]
    """Lane rows whose area is known, lanes before connectors: the order of ``LaneTable.polygon``."""
    crossing: list[int]
    """The connectors among them."""


def lane_network(
    *,
    links: Iterable[tuple[int, int]],
    neighbors: Sequence[Sequence[int]],
    is_connector: Sequence[bool],
    areas: Sequence[np.ndarray | None],
) -> LaneNetwork:
    """Return the network of some lanes.

    Args:
        links: Pairs of a lane row and one that continues it; a link that only one side knows holds for both, one of a
            lane with itself for none.
        neighbors: Lane rows beside each lane row in its direction.
        is_connector: Which lane rows are connectors.
        areas: Closed outline of each lane row [m]; None where it is not known.
    """
    after: list[list[int]] = [[] for _ in is_connector]
    before: list[list[int]] = [[] for _ in is_connector]
    for source, target in links:
        if source != target and target not in after[source]:
            after[source].append(target)
            before[target].append(source)
    shown = [row for row, area in enumerate(areas) if area is not None]
    shown.sort(key=lambda row: is_connector[row])
    return LaneNetwork(
        after=after,
        before=before,
        groups=lane_groups(
            neighbors=neighbors, successors=after, predecessors=before, is_connector=is_connector, areas=areas
        ),
        shown=shown,
        crossing=[row for row in shown if is_connector[row]],
    )


def lane_groups(
    *,
    neighbors: Sequence[Sequence[int]],
    successors: Sequence[Sequence[int]],
    predecessors: Sequence[Sequence[int]],
    is_connector: Sequence[bool],
    areas: Sequence[np.ndarray | None],
) -> LaneGroups:
    """Group lanes into roadblocks.

    Lanes of one kind that are neighbours, directly or through others, are one roadblock. Connectors that lead from the
    same roadblocks to the same roadblocks are one, too, as nuPlan has it.

    Args:
        neighbors: Lane rows beside each lane row in its direction.
        successors: Lane rows that continue each lane row.
        predecessors: Lane rows that lead into each lane row.
        is_connector: Which lane rows are connectors.
        areas: Closed outline of each lane row [m]; None where it is not known.
    """
    count = len(is_connector)
    group = list(range(count))

    def head(row: int) -> int:
        while group[row] != row:
            group[row] = group[group[row]]
            row = group[row]
        return row

    def join(first: int, second: int) -> None:
        first, second = sorted((head(first), head(second)))
        group[second] = first

    for row in range(count):
        for other in neighbors[row]:
            if is_connector[row] == is_connector[other]:
                join(row, other)
    ways: dict[tuple[frozenset[int], frozenset[int]], int] = {}
    for row in range(count):
        if is_connector[row] and predecessors[row] and successors[row]:
            way = (
                frozenset(head(before) for before in predecessors[row]),
                frozenset(head(after) for after in successors[row]),
            )
            join(row, ways.setdefault(way, row))
    heads = sorted({head(row) for row in range(count)})
    block_of = {first: block for block, first in enumerate(heads)}
    blocks = [block_of[head(row)] for row in range(count)]
    outlines = [(block, area) for block, area in zip(blocks, areas, strict=True) if area is not None]
    return LaneGroups(
        roadblock=Ragged.of([[block] for block in blocks], dtype=np.int32),
        is_connector=np.array([is_connector[first] for first in heads], dtype=np.bool_),
        polygon=PolygonSet.of(
            [[area] for _, area in outlines], kind=[0] * len(outlines), source_id=[block for block, _ in outlines]
        ),
    )
