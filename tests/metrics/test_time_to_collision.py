"""Time to collision: hand-computed, against literal polygons, and with the reference implementation's values."""

import numpy as np
import pytest
from tests.metrics import polygon_oracle
from tests.metrics.builders import agents_of, random_box, straight_ego

from drivetrain.metrics.collisions import find_collisions
from drivetrain.metrics.time_to_collision import is_within_bound, physical_time_to_collision, time_to_collision
from drivetrain.sim.scenario import AgentType

NUM = 12
YES, NO = np.ones(NUM, dtype=np.bool_), np.zeros(NUM, dtype=np.bool_)


def times(*boxes, ego=None, in_lane=YES, in_intersection=NO, physical=False):
    ego = straight_ego(NUM) if ego is None else ego
    agents = agents_of(NUM, *boxes)
    collisions = find_collisions(ego, agents, in_lane)
    rule = physical_time_to_collision if physical else time_to_collision
    return rule(ego, agents, collisions=collisions, in_lane=in_lane, rear_axle_in_intersection=in_intersection)


def test_a_standing_car_ahead():
    # The front is at 4.049, the car's rear at 14: 9.951 m at 5 m/s are 1.99 s, seen at 2.0 s; 0.1 s less per frame.
    found = times({"x": 16.0, "y": 0.0})
    np.testing.assert_allclose(found, 2.0 - 0.1 * np.arange(NUM), atol=1e-9)
    assert is_within_bound(found[:11])  # 1.0 s
    assert not is_within_bound(found)  # 0.9 s


def test_beyond_the_last_look_there_is_none():
    # 2.9 s at 5 m/s reach 14.5 m: a rear at 18.549 m is touched in the last look, one at 18.55 m is not.
    assert times({"x": 4.049 + 14.5 + 2.0 - 1e-9, "y": 0.0})[0] == pytest.approx(2.9)
    assert times({"x": 4.049 + 14.5 + 2.0 + 1e-3, "y": 0.0})[0] == np.inf


def test_a_frame_in_which_the_ego_is_to_blame_is_zero_and_the_track_counts_no_more():
    found = times({"x": 8.0, "y": 0.0})
    # 1.951 m at 0.5 m per frame: contact in frame 4.
    np.testing.assert_allclose(found[:4], [0.4, 0.3, 0.2, 0.1], atol=1e-9)
    assert found[4] == 0.0
    assert (found[5:] == np.inf).all()


def test_a_standing_ego_has_no_time_to_collision():
    box = {"x": 9.0, "y": 0.0, "heading": np.pi, "speed": 5.0}
    assert (times(box, ego=straight_ego(NUM, speed=0.005)) == np.inf).all()
    assert (times(box, ego=straight_ego(NUM, speed=0.006))[:3] < 1.0).all()


def test_crossing_traffic_counts_at_intersections_and_outside_lanes():
    # 61 degrees to the right: no candidate while the ego keeps to its lane. Its nose comes from y = -7 m to the ego's
    # side at -1.1485 m at 8 m/s: 0.73 s, and meets it from the side.
    box = {"x": 5.0, "y": -9.0, "heading": np.pi / 2, "speed": 8.0}
    assert times(box)[0] == np.inf
    assert times(box, in_intersection=YES)[0] == times(box, in_lane=NO)[0] == pytest.approx(0.8)


def test_traffic_behind_never_counts():
    box = {"x": -8.0, "y": 0.0, "speed": 20.0}
    assert times(box, in_lane=NO, in_intersection=YES)[0] == np.inf


def test_a_cones_velocity_is_ignored():
    box = {"x": 12.0, "y": 0.0, "heading": np.pi, "speed": 20.0, "type": AgentType.TRAFFIC_CONE}
    assert times(box)[0] == pytest.approx(1.2)  # 5.951 m at 5 m/s
    assert times(box, physical=True)[0] == pytest.approx(1.2)


def test_nuplan_takes_a_reversing_ego_for_a_forward_one():
    ego = straight_ego(NUM, velocity=np.tile([-2.0, 0.0], (NUM, 1)), pose=np.zeros((NUM, 3)))
    box = {"x": 8.0, "y": 0.0}
    assert times(box, ego=ego)[0] == pytest.approx(1.0)  # 1.951 m at 2 m/s
    assert (times(box, ego=ego, physical=True) == np.inf).all()


def test_true_velocities_bring_a_sliding_car_near():
    agents = agents_of(NUM, {"x": 12.0, "y": 4.0, "heading": 0.0, "speed": 0.0})
    agents.velocity[:, 0] = [0.0, -2.0]
    ego = straight_ego(NUM)
    collisions = find_collisions(ego, agents, YES)
    masks = {"collisions": collisions, "in_lane": YES, "rear_axle_in_intersection": NO}
    # Sideways: 4 - 1 - 1.1485 = 1.8515 m at 2 m/s, 0.93 s; lengthwise 5.951 m at 5 m/s, 1.19 s.
    assert physical_time_to_collision(ego, agents, **masks)[0] == pytest.approx(1.2)
    assert time_to_collision(ego, agents, **masks)[0] == np.inf  # it drives away along the neighbouring lane


def test_no_tracks_no_time():
    assert (times() == np.inf).all()


def test_random_traffic_is_judged_as_literally():
    random = np.random.default_rng(11)
    outcomes = []
    for _ in range(40):
        speed = float(random.choice([0.0, 0.004, 2.0, 9.0]))
        ego = straight_ego(NUM, speed=speed, heading=random.uniform(-3, 3))
        far = [b | {"x": 3 * b["x"], "y": 3 * b["y"]} for b in (random_box(random) for _ in range(10))]
        agents = agents_of(NUM, *far)
        in_lane, in_intersection = random.random((2, NUM)) < 0.6
        found = time_to_collision(
            ego, agents, collisions=find_collisions(ego, agents, in_lane), in_lane=in_lane,
            rear_axle_in_intersection=in_intersection,
        )  # fmt: skip
        expected = polygon_oracle.times_to_collision(ego, agents, in_lane, in_intersection)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        outcomes.append(expected)
    seen = np.concatenate(outcomes)
    assert (seen == 0).any()
    assert np.isinf(seen).any()
    assert len(np.unique(np.round(seen, 6))) > 25


def test_some_golden_trajectories_are_judged_as_literally(golden):
    for case in golden[::80]:
        num = len(case.ego)
        in_lane = np.arange(num) % 3 > 0
        crossing = np.arange(num) % 5 == 0
        collisions = find_collisions(case.ego, case.scene.agents, in_lane)
        found = time_to_collision(
            case.ego, case.scene.agents, collisions=collisions, in_lane=in_lane, rear_axle_in_intersection=crossing
        )
        expected = polygon_oracle.times_to_collision(case.ego, case.scene.agents, in_lane, crossing)
        np.testing.assert_allclose(found, expected, atol=1e-9, err_msg=str(case.index))
