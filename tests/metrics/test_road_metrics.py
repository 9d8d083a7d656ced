"""Direction, progress, speed limit, drivable area and lane changes by hand, on a short street."""

import numpy as np
import pytest
import shapely
from tests.metrics.builders import straight_ego, times_of
from tests.metrics.maps import KNOWS_ALL, lane, make_map, street

from drivetrain.metrics.drivable_area import leaves_drivable_area
from drivetrain.metrics.driving_direction import (
    direction_score,
    lane_places,
    least_progress,
    least_progress_in_one_second,
)
from drivetrain.metrics.map_index import MapIndex, index_of
from drivetrain.metrics.progress import progress_along, progress_ratio, route_legs
from drivetrain.metrics.route import centre_objects, count_lane_changes, driven_route
from drivetrain.metrics.speed_limit import over_speed, speed_limit, speed_limit_score

LANE_1, LANE_2, LANE_4, LINK_3 = 0, 1, 2, 3


def routed(road_map, ego):
    return driven_route(index_of(road_map), ego.centre, ego.corners)


def least_of(road_map, ego, times):
    """nuPlan's least progress and that of exactly one second."""
    index, route = index_of(road_map), routed(road_map, ego).centre
    places = lane_places(index, ego.centre, route)
    exact = least_progress_in_one_second(index, ego.centre, places, route, times)
    return least_progress(index, places, route, times), exact


def progress_of(road_map, ego, expert):
    index = index_of(road_map)
    legs = route_legs(index, centre_objects(index, expert.centre, index.hits(expert.centre)))
    return float(progress_along(index, legs, ego.centre).sum())


def test_a_point_on_a_border_belongs_to_nothing():
    hits = index_of(street()).hits(np.array([[50.0, 2.0], [50.0, 4.0], [100.0, 2.0], [115.0, 2.0], [50.0, -1.0]]))
    assert hits.lanes == [(LANE_1,), (), (), (), ()]
    assert hits.connectors == [(), (), (), (LINK_3,), ()]


def test_arc_lengths_as_geos_has_them():
    random = np.random.default_rng(3)
    for _ in range(20):
        # Corners on a coarse grid, so that many points are equally near to two places; repeated vertices too.
        line = random.integers(-5, 6, (8, 2)).astype(np.float64)
        line[4] = line[3]
        points = random.integers(-7, 8, (60, 2)) / 2
        road_map = make_map([lane(1, (-9, 9, -9, 9), block=1, line=line)])
        expected = shapely.line_locate_point(shapely.LineString(line), shapely.points(points))
        np.testing.assert_allclose(index_of(road_map).arc_length(0, points), expected, atol=1e-12)
        assert index_of(road_map).length(0) == pytest.approx(shapely.LineString(line).length)


def test_holes_and_parts_of_areas_count():
    index = MapIndex(street(drivable=[(0, 10, 0, 10), (20, 30, 0, 10)]))
    points = np.array([[5.0, 5.0], [15.0, 5.0], [25.0, 5.0], [10.2, 5.0], [10.31, 5.0]])
    assert index.drivable.holds(points).tolist() == [True, False, True, False, False]
    assert index.drivable.near(points, 0.3).tolist() == [True, False, True, True, False]


def test_route_leads_from_lane_over_connector_to_lane():
    ego = straight_ego(100, speed=20.0, x=4.0, y=2.0)  # box centre at 5.461 + 2 i
    route = routed(street(), ego)
    assert route.centre[:48] == [(LANE_1,)] * 48
    assert route.centre[48:63] == [(LINK_3,)] * 15
    assert route.centre[63:] == [(LANE_4,)] * 37
    assert route.in_lane.all()
    assert (route.num_lane_changes, route.points_in_several_lanes) == (0, 0)


def test_a_lane_change_begins_when_corners_part_and_ends_in_the_other_lane():
    heading = np.arctan(0.1)
    ego = straight_ego(85, speed=5.0, x=5.0, y=2.0, heading=heading)
    route = routed(street(), ego)
    sides = np.array([[y > 4.0 for _, y in corners] for corners in ego.corners])
    together = sides.all(axis=1) | ~sides.any(axis=1)
    assert route.in_lane.tolist() == together.tolist()
    assert not route.in_lane.all()
    assert route.num_lane_changes == 1


def test_counting_lane_changes():
    here, there = frozenset({1}), frozenset({2})
    assert count_lane_changes([here, None, None, there]) == 1
    assert count_lane_changes([here, None, here, None]) == 2, "returning ends one, the end of the drive another"
    assert count_lane_changes([None, here, None, frozenset(), None, here]) == 1, "all off-lane ends one, begins none"
    assert count_lane_changes([None]) == count_lane_changes([]) == 0


def test_overlapping_lanes_give_the_first_and_are_counted():
    road_map = make_map([lane(8, (0, 100, 0, 4), block=1), lane(9, (0, 100, 0, 4), block=1)])
    route = routed(road_map, straight_ego(3, x=20.0, y=2.0))
    assert route.centre == [(0,)] * 3
    assert route.points_in_several_lanes == 15


def test_the_first_of_several_connectors_is_the_first_area_of_the_source():
    lanes = [lane(7, (0, 100, 0, 4), block=1, kind=1), lane(8, (0, 100, 0, 4), block=2, kind=1)]
    ego = straight_ego(3, x=20.0, y=2.0)
    assert routed(make_map(lanes), ego).centre == [(0, 1)] * 3
    assert routed(make_map(lanes, area_order=[1, 0]), ego).centre == [(1, 0)] * 3


def test_speed_limits():
    index = index_of(street())
    assert speed_limit(index, (LANE_1,)) == 10.0
    assert speed_limit(index, (LINK_3,)) == 15.0, "the higher of the lanes it joins, not its own 3"
    assert speed_limit(index, ()) is None
    nameless = [lane(1, (0, 100, 0, 4), block=1), lane(3, (100, 130, 0, 4), block=2, kind=1, limit=3.0)]
    index = index_of(make_map(nameless, links=[(1, 3)]))
    assert speed_limit(index, (0,)) is None
    assert speed_limit(index, (1,)) is None


def test_speed_limit_score():
    speed = np.array([9.0, 11.0, 13.0, 10.0])
    over = over_speed(index_of(street()), speed, [(LANE_1,), (LANE_1,), (LANE_1,), ()])
    assert over.tolist() == [0.0, 1.0, 3.0, 0.0]
    # 1 - (1 + 3) * 0.1 / (2.23 * 0.3)
    assert speed_limit_score(over, times_of(4)) == pytest.approx(1 - 0.4 / 0.669)
    assert speed_limit_score(np.array([0.0, 9.0, 9.0]), times_of(3)) == 0.0
    assert speed_limit_score(np.zeros(3), times_of(3)) == 1.0
    assert speed_limit_score(np.array([5.0]), times_of(1)) == 1.0


def test_direction_sums_over_eleven_frames_where_a_second_has_ten():
    least, exact = least_of(street(), straight_ego(40, speed=-1.9, x=90.0, y=2.0), times_of(40))
    assert least == pytest.approx(-2.09)  # 11 steps of 0.19
    assert direction_score(-least) == 0.5
    assert exact == pytest.approx(-1.9)
    assert direction_score(-exact) == 1.0


def test_direction_window_shrinks_when_steps_are_a_little_long():
    times = times_of(40) + np.arange(40)  # 100.001 ms: int(9.9999) = 9, so 10 steps
    least, _ = least_of(street(), straight_ego(40, speed=-1.9, x=90.0, y=2.0), times)
    assert least == pytest.approx(-1.9)


def test_direction_after_a_change_of_lane_has_two_frames_without_progress():
    ego = straight_ego(6, speed=-10.0, x=131.99, y=2.0)  # centres at x = 133.451 .. 130.451, 129.451, 128.451
    assert routed(street(), ego).centre == [(LANE_4,)] * 4 + [(LINK_3,)] * 2
    least, exact = least_of(street(), ego, times_of(6))
    assert least == pytest.approx(-3.0)
    # On the connector's own baseline, which ends at 130, the way from 130.451 to 129.451 is 0.549.
    assert exact == pytest.approx(-3.0 - 0.549 - 1.0)


def test_direction_thresholds():
    assert [direction_score(m) for m in (1.999, 2.0, 5.999, 6.0)] == [1.0, 0.5, 0.5, 0.0]


def test_progress_counts_only_on_the_experts_roadblocks():
    expert = straight_ego(60, speed=20.0, x=0.0, y=2.0)  # centre to x = 119.461, on the connector
    ego = straight_ego(100, speed=20.0, x=0.0, y=6.0)  # beside it, in the same roadblock, then beside the connector
    road_map = street()
    assert progress_of(road_map, expert, expert) == pytest.approx(118.0)
    # The last centre within the roadblock lies at 99.461; the expert's lane 2 leads nowhere, y = 6 is off the rest.
    assert progress_of(road_map, ego, expert) == pytest.approx(98.0)
    far = straight_ego(140, speed=20.0, x=0.0, y=2.0)
    assert progress_of(road_map, far, expert) == pytest.approx(128.0), "129.461 is the last place on the connector"


def test_progress_over_a_skipped_roadblock():
    road_map = street()
    expert = straight_ego(130, speed=20.0, x=0.0, y=2.0)
    ego = straight_ego(3, speed=400.0, x=58.539, y=2.0)  # centres at 60, 100 (on a border: nowhere), 140
    assert progress_of(road_map, ego, expert) == pytest.approx(80.0)


def test_progress_ratio():
    assert progress_ratio(50.0, 100.0) == 0.5
    assert progress_ratio(120.0, 100.0) == 1.0
    assert progress_ratio(-2.0, 100.0) == 0.02, "up to 2 m back count as 2 m ahead"
    assert progress_ratio(-2.01, 1.0) == 0.0
    assert progress_ratio(0.0, 0.0) == 1.0


@pytest.mark.parametrize(("beside", "leaves"), [(0.29, False), (0.31, True)])
def test_a_corner_may_be_outside_by_less_than_a_third_of_a_metre(beside, leaves):
    ego = straight_ego(5, x=20.0, y=2.297 / 2 - beside)
    assert leaves_drivable_area(index_of(street()), ego.corners, routed(street(), ego)) is leaves


def test_a_corner_near_the_lane_under_the_centre_is_no_departure_without_any_drivable_area():
    road_map = street(drivable=())
    for y, leaves in ((2.0, False), (0.9, False), (0.8, True)):
        ego = straight_ego(5, x=20.0, y=y)  # right corners at y - 1.1485
        assert leaves_drivable_area(index_of(road_map), ego.corners, routed(road_map, ego)) is leaves


def test_off_the_map_nothing_is_found():
    road_map, ego = street(), straight_ego(20, x=5000.0, y=2.0)
    route = routed(road_map, ego)
    assert route.centre == [()] * 20
    assert not route.in_lane.any()
    assert leaves_drivable_area(index_of(road_map), ego.corners, route)
    assert least_of(road_map, ego, times_of(20)) == (0.0, 0.0)
    assert progress_of(road_map, ego, straight_ego(20, x=5.0, y=2.0)) == 0.0


def test_an_index_is_remembered_by_map():
    first, second = street(), street(knowledge=KNOWS_ALL)
    assert index_of(first) is index_of(first)
    assert index_of(first) is not index_of(second)
