"""Lane graph under construction: lanes, connectors, areas; turned into a ``RoadMap`` at the end.

Roads are written outwards or along from an *axis* polyline with traffic on the right: forward lanes lie to the right
of the axis (index 0 next to it), backward lanes to its left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from drivetrain.data.synthetic.curves import Polyline, headings, join, parallel, resample
from drivetrain.sim.scenario import (
    DrivableKind,
    Knowledge,
    LaneKind,
    LaneTable,
    PolygonSet,
    Ragged,
    RoadMap,
    StopKind,
)

FULL_KNOWLEDGE = Knowledge(lane_graph=True, speed_limits=True, drivable_area=True, traffic_lights=True, route=True)


@dataclass(kw_only=True, slots=True)
class LaneDraft:
    """One lane or connector before it becomes a row of the lane table."""

    center: Polyline
    """Centre line in driving direction [m]."""
    width: float
    """[m]."""
    limit: float
    """Speed limit [m/s]."""
    block: int
    """Roadblock row."""
    is_connector: bool
    left: int = -1
    """Lane row of the left neighbour in the same direction, -1 where there is none."""
    right: int = -1
    """Lane row of the right neighbour, -1 where there is none."""
    room_left: float = 0.0
    """Drivable width beyond the left border that belongs to lanes of the same direction [m]."""
    room_oncoming: float = 0.0
    """Width of oncoming lanes beyond ``room_left`` that may be borrowed [m]."""
    room_right: float = 0.0
    """Drivable width beyond the right border [m]."""
    successors: list[int] = field(default_factory=list)
    turn: str = ""
    """Connectors: ``straight``, ``left``, ``right``, ``merge``, ``ring``, ``entry`` or ``exit``."""
    approach: int = -1
    """Connectors: number of the arm they come from."""
    has_light: bool = False
    stop_rows: list[int] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Road:
    """One stretch of road: its lanes and borders."""

    axis: Polyline
    tangents: NDArray[np.float64]
    forward: list[int]
    """Lane rows in axis direction, leftmost first."""
    backward: list[int]
    """Lane rows against the axis, leftmost (next to the axis) first."""
    left_edge: float
    """Offset of the left border from the axis [m], positive."""
    right_edge: float
    """Offset of the right border [m], negative."""
    width: float


class Network:
    """Collects lanes and areas; ``road_map`` turns them into the scenario type."""

    def __init__(self) -> None:
        self.lanes: list[LaneDraft] = []
        self.block_is_connector: list[bool] = []
        self.areas: list[tuple[DrivableKind, list[Polyline]]] = []
        self.intersections: list[tuple[int, list[Polyline]]] = []
        self.crosswalks: list[Polyline] = []
        self.crosswalk_lines: list[Polyline] = []
        """Where pedestrians walk: start and end of each crosswalk's middle line, shape [2, 2] each."""
        self.stops: list[tuple[StopKind, Polyline]] = []
        self._union: shapely.Geometry | None = None

    def add_block(self, is_connector: bool) -> int:
        """Return the row of a new roadblock (or roadblock connector)."""
        self.block_is_connector.append(is_connector)
        return len(self.block_is_connector) - 1

    def add_road(
        self,
        axis: Polyline,
        tangents: NDArray[np.float64],
        *,
        forward: int,
        backward: int,
        width: float,
        limit: float,
        verge: tuple[float, float] = (0.5, 0.5),
    ) -> Road:
        """Add a stretch of road and its drivable area.

        Args:
            axis: Line between the two directions [m].
            tangents: Exact heading at each axis vertex [rad]; neighbouring stretches share end tangents, so that
                their borders meet without a gap.
            forward: Number of lanes along the axis.
            backward: Number of lanes against it.
            width: Lane width [m].
            limit: Speed limit [m/s].
            verge: Drivable strip beyond the outermost lane, left and right of the axis [m].
        """
        rows: list[list[int]] = []
        for direction, count, other in ((1, forward, backward), (-1, backward, forward)):
            block = self.add_block(False) if count else -1
            first = len(self.lanes)
            for i in range(count):
                line = parallel(axis, -direction * (i + 0.5) * width, tangents)
                self.lanes.append(
                    LaneDraft(
                        center=np.ascontiguousarray(line[::direction]),
                        width=width,
                        limit=limit,
                        block=block,
                        is_connector=False,
                        left=first + i - 1 if i > 0 else -1,
                        right=first + i + 1 if i + 1 < count else -1,
                        room_left=i * width,
                        # Only narrow roads: nobody swings over two oncoming lanes.
                        room_oncoming=width if other == 1 and count == 1 else 0.0,
                        room_right=(count - 1 - i) * width + (verge[1] if direction == 1 else verge[0]),
                    )
                )
            rows.append(list(range(first, first + count)))
        left_edge, right_edge = backward * width + verge[0], -(forward * width + verge[1])
        self.add_area(
            DrivableKind.ROAD_SEGMENT,
            [
                ring_between(
                    parallel(axis, left_edge, tangents),
                    parallel(axis, right_edge, tangents),
                )
            ],
        )
        return Road(
            axis=axis,
            tangents=tangents,
            forward=rows[0],
            backward=rows[1],
            left_edge=left_edge,
            right_edge=right_edge,
            width=width,
        )

    def add_area(self, kind: DrivableKind, rings: list[Polyline]) -> None:
        """Add a drivable polygon: outer ring, then holes; rings are closed here."""
        self.areas.append((kind, [closed(ring) for ring in rings]))

    def connect(
        self, start: int, end: int, *, turn: str, block: int | None = None, line: Polyline | None = None
    ) -> int:
        """Add a connector from the end of one lane to the start of another and return its row.

        Args:
            start: Lane row it leaves.
            end: Lane row it enters.
            turn: See ``LaneDraft.turn``.
            block: Roadblock connector row (None: a new one).
            line: Centre line [m] where the smooth join is not wanted.
        """
        a, b = self.lanes[start], self.lanes[end]
        if line is None:
            h0, h1 = headings(a.center[-2:])[0], headings(b.center[:2])[0]
            line = join(a.center[-1], float(h0), b.center[0], float(h1))
        line = line.copy()
        line[0], line[-1] = a.center[-1], b.center[0]
        row = len(self.lanes)
        self.lanes.append(
            LaneDraft(
                center=line,
                width=min(a.width, b.width),
                limit=min(a.limit, b.limit),
                block=self.add_block(True) if block is None else block,
                is_connector=True,
                successors=[end],
                turn=turn,
            )
        )
        a.successors.append(row)
        return row

    def add_stop(self, lane: int, kind: StopKind, *, length: float = 2.0) -> int:
        """Add a stop polygon over the last metres of a lane and return its row."""
        draft = self.lanes[lane]
        end, before = draft.center[-1], draft.center[-2]
        u = (end - before) / np.hypot(*(end - before))
        n = np.array([-u[1], u[0]]) * draft.width / 2.0
        self.stops.append((kind, closed(np.array([end - n, end + n, end + n - length * u, end - n - length * u]))))
        return len(self.stops) - 1

    def add_crosswalk(self, a: NDArray[np.float64], b: NDArray[np.float64], depth: float = 3.0) -> None:
        """Add a crosswalk whose middle line runs from kerb ``a`` to kerb ``b`` [m]."""
        u = (b - a) / np.hypot(*(b - a))
        n = np.array([-u[1], u[0]]) * depth / 2.0
        self.crosswalks.append(closed(np.array([a - n, b - n, b + n, a + n])))
        self.crosswalk_lines.append(np.array([a - 1.6 * u, b + 1.6 * u]))

    def borders(self, row: int) -> tuple[Polyline, Polyline]:
        """Return the left and right border of a lane [m]."""
        draft = self.lanes[row]
        angle = headings(draft.center)
        half = draft.width / 2.0
        return parallel(draft.center, half, angle), parallel(draft.center, -half, angle)

    def drivable_union(self) -> shapely.Geometry:
        """Return the union of all drivable polygons, for testing whole outlines; no area may be added after it."""
        if self._union is not None:
            return self._union
        # Snapped to a millimetre: neighbouring areas share vertices only up to rounding, and slivers between them
        # would show up as road edges across the road.
        self._union = shapely.union_all(
            [shapely.Polygon(rings[0], rings[1:]) for _, rings in self.areas], grid_size=1e-3
        )
        return self._union

    def road_map(
        self, name: str, rotation: float, shift: NDArray[np.float64], origin: NDArray[np.float64], epsg: int
    ) -> RoadMap:
        """Return the finished map, rotated by ``rotation`` [rad] and moved by ``shift`` [m]."""
        c, s = np.cos(rotation), np.sin(rotation)
        turn = np.array([[c, s], [-s, c]])

        def place(points: Polyline) -> Polyline:
            moved = points @ turn + shift
            if len(points) and (points[0] == points[-1]).all():
                moved[-1] = moved[0]
            return moved

        borders = [tuple(place(side) for side in self.borders(row)) for row in range(len(self.lanes))]
        edges = self.drivable_union()
        parts = [edges] if isinstance(edges, shapely.Polygon) else list(shapely.get_parts(edges))
        rings = [r for part in parts for r in (part.exterior, *part.interiors)]
        edge_lines = [place(resample(np.asarray(ring.coords), 8.0)) for ring in rings]
        return RoadMap(
            name=name,
            origin=np.asarray(origin, dtype=np.float64),
            epsg=epsg,
            lanes=self._lane_table(borders, place),
            roadblock_id=np.arange(len(self.block_is_connector), dtype=np.int64) + 1000,
            roadblock_is_connector=np.array(self.block_is_connector, dtype=np.bool_),
            roadblock_polygon=self._block_polygons(borders),
            stop_polygons=_polygon_set([(int(k), [r]) for k, r in self.stops], place, 5000),
            intersections=_polygon_set(self.intersections, place, 3000),
            crosswalks=_polygon_set([(0, [r]) for r in self.crosswalks], place, 4000),
            drivable=_polygon_set([(int(k), r) for k, r in self.areas], place, 6000),
            road_edges=Ragged.of(edge_lines, dtype=np.float64, width=2),
            knowledge=FULL_KNOWLEDGE,
        )

    def _lane_table(self, borders: list[tuple[Polyline, ...]], place) -> LaneTable:  # noqa: ANN001
        lanes = self.lanes
        predecessors: list[list[int]] = [[] for _ in lanes]
        for row, lane in enumerate(lanes):
            for successor in lane.successors:
                predecessors[successor].append(row)
        rows = [[ring_between(*sides)] for sides in borders]
        return LaneTable(
            source_id=np.arange(len(lanes), dtype=np.int64) + 100,
            kind=np.array([LaneKind.CONNECTOR if d.is_connector else LaneKind.LANE for d in lanes], np.uint8),
            baseline=Ragged.of([place(d.center) for d in lanes], dtype=np.float64, width=2),
            left_boundary=Ragged.of([b[0] for b in borders], dtype=np.float64, width=2),
            right_boundary=Ragged.of([b[1] for b in borders], dtype=np.float64, width=2),
            polygon=PolygonSet.of(rows, kind=[0] * len(lanes), source_id=np.arange(len(lanes))),
            speed_limit=np.array([d.limit for d in lanes]),
            speed_limit_known=np.ones(len(lanes), dtype=np.bool_),
            successors=Ragged.of([d.successors for d in lanes], dtype=np.int32),
            predecessors=Ragged.of(predecessors, dtype=np.int32),
            left_neighbor=Ragged.of([[d.left] if d.left >= 0 else [] for d in lanes], dtype=np.int32),
            right_neighbor=Ragged.of([[d.right] if d.right >= 0 else [] for d in lanes], dtype=np.int32),
            roadblock=Ragged.of([[d.block] for d in lanes], dtype=np.int32),
            stop_polygons=Ragged.of([d.stop_rows for d in lanes], dtype=np.int32),
        )

    def _block_polygons(self, borders: list[tuple[Polyline, ...]]) -> PolygonSet:
        members: list[list[int]] = [[] for _ in self.block_is_connector]
        for row, lane in enumerate(self.lanes):
            members[lane.block].append(row)
        polygons, block_of = [], []
        for block, rows in enumerate(members):
            # Rows are added leftmost first, so the outer borders are those of the first and the last.
            polygons.append([ring_between(borders[rows[0]][0], borders[rows[-1]][1])])
            block_of.append(block)
        return PolygonSet.of(polygons, kind=[0] * len(polygons), source_id=block_of)


def closed(ring: Polyline) -> Polyline:
    """Return the ring with its first vertex repeated exactly at the end."""
    return ring if (ring[0] == ring[-1]).all() else np.vstack([ring, ring[:1]])


def ring_between(left: Polyline, right: Polyline) -> Polyline:
    """Return the closed ring between two borders that run in the same direction."""
    return np.vstack([left, right[::-1], left[:1]])


def _polygon_set(items: list[tuple[int, list[Polyline]]], place, first_id: int) -> PolygonSet:  # noqa: ANN001
    return PolygonSet.of(
        [[place(ring) for ring in rings] for _, rings in items],
        kind=[kind for kind, _ in items],
        source_id=np.arange(len(items)) + first_id,
    )
