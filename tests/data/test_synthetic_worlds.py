"""Synthetic worlds: the same for the same seed, sound as data, and driven as an expert would."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import shapely
from tests.data.dense_agents import all_agents

from drivetrain.data.synthetic.casting import KINDS, kind_of
from drivetrain.data.synthetic.world import FRAMES, World, generate_world
from drivetrain.errors import UsageError
from drivetrain.sim.scenario import AgentType, LaneKind, LightState

SEEDS = 4


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [generate_world(1000 * k + seed, kind) for k, kind in enumerate(KINDS) for seed in range(SEEDS)]


def arrays_of(value: object) -> list[np.ndarray]:
    """All arrays inside nested dataclasses, in field order."""
    if isinstance(value, np.ndarray):
        return [value]
    names = getattr(type(value), "__dataclass_fields__", {})
    return [array for name in names for array in arrays_of(getattr(value, name))]


def all_arrays(world: World) -> list[np.ndarray]:
    return arrays_of(world.map) + arrays_of(world.log)


def corners(x: float, y: float, heading: float, length: float, width: float) -> np.ndarray:
    half = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [length / 2, width / 2]
    c, s = np.cos(heading), np.sin(heading)
    return half @ np.array([[c, s], [-s, c]]) + [x, y]


def ego_boxes(world: World, every: int) -> list[shapely.Polygon]:
    v = world.log.ego.vehicle
    return [
        shapely.Polygon(
            corners(x + v.rear_axle_to_center * np.cos(h), y + v.rear_axle_to_center * np.sin(h), h, v.length, v.width)
        )
        for x, y, h in world.log.ego.pose[::every]
    ]


def drivable_area(world: World) -> shapely.Geometry:
    drivable = world.map.drivable
    return shapely.union_all(
        [shapely.Polygon(r[0], r[1:]) for r in (drivable.rings_of(i) for i in range(len(drivable)))]
    )


@pytest.mark.parametrize("kind", ["straight", "roundabout", "signalled_crossing"])
def test_same_seed_same_bits(kind: str) -> None:
    first, second = generate_world(77, kind), generate_world(77, kind)
    for a, b in zip(
        arrays_of(first.map) + arrays_of(first.log), arrays_of(second.map) + arrays_of(second.log), strict=True
    ):
        assert a.tobytes() == b.tobytes()
    assert first.kind == second.kind
    other = generate_world(78, kind)
    assert other.log.ego.pose.tobytes() != first.log.ego.pose.tobytes()


def test_every_kind_is_drawn() -> None:
    drawn = {kind_of(np.random.default_rng([seed, 0])) for seed in range(200)}
    assert drawn == set(KINDS)


def test_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(
        UsageError, match=r"^unknown world kind 'roundabot'; did you mean 'roundabout'\?; known kinds: "
    ):
        generate_world(0, "roundabot")
    with pytest.raises(UsageError, match=r"^the seed of a world must not be negative, got -1; use 0 or more$"):
        generate_world(-1)


def test_shapes_and_rates(worlds: list[World]) -> None:
    for world in worlds:
        log = world.log
        assert log.timestamps_us.shape == (FRAMES,)
        assert set(np.diff(log.timestamps_us)) == {50_000}
        assert all_agents(log).position.shape == (FRAMES, len(all_agents(log).token), 2)
        assert all(np.isfinite(a).all() for a in all_arrays(world) if a.dtype.kind == "f")
        assert log.tag_type[0] == world.kind
        assert re.sub("_(left|right|straight)$", "", world.kind) in KINDS
        assert len(log.tag_frame) == len(log.tag_type)


def test_lane_graph_is_consistent(worlds: list[World]) -> None:
    for world in worlds:
        lanes = world.map.lanes
        for row in range(len(lanes)):
            for successor in lanes.successors[row]:
                np.testing.assert_allclose(lanes.baseline[row][-1], lanes.baseline[successor][0], atol=1e-9)
                assert row in lanes.predecessors[successor]
                assert lanes.kind[row] != lanes.kind[successor]
            for left in lanes.left_neighbor[row]:
                assert list(lanes.right_neighbor[left]) == [row]
                assert lanes.roadblock[left][0] == lanes.roadblock[row][0]
            block = lanes.roadblock[row][0]
            assert world.map.roadblock_is_connector[block] == (lanes.kind[row] == LaneKind.CONNECTOR)
            start = lanes.baseline[row][0]
            middle = (lanes.left_boundary[row][0] + lanes.right_boundary[row][0]) / 2
            np.testing.assert_allclose(start, middle, atol=1e-6)
        assert (lanes.speed_limit > 5.0).all()
        assert lanes.speed_limit_known.all()


def test_rings_are_closed_and_simple(worlds: list[World]) -> None:
    for world in worlds:
        m = world.map
        for polygons in (
            m.drivable,
            m.intersections,
            m.crosswalks,
            m.stop_polygons,
            m.roadblock_polygon,
            m.lanes.polygon,
        ):
            for i in range(len(polygons)):
                rings = polygons.rings_of(i)
                assert all((ring[0] == ring[-1]).all() for ring in rings)
        for i in range(len(m.drivable)):
            rings = m.drivable.rings_of(i)
            assert shapely.Polygon(rings[0], rings[1:]).is_valid
        assert drivable_area(world).buffer(0.01).geom_type == "Polygon"


def test_expert_stays_on_the_road_and_meets_its_goal(worlds: list[World]) -> None:
    for world in worlds:
        # A centimetre for the outline's millimetre grid and the rotation.
        area = drivable_area(world).buffer(0.01)
        assert all(area.covers(box) for box in ego_boxes(world, 5))
        pose = world.log.ego.pose
        assert np.hypot(*np.diff(pose[:, :2], axis=0).T).sum() >= 25.0
        np.testing.assert_array_equal(world.log.scene_goal[0], pose[-1])


def test_expert_obeys_the_vehicle_model_and_comfort(worlds: list[World]) -> None:
    for world in worlds:
        ego, dt = world.log.ego, 0.05
        speed, a = ego.velocity[:, 0], ego.acceleration[:, 0]
        assert (speed >= 0.0).all()
        step = ego.pose[1:, :2] - ego.pose[:-1, :2]
        heading = ego.pose[:-1, 2]
        np.testing.assert_allclose(step[:, 0], speed[:-1] * np.cos(heading) * dt, atol=1e-7)
        np.testing.assert_allclose(step[:, 1], speed[:-1] * np.sin(heading) * dt, atol=1e-7)
        turned = (ego.pose[1:, 2] - heading + np.pi) % (2 * np.pi) - np.pi
        np.testing.assert_allclose(turned, ego.yaw_rate[:-1] * dt, atol=1e-9)
        np.testing.assert_allclose(speed[1:], np.maximum(0.0, speed[:-1] + dt * a[1:]), atol=1e-9)
        assert np.abs(np.diff(a) / dt).mean() < 1.5
        assert np.abs(speed * ego.yaw_rate).max() < 4.0


def test_nobody_collides(worlds: list[World]) -> None:
    """Slow and exact: polygons of everybody at every tenth frame."""
    for world in worlds:
        agents = all_agents(world.log)
        people = agents.type == AgentType.PEDESTRIAN
        for frame, ego in zip(range(0, FRAMES, 10), ego_boxes(world, 10), strict=True):
            rows = np.flatnonzero(agents.valid[frame])
            shapes = [
                shapely.Polygon(corners(*agents.position[frame, r], float(agents.heading[frame, r]), *agents.size[r]))
                for r in rows
            ]
            tree = shapely.STRtree([*shapes, ego])
            pairs = tree.query([*shapes, ego], predicate="intersects").T
            solid = [*(~people[rows]), True]
            assert not [(i, j) for i, j in pairs if i < j and (solid[i] or solid[j])]


def test_red_lights_are_obeyed_and_follow_yellow(worlds: list[World]) -> None:
    lit = [world for world in worlds if len(world.log.lights.lane)]
    assert lit
    for world in lit:
        lights, ego = world.log.lights, world.log.ego
        assert len(set(lights.lane)) == len(lights.lane)
        before = lights.state[:-1][(lights.state[1:] == LightState.RED) & (lights.state[:-1] != LightState.RED)]
        assert (before == LightState.YELLOW).all()
        reach = ego.vehicle.length / 2 + ego.vehicle.rear_axle_to_center
        front = ego.pose[:, :2] + reach * np.column_stack([np.cos(ego.pose[:, 2]), np.sin(ego.pose[:, 2])])
        for k, row in enumerate(lights.lane):
            if world.map.lanes.roadblock[row][0] not in world.log.scene_route[0]:
                continue
            start = world.map.lanes.baseline[row]
            along = (start[1] - start[0]) / np.hypot(*(start[1] - start[0]))
            offset = (front - lights.stop_point[k]) @ along
            near = np.hypot(*(front - lights.stop_point[k]).T) < 4.0
            passing = np.flatnonzero((offset[:-1] < 0) & (offset[1:] >= 0) & near[1:])
            assert (lights.state[passing + 1, k] != LightState.RED).all()


def test_stop_points_lie_before_the_connector(worlds: list[World]) -> None:
    for world in worlds:
        lanes, lights = world.map.lanes, world.log.lights
        for k, row in enumerate(lights.lane):
            incoming = lanes.baseline[lanes.predecessors[row][0]]
            assert np.hypot(*(incoming[-1] - lights.stop_point[k])) == pytest.approx(0.5, abs=1e-6)
            polygon = shapely.Polygon(world.map.stop_polygons.rings_of(int(lanes.stop_polygons[row][0]))[0])
            assert polygon.contains(shapely.Point(lights.stop_point[k]))


def test_route_leads_along_the_drive_and_beyond(worlds: list[World]) -> None:
    for world in worlds:
        lanes, route = world.map.lanes, [int(b) for b in world.log.scene_route[0]]
        blocks = {int(lanes.roadblock[row][0]): set() for row in range(len(lanes))}
        for row in range(len(lanes)):
            blocks[int(lanes.roadblock[row][0])].update(int(lanes.roadblock[s][0]) for s in lanes.successors[row])
        assert all(after in blocks[before] for before, after in itertools.pairwise(route))
        last = np.vstack([lanes.baseline[row][-1] for row in range(len(lanes)) if lanes.roadblock[row][0] == route[-1]])
        left = np.hypot(*(last - world.log.ego.pose[-1, :2]).T).min()
        assert left > 8.0
