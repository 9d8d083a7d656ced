"""The raw sample through the converter: what comes out is what the generator drove."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import shapely

from drivetrain.data.convert import convert
from drivetrain.data.nuplan import read_nuplan
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.synthetic.casting import KINDS
from drivetrain.data.synthetic.raw.log_database import TAG_FRAME, frame_token, track_token
from drivetrain.data.synthetic.raw.raw_sample import raw_places, write_raw_sample
from drivetrain.data.synthetic.raw.tagging import scenario_types
from drivetrain.data.synthetic.sample import write_sample
from drivetrain.data.synthetic.world import generate_world
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scenario import DrivableKind, LaneKind
from drivetrain.sim.scene_bank import build_bank

COUNTS = {"train": len(KINDS), "val": 1, "test": 2}
PLACES = raw_places(COUNTS, 0, KINDS)
GEOMETRY_M = 1e-6
"""Through degrees and back."""
STORED_M = 1e-3


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Raw sample, the store converted from it, the store the generator writes itself."""
    root = tmp_path_factory.mktemp("round")
    write_raw_sample(root / "raw", **COUNTS, kinds=KINDS, workers=1)
    report = convert("nuplan", [root / "raw" / "nuplan-v1.1"], root / "converted")
    assert report.dropped == {}
    assert report.problems == ()
    write_sample(root / "direct", **COUNTS, kinds=KINDS, workers=1)
    return root


@pytest.fixture(scope="module")
def drives(folders):
    """Log name -> what the converter's reader makes of the files."""
    return {drive.log.name: drive for drive in read_nuplan(folders / "raw" / "nuplan-v1.1", folders / "raw" / "maps")}


@pytest.fixture(scope="module")
def pairs(folders):
    """Scenario as generated and as converted, in the order of the generator."""
    direct, converted = ScenarioStore(folders / "direct"), ScenarioStore(folders / "converted")
    by_log = {scenario.log_name: scenario for scenario in converted.scenarios()}
    assert len(by_log) == len(converted) == len(direct) == len(PLACES)
    return [(scenario, by_log[place.log_name]) for scenario, place in zip(direct.scenarios(), PLACES, strict=True)]


@cache
def world_of(place):
    """What the generator drives there."""
    return generate_world(place.world_seed, place.kind)


@pytest.fixture(params=PLACES, ids=lambda place: f"{place.split}-{place.kind}")
def case(request, drives):
    """The generator's world, the place it was laid out at, and what was read."""
    return world_of(request.param), request.param, drives[request.param.log_name]


def same_line(got, expected, offset):
    """Whether two lines agree vertex by vertex (``expected`` moved by ``offset``)."""
    return got.shape == expected.shape and np.abs(got - expected - offset).max() < GEOMETRY_M


def areas(polygons):
    """Id -> rings."""
    return {int(source): polygons.rings_of(row) for row, source in enumerate(polygons.source_id)}


def same_areas(got, expected, offset, first_id):
    """Whether polygon sets agree by id, ring by ring (a ring may begin anywhere)."""
    return expected and all(
        len(got[first_id + key]) == len(rings)
        and all(
            shapely.hausdorff_distance(shapely.LineString(a), shapely.LineString(b + offset)) < GEOMETRY_M
            for a, b in zip(got[first_id + key], rings, strict=True)
        )
        for key, rings in expected.items()
    )


def test_the_drive_is_read_as_it_was_driven(case):
    world, place, drive = case
    log, truth, offset = drive.log, world.log, place.origin - drive.map.origin
    assert drive.folder == place.split
    nominal = truth.timestamps_us - truth.timestamps_us[0] + place.start_us
    assert np.abs(log.timestamps_us - nominal).max() <= 90
    np.testing.assert_allclose(log.ego.pose[:, :2], truth.ego.pose[:, :2] + offset, atol=GEOMETRY_M)
    np.testing.assert_allclose(log.ego.pose[:, 2], truth.ego.pose[:, 2], atol=1e-12)
    for name in ("velocity", "acceleration", "yaw_rate"):
        np.testing.assert_array_equal(getattr(log.ego, name), getattr(truth.ego, name))
    assert log.ego.vehicle == truth.ego.vehicle
    # A log without a light cannot say whether lights were recorded.
    assert log.knowledge == replace(truth.knowledge, traffic_lights=len(truth.lights.lane) > 0)
    assert int.from_bytes(frame_token(place.log_name, TAG_FRAME), "big") == drive.frame_token[TAG_FRAME]
    assert set(log.tag_frame) == {TAG_FRAME}
    assert list(log.tag_type) == scenario_types(world, TAG_FRAME)


def test_the_boxes_are_read_as_they_were_written(case):
    world, place, drive = case
    tracks, truth, offset = drive.log.tracks, world.log.tracks, place.origin - drive.map.origin
    token = {int.from_bytes(track_token(place.log_name, int(t)), "big"): row for row, t in enumerate(truth.token)}
    assert {int(t) for t in tracks.token} == set(token)
    for row, number in enumerate(tracks.token):
        other = token[int(number)]
        here = slice(*tracks.offsets[row : row + 2])
        there = slice(*truth.offsets[other : other + 2])
        assert tracks.type[row] == truth.type[other]
        np.testing.assert_array_equal(tracks.size[row], truth.size[other])
        np.testing.assert_array_equal(tracks.frame[here], truth.frame[there])
        np.testing.assert_allclose(tracks.position[here], truth.position[there] + offset, atol=GEOMETRY_M)
        np.testing.assert_array_equal(tracks.heading[here], truth.heading[there])
        np.testing.assert_array_equal(tracks.velocity[here], truth.velocity[there])


def test_lights_routes_and_goals_are_read_as_they_were_written(case):
    world, place, drive = case
    log, truth, lanes = drive.log, world.log, drive.map.lanes
    ids = {place.first_id + int(world.map.lanes.source_id[row]): k for k, row in enumerate(truth.lights.lane)}
    assert [int(lanes.source_id[row]) for row in log.lights.lane] == sorted(ids)
    for k, row in enumerate(log.lights.lane):
        assert lanes.kind[row] == LaneKind.CONNECTOR
        np.testing.assert_array_equal(log.lights.state[:, k], truth.lights.state[:, ids[int(lanes.source_id[row])]])
    assert log.scene_goal_known.tolist() == [True, True, True, False, True]
    goal = truth.scene_goal[0] + [*(place.origin - drive.map.origin), 0.0]
    np.testing.assert_allclose(log.scene_goal[2], goal, atol=GEOMETRY_M)
    whole = [place.first_id + int(world.map.roadblock_id[block]) for block in truth.scene_route[0]]
    for scene in range(5):
        route = drive.map.roadblock_id[log.scene_route[scene]].tolist()
        assert route == (whole if scene <= 2 else whole[len(whole) - len(route) :])
        assert route


def test_the_lane_graph_is_read_as_it_was_drawn(case):
    world, place, drive = case
    truth, lanes, offset = world.map.lanes, drive.map.lanes, place.origin - drive.map.origin
    is_connector = lanes.kind == LaneKind.CONNECTOR
    row_of = {(bool(c), int(i)): row for row, (c, i) in enumerate(zip(is_connector, lanes.source_id, strict=True))}

    def there(row):
        return row_of[(bool(truth.kind[row] == LaneKind.CONNECTOR), place.first_id + int(truth.source_id[row]))]

    assert world.map.epsg == 32611  # the generator's own frame is Las Vegas; the raw sample uses four cities
    assert drive.map.epsg == place.city.epsg
    for row in range(len(truth)):
        got = there(row)
        assert lanes.kind[got] == truth.kind[row]
        for name in ("baseline", "left_boundary", "right_boundary"):
            assert same_line(getattr(lanes, name)[got], getattr(truth, name)[row], offset), name
        assert lanes.speed_limit_known[got]
        assert lanes.speed_limit[got] == truth.speed_limit[row]
        for name in ("successors", "predecessors"):
            assert set(getattr(lanes, name)[got]) == {there(int(other)) for other in getattr(truth, name)[row]}
        for name in ("left_neighbor", "right_neighbor"):  # nuPlan's connectors have none
            others = [] if is_connector[got] else [there(int(other)) for other in getattr(truth, name)[row]]
            assert getattr(lanes, name)[got].tolist() == others
        block = drive.map.roadblock_id[lanes.roadblock[got]].tolist()
        assert block == [place.first_id + int(world.map.roadblock_id[b]) for b in truth.roadblock[row]]
        stops = drive.map.stop_polygons.source_id[lanes.stop_polygons[got]]
        assert set(stops) == {
            place.first_id + int(world.map.stop_polygons.source_id[s]) for s in truth.stop_polygons[row]
        }
    expected = {there(row): rings for row, rings in areas(truth.polygon).items()}
    assert same_areas(areas(lanes.polygon), expected, offset, 0)


def test_areas_are_read_as_they_were_drawn(case):
    world, place, drive = case
    offset = place.origin - drive.map.origin
    for name in ("stop_polygons", "intersections", "crosswalks"):
        got, truth = getattr(drive.map, name), getattr(world.map, name)
        assert not len(truth) or same_areas(areas(got), areas(truth), offset, place.first_id), name
        kinds = dict(zip(got.source_id.tolist(), got.kind.tolist(), strict=True))
        for source, kind in zip(truth.source_id.tolist(), truth.kind.tolist(), strict=True):
            assert name == "crosswalks" or kinds[place.first_id + source] == kind
    blocks = {int(drive.map.roadblock_id[row]): rings for row, rings in areas(drive.map.roadblock_polygon).items()}
    truth = {int(world.map.roadblock_id[row]): rings for row, rings in areas(world.map.roadblock_polygon).items()}
    assert same_areas(blocks, truth, offset, place.first_id)
    near = shapely.Point(offset).buffer(700.0)
    for kind in (DrivableKind.ROAD_SEGMENT, DrivableKind.INTERSECTION):
        expected = union_of(world.map.drivable, kind, offset)
        got = shapely.intersection(union_of(drive.map.drivable, kind, np.zeros(2)), near)
        assert shapely.area(expected) > 100.0
        assert shapely.area(shapely.symmetric_difference(got, expected)) < 1e-2


def union_of(polygons, kind, offset):
    """All areas of a kind as one shape."""
    found = [polygons.rings_of(row) for row in np.flatnonzero(polygons.kind == kind)]
    return shapely.union_all([shapely.Polygon(r[0] + offset, [hole + offset for hole in r[1:]]) for r in found])


def test_what_the_yard_adds_is_read_in_every_city(drives):
    cities = {drive.map.name: drive.map for drive in drives.values()}
    assert len(cities) == 4
    for city in cities.values():
        lanes = city.lanes
        yard = np.flatnonzero(lanes.source_id < 10_000)
        assert lanes.speed_limit_known[yard].tolist() == [True, False, True]  # the second lane has NULL
        connector = yard[-1]
        assert lanes.kind[connector] == LaneKind.CONNECTOR
        assert len(lanes.stop_polygons[connector]) == 1  # listed, but no log has a status for it
        kinds = city.drivable.kind
        carpark = int(np.flatnonzero(kinds == DrivableKind.CARPARK)[0])
        assert len(city.drivable.rings_of(carpark)) == 2
        assert (kinds == DrivableKind.GENERIC).sum() == 2  # one area of two parts


def test_scenarios_are_those_of_the_directly_written_store(pairs):
    for (direct, converted), place in zip(pairs, PLACES, strict=True):
        shift = place.origin - converted.map.origin
        assert converted.split == direct.split == place.split
        assert converted.scenario_id == frame_token(place.log_name, TAG_FRAME).hex()
        assert converted.scenario_type == max(scenario_types(world_of(place), TAG_FRAME))
        assert converted.goal_known
        assert len(converted.timestamps_us) == len(direct.timestamps_us) == 151
        np.testing.assert_allclose(converted.ego.pose[:, :2], direct.ego.pose[:, :2] + shift, atol=STORED_M)
        np.testing.assert_allclose(converted.goal[:2], direct.goal[:2] + shift, atol=STORED_M)
        agents, truth = converted.agents, direct.agents
        assert agents.valid.sum() == truth.valid.sum()
        route = converted.map.roadblock_id[converted.route] - place.first_id
        np.testing.assert_array_equal(route, direct.map.roadblock_id[direct.route])


@pytest.mark.parametrize("traffic", ["replay", "idm"])
def test_the_simulator_shows_the_same_in_both_stores(pairs, traffic):
    banks = [build_bank(scenarios) for scenarios in zip(*pairs, strict=True)]
    assert [len(bank) for bank in banks] == [len(PLACES)] * 2
    config = DrivingConfig(num_worlds=len(PLACES), threads=1, traffic=traffic)
    envs = [DrivingEnv(bank, config, sequential=True, perturb=False, automatic_reset=False) for bank in banks]
    # A stop line is the front edge of nuPlan's stop polygon, 2 m before the end of its lane; the generator's own store
    # has it at 0.5 m. Road points are cut from differently thinned borders.
    compared = {"ego": slice(None), "route": slice(None)}
    compared["agents"] = compared["stop"] = np.array([not len(direct.lights.lane) for direct, _ in pairs])
    assert 0 < compared["stop"].sum() < len(PLACES)
    for env in envs:
        env.reset(seed=0)
    for _ in range(149):
        one, two = (env.step_log().observation for env in envs)
        np.testing.assert_array_equal(envs[0].state.events, envs[1].state.events)
        for name, worlds in compared.items():
            start, size = CANONICAL.start(name), CANONICAL.group(name).size
            columns = slice(start, start + size)
            np.testing.assert_allclose(one[worlds, columns], two[worlds, columns], atol=5e-3, err_msg=name)
