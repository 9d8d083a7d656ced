"""Map-based metrics against their literal form: on the golden drives and on random ones."""

import numpy as np
import pytest
from tests.golden_sets import GOLDEN, GOLDEN2
from tests.metrics.builders import times_of
from tests.metrics.lane_oracle import LaneOracle
from tests.metrics.maps import lane, make_map

from drivetrain.data.nuplan_files import find_map
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.metrics.drivable_area import leaves_drivable_area
from drivetrain.metrics.driving_direction import lane_places, least_progress
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.map_index import index_of
from drivetrain.metrics.progress import progress_along, route_legs
from drivetrain.metrics.route import centre_objects, driven_route
from drivetrain.metrics.speed_limit import over_speed

CITIES = {GOLDEN: "us-nv-las-vegas-strip", GOLDEN2: "us-pa-pittsburgh-hazelwood"}


def tangle(random):
    """A map of overlapping lanes and connectors at random, fids shared between the kinds, links at random."""
    rows = []
    for i in range(14):
        x, y = random.uniform(0, 45, 2)
        kind = int(i >= 4)
        length, width = random.uniform(8, 20 + 25 * kind), random.uniform(3, 6 + 8 * kind)
        box = (x, x + length, y, y + width)
        limit = None if random.random() < 0.15 else float(random.uniform(5, 15))
        line = [[x, y + width / 2], [x + length / 2, y + width], [x + length, y + width / 2]]
        rows.append(lane(100 + i % 9, box, block=i // 2 % 5, kind=kind, limit=limit, line=line))
    links = [(int(a), int(b)) for a, b in random.integers(100, 109, (30, 2))]
    boxes = [tuple(np.sort(random.uniform(0, 90, 2))) + tuple(np.sort(random.uniform(0, 70, 2))) for _ in range(6)]
    # The order of areas is the source's, lanes first.
    order = [*range(4), *(4 + random.permutation(10)).tolist()]
    return make_map(rows, links=links, drivable=boxes[:4], intersections=boxes[4:], area_order=order)


def random_drive(road_map, random, frames=40):
    """Drives along baselines with offsets, pauses, sudden jumps and reverse stretches, or simply wanders."""
    lanes = road_map.lanes
    row = int(random.integers(len(lanes)))
    s, offset, pose = 0.0, random.normal(0, 1.5), []
    speed = float(random.choice([-6.0, 3.0, 9.0, 15.0]))
    for _ in range(frames):
        line = lanes.baseline[row]
        lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        x, y = (np.interp(s, lengths, line[:, k]) for k in (0, 1))
        piece = min(np.searchsorted(lengths, max(s, 1e-9)) - 1, len(line) - 2)
        heading = np.arctan2(*(line[piece + 1] - line[piece])[::-1])
        pose.append([x - offset * np.sin(heading), y + offset * np.cos(heading), heading + random.normal(0, 0.05)])
        s += 0.1 * speed
        offset += random.normal(0, 0.25)
        if s > lengths[-1] and len(lanes.successors[row]):
            s, row = s - lengths[-1], int(random.choice(lanes.successors[row]))
        if random.random() < 0.03:
            s, offset = max(0.0, s + random.normal(0, 10)), random.normal(0, 2.5)
    speeds = np.abs(random.normal(speed, 3.0, frames))
    return EgoStates(
        pose=np.array(pose),
        velocity=np.column_stack([speeds, np.zeros(frames)]),
        acceleration=np.zeros((frames, 2)),
        yaw_rate=np.zeros(frames),
        yaw_acceleration=np.zeros(frames),
    )


def assert_same(oracle, ego, expert):
    index, times = index_of(oracle.map), times_of(len(ego))
    centre, corners = ego.centre, ego.corners
    found, route, corner_route = (
        driven_route(index, centre, corners),
        oracle.route(centre),
        oracle.corner_route(corners),
    )
    assert found.centre == route
    assert found.corners == corner_route
    shared = [oracle.shared(objects) for objects in corner_route]
    assert found.in_lane.tolist() == [bool(common) for common in shared]
    assert found.num_lane_changes == oracle.lane_changes(shared)
    assert leaves_drivable_area(index, corners, found) == oracle.off_road(corners, corner_route, route)
    np.testing.assert_array_equal(over_speed(index, ego.speed, route), oracle.over_speed(ego.speed, route))
    expected = oracle.least_progress(centre, route, times)
    assert least_progress(index, lane_places(index, centre, route), route, times) == pytest.approx(expected, abs=1e-9)
    expert_route = oracle.route(expert.centre)
    assert centre_objects(index, expert.centre, index.hits(expert.centre)) == expert_route
    legs, expected_legs = route_legs(index, expert_route), oracle.legs(expert_route)
    assert [oracle.line[leg.lane] for leg in legs] == [line for _, line in expected_legs]
    if legs:
        for drive in (ego, expert):
            expected = oracle.progress(expected_legs, drive.centre)
            assert progress_along(index, legs, drive.centre).sum() == pytest.approx(expected, abs=1e-9)
    return found, legs


@pytest.mark.parametrize("root", CITIES, ids=["set1", "set2"])
def test_random_drives_on_the_golden_maps(root):
    city = CITIES[root]
    road_map = read_nuplan_map(find_map(root / "maps", city), city).map
    oracle, random = LaneOracle(road_map), np.random.default_rng(7)
    seen = [assert_same(oracle, random_drive(road_map, random), random_drive(road_map, random)) for _ in range(25)]
    assert sum(found.num_lane_changes for found, _ in seen) > 6
    assert sum(len(legs) > 1 for _, legs in seen) > 3


def test_random_drives_on_tangled_maps():
    random = np.random.default_rng(11)
    seen = []
    for _ in range(15):
        road_map = tangle(random)
        oracle = LaneOracle(road_map)
        seen += [assert_same(oracle, random_drive(road_map, random), random_drive(road_map, random)) for _ in range(4)]
    assert sum(found.points_in_several_lanes for found, _ in seen) > 100
    assert sum(any(len(objects) > 1 for objects in found.centre) for found, _ in seen) > 12


def test_golden_drives(golden):
    oracle = LaneOracle(golden[0].scene.map)
    for case in golden[::41]:
        expert = EgoStates.of_log(case.scene.expert)
        ego = case.ego
        route = oracle.route(ego.centre)
        found = driven_route(index_of(case.scene.map), ego.centre, ego.corners)
        assert found.centre == route
        legs = oracle.legs(oracle.route(expert.centre))
        assert oracle.progress(legs, ego.centre) == pytest.approx(case.expected["stat_ego_progress_m"], abs=1e-6)
        shared = [oracle.shared(objects) for objects in oracle.corner_route(ego.corners)]
        assert sum(map(bool, shared)) == case.expected["stat_frames_single_lane"]
        assert oracle.lane_changes(shared) == case.expected["stat_n_lane_changes"]
