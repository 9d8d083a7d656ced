"""Routes from a first pose, roadblocks and a goal, on the small town's map."""

from dataclasses import replace

import numpy as np
import pytest
from tests.golden_sets import GOLDEN2

from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.route import find_route
from drivetrain.sim.route_ahead import ROUTES, route_ahead, route_told
from drivetrain.sim.scene_bank import build_bank
from drivetrain.trainer.golden_rollouts import golden_rollouts


@pytest.fixture(scope="module")
def scenarios():
    return [golden.scenario for golden in golden_rollouts(GOLDEN2) if golden.name.endswith("simple_nr")]


def names_of(scenario, route):
    return [int(scenario.map.lanes.source_id[lane]) for lane in route.lanes]


def row_of(scenario, lane):
    return int(np.flatnonzero(scenario.map.lanes.source_id == lane)[0])


def standing_on(scenario, lane, fraction, *, then, goal=None):
    """The scenario with its ego on a lane, and a route through the blocks of some lanes."""
    lanes = scenario.map.lanes
    line = lanes.baseline[row_of(scenario, lane)]
    at = int(fraction * (len(line) - 2))
    along = line[at + 1] - line[at]
    heading = np.arctan2(along[1], along[0])
    rear = line[at] - scenario.ego.vehicle.rear_axle_to_center * np.array([np.cos(heading), np.sin(heading)])
    blocks = [int(lanes.roadblock[row_of(scenario, other)][0]) for other in (lane, *then)]
    return replace(
        scenario,
        ego=replace(scenario.ego.take(np.zeros(1, np.int64)), pose=np.array([[*rear, heading]])),
        route=np.array(blocks, dtype=np.int32),
        goal=np.zeros(3) if goal is None else goal,
        goal_known=goal is not None,
    )


@pytest.mark.parametrize("which", [0, 1, 3, 5])
def test_it_is_the_route_of_the_log_where_the_log_keeps_its_lane(scenarios, which):
    scenario = scenarios[which]
    pose = scenario.ego.pose
    centre = pose[:, :2] + 1.461 * np.column_stack([np.cos(pose[:, 2]), np.sin(pose[:, 2])])
    logged, (ahead, _) = find_route(scenario.map, centre, pose[:, 2], scenario.route), route_ahead(scenario)
    assert names_of(scenario, ahead) == names_of(scenario, logged)
    np.testing.assert_allclose(ahead.points, logged.points, atol=1e-6)
    np.testing.assert_array_equal(ahead.speed_limit, logged.speed_limit)


def test_of_the_log_only_the_first_pose_counts(scenarios):
    ego = scenarios[0].ego
    pose = ego.pose.copy()
    pose[1:] = np.nan
    other, goal = route_ahead(replace(scenarios[0], ego=replace(ego, pose=pose)))
    same, same_goal = route_ahead(scenarios[0])
    np.testing.assert_array_equal(other.points, same.points)
    assert goal == same_goal


def test_a_lane_from_which_the_route_cannot_be_reached_is_left(scenarios):
    """From 109 one gets to 203 and 204, from its left neighbour 108 to 201 and 202; only 201 is on the route."""
    lanes = scenarios[0].map.lanes
    assert [int(lanes.source_id[k]) for k in lanes.left_neighbor[row_of(scenarios[0], 109)]] == [108]
    scenario = standing_on(scenarios[0], 109, 0.2, then=[201])
    through = [int(k) for k in range(len(lanes)) if scenario.route[1] in lanes.roadblock[k]]
    assert row_of(scenario, 203) not in through
    route, _ = route_ahead(scenario)
    assert names_of(scenario, route)[:3] == [109, 108, 201]
    turn = np.abs(np.diff(np.unwrap(np.arctan2(route.points[:, 3], route.points[:, 2]))))
    assert turn.max() < 0.35  # 1 m of a lane change over 10 m or more, and the bend of 201


def test_the_goal_lies_where_it_is_nearest(scenarios):
    scenario = standing_on(scenarios[0], 109, 0.2, then=[203])
    points = route_ahead(scenario)[0].points
    beside = points[60, :2] + 3.0 * np.array([-points[60, 3], points[60, 2]])
    assert route_ahead(replace(scenario, goal=np.array([*beside, 0.0]), goal_known=True))[1] == pytest.approx(60, abs=1)
    far = beside + 500.0
    for told in (scenario, replace(scenario, goal=np.array([*far, 0.0]), goal_known=True)):
        assert route_ahead(told)[1] == len(points) - 1


def test_an_ego_far_from_all_lanes_goes_straight_on(scenarios):
    scenario = scenarios[0]
    pose = np.array([[5000.0, 5000.0, 0.5]])
    route, goal = route_ahead(replace(scenario, ego=replace(scenario.ego.take(np.zeros(1, np.int64)), pose=pose)))
    assert route.lanes == ()
    np.testing.assert_allclose(np.arctan2(route.points[:, 3], route.points[:, 2]), 0.5)
    assert goal == len(route.points) - 1


def test_worlds_may_tell_their_egos_what_nuplan_tells_a_planner(scenarios):
    """Way and goal are those of the route ahead; where the drive is complete stays where the log ended."""
    logged, told = build_bank(scenarios), build_bank(scenarios, route_of=ROUTES["mission"])
    assert told.scenario_ids == logged.scenario_ids
    np.testing.assert_array_equal(logged.arrays.goal_s, logged.arrays.told_goal_s)
    for scene, scenario in enumerate(scenarios):
        known = route_told(scenario)
        assert known is not None
        route, goal = known
        np.testing.assert_array_equal(told.route_of(scene)[:, :2], route.points[:, :2].astype(np.float32))
        slot = told.arrays.slot_start[scene]
        assert told.arrays.told_goal_s[slot] == np.float32(goal)
        x, y, heading = scenario.ego.pose[-1]
        ahead = scenario.ego.vehicle.rear_axle_to_center * np.array([np.cos(heading), np.sin(heading)])
        at = route.points[round(float(told.arrays.goal_s[slot])), :2]
        assert np.hypot(*(np.array([x, y]) + ahead - at)) < 5.0, "a lane beside it at most"
    assert (told.arrays.told_goal_s != told.arrays.goal_s).any()


def test_the_goal_that_is_shown_is_the_one_that_is_told(scenarios):
    bank = build_bank(scenarios[:1], route_of=ROUTES["mission"])
    seen = []
    for shift in (0.0, 10.0):
        bank.arrays.told_goal_s[0] = 40.0 + shift
        for backend in ("kernels", "oracle"):
            config = DrivingConfig(num_worlds=1, backend=backend, threads=1)
            seen.append(DrivingEnv(bank, config, sequential=True, perturb=False).reset(seed=0)[0].copy())
    for kernels, oracle in (seen[:2], seen[2:]):
        road = CANONICAL.start("road")
        np.testing.assert_allclose(kernels[:road], oracle[:road], atol=1e-6)
        np.testing.assert_allclose(kernels, oracle, atol=1e-3)  # road points are kept in single precision per map
    changed = np.flatnonzero(seen[0] != seen[2])
    np.testing.assert_array_equal(changed, [11])
    assert seen[2][11] - seen[0][11] == pytest.approx(0.1, abs=1e-5)


def test_as_logged_where_nothing_is_told_or_the_log_went_elsewhere(scenarios):
    scenario = scenarios[0]
    unknown = replace(scenario.map, knowledge=replace(scenario.map.knowledge, lane_graph=False))
    assert route_told(replace(scenario, map=unknown)) is None
    elsewhere = scenario.ego.pose.copy()
    elsewhere[-1, :2] += 500.0
    assert route_told(replace(scenario, ego=replace(scenario.ego, pose=elsewhere))) is None
    logged, told = (build_bank([replace(scenario, map=unknown)], route_of=ROUTES[name]) for name in ("log", "mission"))
    np.testing.assert_array_equal(logged.route_of(0), told.route_of(0))
    np.testing.assert_array_equal(logged.arrays.told_goal_s, told.arrays.told_goal_s)
