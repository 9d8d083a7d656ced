"""Maps against the golden GeoPackage, whose content is known, and against damaged copies of it."""

import contextlib
import sqlite3
import struct

import numpy as np
import pytest
import shapely
from tests.golden_sets import GOLDEN

from drivetrain.data.geopackage import wkb_of
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.data.stop_points import stop_point
from drivetrain.errors import DataError
from drivetrain.sim.scenario import LaneKind

MAPS = GOLDEN / "maps"
CITY = "us-nv-las-vegas-strip"
ORIGIN = np.array([664000.0, 3999000.0])


@pytest.fixture(scope="module")
def city(golden_drive):
    return golden_drive.map


def lane(city, fid):
    return city.lanes.source_id.tolist().index(fid)


def global_line(city, ragged, row):
    return ragged[row] + city.origin - ORIGIN


def test_map_frame_and_sizes(city):
    assert (city.name, city.epsg, city.origin.tolist()) == (CITY, 32611, [664000.0, 3999000.0])
    assert len(city.lanes) == 15
    assert (city.lanes.kind == LaneKind.CONNECTOR).sum() == 5
    assert city.roadblock_id.tolist() == [1001, 1002, 1003, 1004, 1005, 2001, 2002, 2003]
    assert city.roadblock_is_connector.tolist() == [False] * 5 + [True] * 3


def test_lanes_lie_where_the_golden_map_says(city):
    line = global_line(city, city.lanes.baseline, lane(city, 100))
    np.testing.assert_allclose(line[[0, -1]], [[0, 3.5], [150, 3.5]], atol=1e-6)
    line = global_line(city, city.lanes.baseline, lane(city, 130))
    assert line[0, 0] > line[-1, 0], "westbound"
    limits = dict(zip(city.lanes.source_id.tolist(), city.lanes.speed_limit.tolist(), strict=True))
    assert (limits[100], limits[210]) == (13.4, 11.2)
    assert city.lanes.speed_limit_known.all()


def test_graph_names_read_backwards(city):
    graph = {int(a): sorted(int(city.lanes.source_id[b]) for b in city.lanes.successors[i])
             for i, a in enumerate(city.lanes.source_id)}  # fmt: skip
    assert graph[100] == [200, 210], "straight on and the left turn"
    assert graph[200] == [110]
    assert graph[210] == [150]
    assert graph[110] == []
    for i in range(len(city.lanes)):
        for j in city.lanes.successors[i]:
            assert i in city.lanes.predecessors[int(j)]
            end, start = city.lanes.baseline[i][-1], city.lanes.baseline[int(j)][0]
            np.testing.assert_allclose(end, start, atol=1e-6)


def test_neighbours_and_roadblocks(city):
    left, right = lane(city, 100), lane(city, 101)
    assert city.lanes.left_neighbor[right].tolist() == [left]
    assert city.lanes.right_neighbor[left].tolist() == [right]
    assert city.lanes.left_neighbor[left].tolist() == city.lanes.right_neighbor[right].tolist() == []
    assert city.roadblock_id[city.lanes.roadblock[lane(city, 210)][0]] == 2002
    assert city.roadblock_id[city.lanes.roadblock[lane(city, 101)][0]] == 1001


def test_boundaries_run_with_the_lane_and_lie_on_their_side(city):
    for row in range(len(city.lanes)):
        base = city.lanes.baseline[row]
        if city.lanes.kind[row] == LaneKind.CONNECTOR:
            continue  # the golden connectors name boundaries that are placeholders
        forward = base[1] - base[0]
        for side, line in ((1, city.lanes.left_boundary[row]), (-1, city.lanes.right_boundary[row])):
            assert np.dot(line[-1] - line[0], forward) > 0
            offset = line[0] - base[0]
            assert side * (forward[0] * offset[1] - forward[1] * offset[0]) > 0


def test_drivable_area_and_its_border(city):
    assert len(city.drivable) == 8
    area = shapely.union_all([shapely.Polygon(city.drivable.rings_of(i)[0]) for i in range(8)])
    assert area.is_valid
    edges = [shapely.LinearRing(city.road_edges[i]) for i in range(len(city.road_edges))]
    assert len(edges) == 2, "the streets and the car park beside them"
    # Once round the streets (slivers between polygons are closed): -20..400 along y = -1.75, up to 12.25, back to the
    # side street at 181.75, round it (230 high, 7 wide, from 30), west along 12.25 to 0, down to 5.25, to -20.
    streets = 420 + 14 + 218.25 + 217.75 + 7 + 200 + 24.75 + 17.75 + 150 + 7 + 20 + 7
    car_park = 2 * (30 + 5)
    assert sorted(ring.length for ring in edges) == pytest.approx([car_park, streets], abs=1e-3)
    for ring in edges:
        assert max(area.boundary.distance(shapely.Point(p)) for p in ring.coords) < 0.05


def test_stop_points_lie_on_the_incoming_path(city):
    # The stop polygon spans x 147-149; the connectors begin at 150.
    point = stop_point(city, lane(city, 200)) + city.origin - ORIGIN
    np.testing.assert_allclose(point, [147.0, 3.5], atol=1e-5)
    point = stop_point(city, lane(city, 220)) + city.origin - ORIGIN
    np.testing.assert_allclose(point, global_line(city, city.lanes.baseline, lane(city, 220))[0], atol=1e-9)


def test_blob_headers():
    wkb = shapely.to_wkb(shapely.Point(1, 2))
    for code, size in enumerate((0, 32, 48, 48, 64)):
        blob = b"GP\x00" + bytes([1 | code << 1]) + struct.pack("<i", 4326) + bytes(size) + wkb
        assert wkb_of(blob) == wkb
    assert wkb_of(b"GP\x00\x11" + bytes(4)) is None
    for blob in (b"", b"GP", b"XX\x00\x01" + bytes(30), b"GP\x00\x0b" + bytes(30)):
        with pytest.raises(ValueError, match=r"does not start with 'GP'|has envelope code 5"):
            wkb_of(blob)


@pytest.mark.parametrize("layer", ["lanes_polygons", "baseline_paths", "stop_polygons", "carpark_areas", "meta"])
def test_a_map_without_a_layer(spoilt, layer):
    with pytest.raises(DataError, match=f"map.gpkg: table '{layer}' is missing"):
        spoilt(f"DROP TABLE {layer}", target="map")


def test_a_map_with_unusable_rows(spoilt):
    nan_line = struct.pack("<BII4d", 1, 2, 2, np.nan, 36, -115, 36)
    bad = b"GP\x00\x01" + struct.pack("<i", 4326) + nan_line
    found = spoilt(
        "UPDATE crosswalks SET geom = NULL",
        "UPDATE intersections SET geom = x'475000'",
        ("UPDATE baseline_paths SET geom = ? WHERE lane_fid = 150", (bad,)),
        "UPDATE lanes_polygons SET speed_limit_mps = NULL WHERE fid = 100",
        "UPDATE lane_connectors SET speed_limit_mps = 0, traffic_light_stop_line_fids = NULL WHERE fid = 200",
        target="map",
    )
    lanes = found.map.lanes
    assert 150 not in lanes.source_id
    assert not lanes.speed_limit_known[lane(found.map, 100)]
    assert not lanes.speed_limit_known[lane(found.map, 200)]
    assert len(lanes.stop_polygons[lane(found.map, 200)]) == 0
    assert len(lanes.successors[lane(found.map, 210)]) == 0, "its outgoing lane is not usable"
    assert found.dropped == {
        "map layer baseline_paths: geometry missing, empty or not finite": 1,
        "map layer intersections: geometry missing, empty or not finite": 1,
        "map layer crosswalks: geometry missing, empty or not finite": 1,
        "lane or connector without a usable baseline": 1,
    }


def test_a_ring_that_is_open_is_closed_and_counted(spoilt, city):
    with contextlib.closing(sqlite3.connect(next(MAPS.glob("*/*/map.gpkg")))) as database:
        blob = database.execute("SELECT geom FROM crosswalks ORDER BY fid LIMIT 1").fetchone()[0]
    wkb = wkb_of(blob)
    header, (order, kind, rings, points) = blob[: len(blob) - len(wkb)], struct.unpack_from("<BIII", wkb)
    assert (order, kind, rings) == (1, 3, 1)
    opened = header + struct.pack("<BIII", 1, 3, 1, points - 1) + wkb[13:-16]
    found = spoilt(
        ("UPDATE crosswalks SET geom = ? WHERE fid = (SELECT MIN(fid) FROM crosswalks)", (opened,)), target="map"
    )
    assert found.dropped == {"map layer crosswalks: ring that was open (it was closed)": 1}
    np.testing.assert_array_equal(found.map.crosswalks.rings.values, city.crosswalks.rings.values)


def test_areas_keep_the_order_of_their_layer(spoilt):
    found = spoilt("UPDATE gen_lane_connectors_scaled_width_polygons SET fid = 1000 - fid", target="map")
    lanes = found.map.lanes
    assert lanes.source_id[lanes.kind == LaneKind.CONNECTOR].tolist() == [200, 201, 210, 220, 221]
    areas = lanes.source_id[lanes.polygon.source_id].tolist()
    assert areas == [100, 101, 110, 111, 130, 131, 140, 141, 150, 151, 221, 220, 210, 201, 200]


def test_a_map_in_an_unknown_grid(spoilt):
    with pytest.raises(DataError, match=r"meta.projectedCoordSystem is 'epsg:nowhere', expected something like"):
        spoilt("UPDATE meta SET value = 'epsg:nowhere' WHERE key = 'projectedCoordSystem'", target="map")


def test_flipped_pages_never_give_a_traceback(tmp_path):
    rng = np.random.default_rng(0)
    source = next(MAPS.glob("*/*/map.gpkg"))
    content = source.read_bytes()
    target = tmp_path / "map.gpkg"
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), size=30):
            damaged[place] = int(rng.integers(0, 256))
        target.write_bytes(damaged)
        try:
            read_nuplan_map(target, CITY)
        except DataError:
            continue
