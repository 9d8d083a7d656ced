"""Small road maps for the tests of metrics."""

import numpy as np
from tests.metrics.builders import agents_of, times_of

from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene
from drivetrain.sim.scenario import AgentTracks, EgoTrack, Knowledge, LaneTable, PolygonSet, Ragged, RoadMap

KNOWS_ALL = Knowledge(lane_graph=True, speed_limits=True, drivable_area=True, traffic_lights=True, route=True)


def rectangle(x0, x1, y0, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]], dtype=np.float64)


def lane(fid, box, *, block, kind=0, limit=None, line=None):
    """One lane row: ``box`` is x0, x1, y0, y1; the baseline runs along +x through its middle unless given."""
    x0, x1, y0, y1 = box
    line = [[x0, (y0 + y1) / 2], [x1, (y0 + y1) / 2]] if line is None else line
    return {"fid": fid, "box": box, "block": block, "kind": kind, "limit": limit, "line": np.array(line, dtype=float)}


def make_map(lanes, *, links=(), drivable=(), intersections=(), area_order=None, knowledge=KNOWS_ALL):
    """A road map; ``links`` are (from fid, to fid), a roadblock's area is the bounding box of its lanes."""
    fids = [row["fid"] for row in lanes]
    # A lane and a connector may share a fid: a link leads from the one kind to the other.
    row_of = {(row["fid"], row["kind"] == 1): i for i, row in enumerate(lanes)}
    after, before = [[] for _ in lanes], [[] for _ in lanes]
    for source, target in links:
        for kind in (False, True):
            if (source, kind) in row_of and (target, not kind) in row_of:
                a, b = row_of[source, kind], row_of[target, not kind]
                after[a].append(b)
                before[b].append(a)
    blocks = sorted({(row["kind"] == 1, row["block"]) for row in lanes})
    areas = []
    for key in blocks:
        boxes = np.array([row["box"] for row in lanes if (row["kind"] == 1, row["block"]) == key])
        areas.append([rectangle(boxes[:, 0].min(), boxes[:, 1].max(), boxes[:, 2].min(), boxes[:, 3].max())])
    none = Ragged.of([[] for _ in lanes], dtype=np.int32)
    order = range(len(lanes)) if area_order is None else area_order
    return RoadMap(
        name="town",
        origin=np.zeros(2),
        epsg=0,
        lanes=LaneTable(
            source_id=np.array(fids, dtype=np.int64),
            kind=np.array([row["kind"] for row in lanes], dtype=np.uint8),
            baseline=Ragged.of([row["line"] for row in lanes], dtype=np.float64, width=2),
            left_boundary=Ragged.of([[] for _ in lanes], dtype=np.float64, width=2),
            right_boundary=Ragged.of([[] for _ in lanes], dtype=np.float64, width=2),
            polygon=PolygonSet.of(
                [[rectangle(*lanes[i]["box"])] for i in order], kind=[0] * len(lanes), source_id=list(order)
            ),
            speed_limit=np.array([row["limit"] or 0.0 for row in lanes]),
            speed_limit_known=np.array([row["limit"] is not None for row in lanes], dtype=np.bool_),
            successors=Ragged.of(after, dtype=np.int32),
            predecessors=Ragged.of(before, dtype=np.int32),
            left_neighbor=none,
            right_neighbor=none,
            roadblock=Ragged.of([[blocks.index((row["kind"] == 1, row["block"]))] for row in lanes], dtype=np.int32),
            stop_polygons=none,
        ),
        roadblock_id=np.array([fid for _, fid in blocks], dtype=np.int64),
        roadblock_is_connector=np.array([link for link, _ in blocks], dtype=np.bool_),
        roadblock_polygon=PolygonSet.of(areas, kind=[0] * len(blocks), source_id=range(len(blocks))),
        stop_polygons=PolygonSet.of([], kind=[], source_id=[]),
        intersections=_areas(intersections),
        crosswalks=PolygonSet.of([], kind=[], source_id=[]),
        drivable=_areas(drivable),
        road_edges=Ragged.of([], dtype=np.float64, width=2),
        knowledge=knowledge,
    )


def _areas(boxes):
    return PolygonSet.of([[rectangle(*box)] for box in boxes], kind=[0] * len(boxes), source_id=range(len(boxes)))


def street(**changes):
    """Lanes 1 and 2 (y 0..4 and 4..8, x 0..100), connector 3 (x 100..130) of lane 1, lane 4 (x 130..300)."""
    lanes = [
        lane(1, (0, 100, 0, 4), block=10, limit=10.0),
        lane(2, (0, 100, 4, 8), block=10, limit=12.0),
        lane(4, (130, 300, 0, 4), block=20, limit=15.0),
        lane(3, (100, 130, 0, 4), block=30, kind=1, limit=3.0),
    ]
    fields = {"links": [(1, 3), (3, 4)], "drivable": [(0, 300, 0, 8)], "intersections": [(100, 130, 0, 8)]}
    return make_map(lanes, **(fields | changes))


def track_of(ego: EgoStates) -> EgoTrack:
    return EgoTrack(
        pose=ego.pose, velocity=ego.velocity, acceleration=ego.acceleration, yaw_rate=ego.yaw_rate, vehicle=ego.vehicle
    )


def scene_of(road_map: RoadMap, expert: EgoStates, agents: AgentTracks | None = None) -> ScoringScene:
    """A scene 100 ms a frame around a logged drive, without objects unless given."""
    agents = agents_of(len(expert)) if agents is None else agents
    return ScoringScene(map=road_map, timestamps_us=times_of(len(expert)), expert=track_of(expert), agents=agents)
