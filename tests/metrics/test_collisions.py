"""Collisions: hand-made contacts, thousands of boxes against shapely, the reference implementation's counts."""

import numpy as np
import pytest
import shapely
from tests.metrics import polygon_oracle
from tests.metrics.builders import agents_of, random_box, straight_ego

from drivetrain.errors import DataError
from drivetrain.metrics.box_kernels import boxes_apart, first_contacts
from drivetrain.metrics.collisions import CollisionType, find_collisions
from drivetrain.sim.scenario import AgentType

IN_LANE, OFF_LANE = np.ones(60, dtype=np.bool_), np.zeros(60, dtype=np.bool_)
FRONT = 1.461 + 2.588
"""From the rear axle to the front bumper [m]."""


def collide(*boxes, ego=None, in_lane=IN_LANE):
    return find_collisions(straight_ego(20) if ego is None else ego, agents_of(20, *boxes), in_lane[:20])


def meet(first, second):
    """Whether two boxes (x, y, heading, length, width) meet, by the kernel."""
    (x, y, heading, length, width), (x2, y2, heading2, length2, width2) = first, second
    c, s = np.cos(heading), np.sin(heading)
    dx, dy = x2 - x, y2 - y
    return not boxes_apart(
        dx * c + dy * s, dy * c - dx * s, np.cos(heading2 - heading), np.sin(heading2 - heading),
        length / 2, width / 2, length2 / 2, width2 / 2,
    )  # fmt: skip


def test_random_boxes_meet_where_their_polygons_do():
    random = np.random.default_rng(1)
    outcomes = set()
    for _ in range(4000):
        first, second = (
            (*random.uniform(-4, 4, 2), random.uniform(-4, 4), *random.uniform(0.1, 6, 2)) for _ in range(2)
        )
        one, other = polygon_oracle.box_polygon(*first), polygon_oracle.box_polygon(*second)
        expected = one.intersects(other)
        assert meet(first, second) == expected
        outcomes.add((expected, one.contains(other) or other.contains(one)))
    assert outcomes == {(False, False), (True, False), (True, True)}


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ((4.0, 0.0, 0.0, 4.0, 2.0), True),  # bumper to bumper
        ((4.0, 2.0, 0.0, 4.0, 2.0), True),  # corner to corner
        ((0.0, 2.0, 0.0, 4.0, 2.0), True),  # side to side
        ((3.0, 0.0, np.pi / 2, 4.0, 2.0), True),  # front to side
        ((0.0, 0.0, 1.0, 0.5, 0.5), True),  # one inside the other
        ((4.0 + 1e-9, 0.0, 0.0, 4.0, 2.0), False),
        ((0.0, 2.0 + 1e-9, 0.0, 4.0, 2.0), False),
        ((3.1, 1.9, np.pi / 4, 2.0, 1.0), False),  # their upright boxes meet, they do not
    ],
)
def test_touching_counts_and_a_gap_does_not(second, expected):
    first = (0.0, 0.0, 0.0, 4.0, 2.0)
    assert meet(first, second) is expected
    assert meet(second, first) is expected
    assert polygon_oracle.box_polygon(*first).intersects(polygon_oracle.box_polygon(*second)) is expected


@pytest.mark.parametrize(
    ("box", "frame", "kind", "at_fault", "score"),
    [
        # The ego's front is at 4.049 + 0.5 i; the box's rear at x - 2.
        ({"x": 10.0, "y": 0.0}, 8, CollisionType.STOPPED_TRACK, True, 0.0),
        ({"x": 8.0, "y": 0.0, "speed": 1.0}, 5, CollisionType.ACTIVE_FRONT, True, 0.0),
        ({"x": -4.5, "y": 0.0, "speed": 12.0}, 2, CollisionType.ACTIVE_REAR, False, 1.0),
        # Nose 1.3 m from the ego's middle line at 1 m/s sideways, the ego's side at 1.1485 m: a lateral hit in frame 2.
        (
            {"x": 2.0, "y": 2.3, "heading": -np.pi / 2, "speed": 1.0, "size": (2.0, 1.0)},
            2, CollisionType.ACTIVE_LATERAL, False, 1.0,
        ),
        # A cone that the log lets move at 3 m/s: its rear, from 5 m, is met in frame 5; it counts as standing.
        ({"x": 7.0, "y": 0.0, "type": AgentType.TRAFFIC_CONE, "speed": 3.0}, 5, CollisionType.STOPPED_TRACK, True, 0.5),
        ({"x": 10.0, "y": 0.0, "type": AgentType.PEDESTRIAN}, 8, CollisionType.STOPPED_TRACK, True, 0.0),
        ({"x": 10.0, "y": 0.0, "speed": -0.05}, 8, CollisionType.STOPPED_TRACK, True, 0.0),
    ],
)  # fmt: skip
def test_the_kind_of_a_contact(box, frame, kind, at_fault, score):
    ego = straight_ego(20, speed=0.1 if kind == CollisionType.ACTIVE_LATERAL else 5.0)
    found = collide(box, ego=ego)
    expected = polygon_oracle.collisions(ego, agents_of(20, box), IN_LANE)
    assert [(int(found.frame[0]), 0, int(found.type[0]), bool(found.at_fault[0]))] == expected
    assert (found.type[0], found.at_fault[0], found.score) == (kind, at_fault, score)
    if kind != CollisionType.ACTIVE_REAR:
        assert found.frame[0] == frame


def test_a_standing_ego_is_never_at_fault():
    found = collide({"x": 0.0, "y": 0.0, "speed": 3.0}, ego=straight_ego(20, speed=0.05), in_lane=OFF_LANE)
    assert (found.type[0], found.at_fault[0], found.score) == (CollisionType.STOPPED_EGO, False, 1.0)


def test_a_lateral_contact_is_the_egos_fault_outside_its_lane():
    box = {"x": 2.0, "y": 2.3, "heading": -np.pi / 2, "speed": 1.0, "size": (2.0, 1.0)}
    found = collide(box, ego=straight_ego(20, speed=0.1), in_lane=OFF_LANE)
    assert (found.type[0], found.at_fault[0], found.score) == (CollisionType.ACTIVE_LATERAL, True, 0.0)


def test_only_the_first_contact_with_a_track_counts():
    ego = straight_ego(20, speed=5.0)
    found = collide({"x": 6.0, "y": 0.0, "size": (0.2, 0.2), "type": AgentType.TRAFFIC_CONE}, ego=ego)
    assert found.statistics() == {"n_collisions": 1.0, "n_at_fault": 1.0, "first_collision_type": 1.0}
    assert found.first_contact.tolist() == [4]  # 6.0 - 0.1 - 4.049 = 1.851 m at 0.5 m per frame


def test_one_cone_is_forgiven_by_half_two_are_not():
    cone = {"x": 6.0, "y": 0.0, "size": (0.2, 0.2), "type": AgentType.TRAFFIC_CONE}
    assert collide(cone).score == 0.5
    assert collide(cone, cone | {"type": AgentType.BARRIER}).score == 0.0


def test_contacts_of_one_frame_come_by_type_of_track():
    cone = {"x": 6.0, "y": 0.0, "size": (0.2, 0.2), "type": AgentType.TRAFFIC_CONE}
    found = collide(cone, cone | {"type": AgentType.VEHICLE, "speed": 1.0, "heading": np.pi, "x": 6.4})
    assert found.agent.tolist() == [1, 0]
    assert found.type.tolist() == [CollisionType.ACTIVE_FRONT, CollisionType.STOPPED_TRACK]


def test_a_track_that_is_not_there_is_not_hit():
    assert collide({"x": 2.0, "y": 0.0, "first": 20}).statistics()["n_collisions"] == 0
    late = collide({"x": 2.0, "y": 0.0, "first": 3})
    assert late.frame.tolist() == [3]


@pytest.mark.parametrize("name", ["position", "heading", "velocity"])
def test_a_track_that_is_not_finite_is_one_clear_line(name):
    agents = agents_of(20, {"x": 60.0, "y": 0.0}, {"x": 60.0, "y": 9.0, "first": 4})
    getattr(agents, name)[3:7, 1] = np.nan
    with pytest.raises(DataError) as caught:
        find_collisions(straight_ego(20), agents, IN_LANE[:20])
    assert str(caught.value) == f"scene: the {name} of track {1:016x} in frame 4 is not finite; leave it out"
    find_collisions(straight_ego(4), agents, IN_LANE[:4])  # not shown, not looked at


def test_a_size_that_is_not_finite_is_one_clear_line():
    agents = agents_of(20, {"x": 60.0, "y": 0.0, "size": (4.0, np.inf)})
    with pytest.raises(DataError, match=rf"^scene: the size of track {0:016x} is not finite; leave it out$"):
        find_collisions(straight_ego(20), agents, IN_LANE[:20])


def test_no_tracks_no_collisions():
    found = collide()
    assert found.score == 1.0
    assert found.statistics() == {"n_collisions": 0.0, "n_at_fault": 0.0, "first_collision_type": -1.0}


def test_random_traffic_is_judged_as_literally():
    random = np.random.default_rng(5)
    kinds = set()
    for _ in range(60):
        ego = straight_ego(20, speed=float(random.choice([0.0, 2.0, 9.0])), heading=random.uniform(-3, 3))
        agents = agents_of(20, *(random_box(random) for _ in range(8)))
        in_lane = random.random(20) < 0.5
        found = find_collisions(ego, agents, in_lane)
        rows = list(zip(found.frame, found.agent, found.type, found.at_fault, strict=True))
        assert rows == polygon_oracle.collisions(ego, agents, in_lane)
        kinds |= set(found.type.tolist())
    assert kinds == {0, 1, 2, 3, 4}


def test_moving_the_scene_far_away_changes_nothing():
    random = np.random.default_rng(6)
    boxes = [random_box(random) for _ in range(40)]
    near = collide(*boxes)
    far_ego = straight_ego(20, x=30_000.0, y=-20_000.0)
    far = collide(*({**b, "x": b["x"] + 30_000.0, "y": b["y"] - 20_000.0} for b in boxes), ego=far_ego)
    assert far.first_contact.tolist() == near.first_contact.tolist()


def test_the_kernel_counts_the_frame_of_the_contact():
    ego = straight_ego(4)
    agents = agents_of(4, {"x": FRONT + 2.0 + 0.5 * 2 - 1e-6, "y": 0.0})
    out = np.empty(1, dtype=np.int32)
    first_contacts(
        ego.centre, ego.heading, np.array([2.588, 1.1485]), agents.position, agents.heading, agents.size,
        agents.valid, out,
    )  # fmt: skip
    assert out.tolist() == [2]


def test_contacts_agree_with_the_reference_implementation(golden):
    for case in golden:
        found = find_collisions(case.ego, case.scene.agents, np.ones(len(case.ego), dtype=np.bool_)).statistics()
        for name in ("n_collisions", "first_collision_type"):
            assert found[name] == case.expected[f"stat_{name}"], (case.index, name)


def test_every_tenth_golden_trajectory_is_judged_as_literally(golden):
    for case in golden[::10]:
        in_lane = np.zeros(len(case.ego), dtype=np.bool_)
        found = find_collisions(case.ego, case.scene.agents, in_lane)
        rows = list(zip(found.frame, found.agent, found.type, found.at_fault, strict=True))
        assert rows == polygon_oracle.collisions(case.ego, case.scene.agents, in_lane), case.index


def test_the_front_edge_reaches_as_far_as_shapely_says():
    random = np.random.default_rng(9)
    seen = set()
    for _ in range(300):
        ego = straight_ego(1, speed=3.0, heading=random.uniform(-3, 3))
        reach = random.uniform(1.0, 6.0)
        angle = random.uniform(-2.0, 2.0) + ego.heading[0]
        box = {
            "x": reach * np.cos(angle), "y": reach * np.sin(angle), "heading": random.uniform(-3, 3), "speed": 2.0,
            "size": tuple(random.uniform(0.5, 3.0, 2)),
        }  # fmt: skip
        agents = agents_of(1, box)
        found = find_collisions(ego, agents, IN_LANE[:1])
        if len(found.type) and found.type[0] in (CollisionType.ACTIVE_FRONT, CollisionType.ACTIVE_LATERAL):
            edge = shapely.LineString(ego.corners[0][[0, 3]])
            expected = edge.intersects(polygon_oracle.agent_polygon(agents, 0, 0))
            assert (found.type[0] == CollisionType.ACTIVE_FRONT) == expected
            seen.add(expected)
    assert seen == {True, False}
