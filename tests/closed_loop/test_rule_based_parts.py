"""Parts of the rule-based planner: speeds, ways round, ground, and its judgement against the metrics themselves."""

import math

import numpy as np
import pytest
import shapely
from tests.golden_sets import GOLDEN2

from drivetrain.closed_loop.intelligent_driver import DriverConstants
from drivetrain.closed_loop.rule_based.forecast import forecast
from drivetrain.closed_loop.rule_based.ground import CELL_M, DRIVABLE, Ground, ground_around, paint
from drivetrain.closed_loop.rule_based.judgement import COLLISION, TTC, feel, meet
from drivetrain.closed_loop.rule_based.path import build_path
from drivetrain.closed_loop.rule_based.planner import _operators, _options
from drivetrain.closed_loop.rule_based.proposals import foresee, propose, way_round
from drivetrain.closed_loop.rule_based.route import RouteGuide, map_lanes
from drivetrain.metrics.collisions import find_collisions
from drivetrain.metrics.comfort import comfort
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.time_to_collision import is_within_bound, time_to_collision
from drivetrain.sim.scenario import AgentTracks
from drivetrain.trainer.golden_rollouts import golden_rollouts

SIZES = np.array([5.176, 2.297, 3.089, 1.461])
NOSE = 1.461 + 0.5 * 5.176
DRIVER = DriverConstants(max_acceleration=1.5, max_deceleration=3.0)
STEPS = 40


def straight(speed: float = 10.0) -> np.ndarray:
    """A path along +x, every half metre, with one speed everywhere."""
    along = 0.5 * np.arange(400)
    zero = np.zeros(400)
    return np.column_stack([along, zero, zero, zero + speed, zero + speed, zero + speed])


def standing(x: float, y: float, *, width: float = 2.0) -> np.ndarray:
    return np.array([[x, y, 0.0, 0.0, 2.5, 0.5 * width, 1.0, 0.0, 0.0]])


def proposal(objects: np.ndarray, *, speed: float, stops: tuple[float, ...] = ()) -> np.ndarray:
    table, poses = straight(), np.empty((51, 3))
    seen = np.empty((len(objects), STEPS + 1, 5))
    foresee(table, objects, forecast(objects, STEPS), seen)
    lines, place = np.array(stops, dtype=np.float64), np.array([10.0, 0.0])
    propose(table, seen, lines, place, speed, 1.0, 0.0, 20.0, SIZES, DRIVER, STEPS, poses)
    return poses


def test_the_free_road_is_driven_at_the_wanted_speed():
    poses = proposal(np.zeros((0, 9)), speed=10.0)
    np.testing.assert_allclose(poses[:, 0], 10.0 + np.arange(51), atol=1e-9)
    np.testing.assert_allclose(poses[:, 1:], 0.0, atol=1e-12)


def test_speeds_follow_the_intelligent_driver_model():
    """dv/dt = 1.5 (1 - (v/10)^4 - ((1 + 1.5 v + v v / (2 sqrt 4.5)) / gap)^2), rear of the leader at 60 - 2.5 m."""
    poses = proposal(standing(60.0, 0.0), speed=8.0)
    x, v = 10.0, 8.0
    for k in range(50):
        assert poses[k, 0] == pytest.approx(x, abs=1e-9)
        gap = 57.5 - (x + NOSE)
        change = 1.5 * (1 - (v / 10) ** 4 - ((1 + 1.5 * v + v * v / (2 * math.sqrt(4.5))) / max(gap, 1.0)) ** 2)
        x, v = x + 0.1 * v, max(v + 0.1 * min(max(change, -3.0), 1.5), 0.0)
    assert poses[-1, 0] + NOSE < 57.5


def test_a_closed_line_is_a_standing_leader():
    np.testing.assert_allclose(
        proposal(np.zeros((0, 9)), speed=8.0, stops=(57.5,)), proposal(standing(60.0, 0.0), speed=8.0), atol=1e-12
    )


@pytest.mark.parametrize(("side", "offset"), [(1, 0.2 + 1.1485 + 0.4), (-1, -1.8 - 1.1485 - 0.4)])
def test_what_stands_in_the_way_is_passed_if_there_is_room(side, offset):
    """A car 2 m wide, centred 0.8 m to the right: from -1.8 to 0.2 m; farther aside than 3.2 m is nowhere."""
    objects = standing(40.0, -0.8)
    seen = np.empty((1, STEPS + 1, 5))
    foresee(straight(), objects, forecast(objects, STEPS), seen)
    expected = offset if abs(offset) <= 3.2 else 0.0
    assert way_round(seen, 10.0, 8.0, SIZES, side) == pytest.approx(expected)


def moved(objects: np.ndarray) -> AgentTracks:
    """Objects as the forecast has them, as the tracks of a log."""
    expected, count = forecast(objects, STEPS), len(objects)
    direction = np.stack([np.cos(objects[:, 2]), np.sin(objects[:, 2])], axis=1)
    velocity = np.broadcast_to(objects[:, 3:4] * direction, (STEPS + 1, count, 2))
    return AgentTracks(
        token=np.arange(count, dtype=np.uint64),
        type=np.zeros(count, dtype=np.uint8),
        size=(2.0 * objects[:, 4:6]).astype(np.float32),
        position=expected[:, :, :2].transpose(1, 0, 2).copy(),
        heading=expected[:, :, 2].T.astype(np.float32),
        velocity=velocity.astype(np.float32),
        valid=np.ones((STEPS + 1, count), dtype=np.bool_),
    )


def test_contacts_and_times_to_collision_are_those_of_the_metrics():
    rng = np.random.default_rng(3)
    outcomes = set()
    for _ in range(300):
        speed, turn = rng.uniform(0.0, 12.0), rng.uniform(-0.3, 0.3)
        heading = turn * 0.1 * np.arange(STEPS + 1)
        step = 0.1 * speed * np.column_stack([np.cos(heading), np.sin(heading)])
        xy = np.concatenate([[[0.0, 0.0]], np.cumsum(step[:-1], axis=0)])
        states = np.column_stack([xy, heading, np.full((STEPS + 1, 1), speed), np.zeros((STEPS + 1, 2))])
        around = rng.uniform([8, -12, -3.1, 0, 1.0, 0.5], [40, 12, 3.1, 10, 2.5, 1.0], size=(2, 6))
        objects = np.column_stack([around, np.ones(2), np.zeros((2, 2))])
        objects = np.float64(np.float32(objects))
        verdict = np.zeros(8)
        where = np.zeros((STEPS + 1, 2), dtype=np.bool_)
        where[:, 0] = True
        meet(states, SIZES, objects, forecast(objects, STEPS), np.zeros(2, dtype=np.bool_), where, verdict)
        zeros = np.zeros(STEPS + 1)
        ego = EgoStates(
            pose=states[:, :3], velocity=np.column_stack([states[:, 3], zeros]), acceleration=np.zeros((STEPS + 1, 2)),
            yaw_rate=zeros, yaw_acceleration=zeros,
        )  # fmt: skip
        agents, in_lane = moved(objects), where[:, 0]
        found = find_collisions(ego, agents, in_lane)
        times = time_to_collision(
            ego, agents, collisions=found, in_lane=in_lane, rear_axle_in_intersection=where[:, 1]
        )  # fmt: skip
        assert (verdict[COLLISION], verdict[TTC]) == (found.score, float(is_within_bound(times)))
        outcomes.add((verdict[COLLISION], verdict[TTC]))
    assert outcomes == {(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)}


@pytest.mark.parametrize(("jolt", "turn"), [(0.0, 0.0), (0.5, 0.1), (3.0, 0.0), (0.0, 0.2)])
def test_comfort_is_that_of_the_metric(jolt, turn):
    """The acceleration jumps in the middle, or the ego turns at 10 m/s; at the ends nothing happens."""
    k = np.arange(STEPS + 1)
    acceleration = np.where((k > 12) & (k < 28), jolt, 0.0)
    steering = np.arctan(turn * 3.089 / 10.0) * np.clip((k - 10) / 5, 0, 1) * (5.0 if turn == 0.2 else 1.0)
    rate = 10.0 * np.tan(steering) / 3.089
    heading = np.concatenate([[0.0], np.cumsum(0.1 * rate[:-1])])
    states = np.column_stack([10.0 * 0.1 * k, 0.0 * k, heading, 10.0 + 0.0 * k, acceleration, steering])
    ego = EgoStates(
        pose=states[:, :3], velocity=np.column_stack([states[:, 3], 0.0 * k]),
        acceleration=np.column_stack([acceleration, 0.0 * k]), yaw_rate=rate,
        yaw_acceleration=np.concatenate([[0.0], np.diff(rate) / 0.1]),
    )  # fmt: skip
    judged = comfort(ego, (100_000 * k).astype(np.int64))
    assert judged is not None
    options, n = _options(), STEPS + 1
    felt = feel(
        states, SIZES, np.zeros((0, 3)), _operators(n), options.windows, options.bounds, np.empty((n, 4)),
        np.empty((n, 2)),
    )  # fmt: skip
    assert felt == float(judged.comfortable) == float((jolt, turn) in {(0.0, 0.0), (0.5, 0.1)})


def test_the_grid_shows_the_drivable_area_of_a_map():
    scenario = next(r.scenario for r in golden_rollouts(GOLDEN2))
    lanes = map_lanes(scenario.map)
    pose = scenario.ego.pose[0]
    hits = lanes.index.hits(pose[None, :2])
    (way, _), *_ = RouteGuide(lanes, scenario.route.tolist()).ways(pose, [*hits.lanes[0], *hits.connectors[0]], 130.0)
    ground = ground_around(lanes, [build_path(lanes, way, pose, 8.0, 130.0)])
    rng = np.random.default_rng(0)
    cells = rng.integers(0, ground.bits.shape, size=(4000, 2))
    points = ground.corner + CELL_M * (cells[:, ::-1] + 0.5)
    hits = lanes.index.hits(points)
    on_lane = np.array([bool(a or b) for a, b in zip(hits.lanes, hits.connectors, strict=True)])
    expected = lanes.index.drivable.holds(points) | on_lane
    shown = (ground.bits[cells[:, 0], cells[:, 1]] & DRIVABLE) != 0
    np.testing.assert_array_equal(shown, expected)
    assert 0.05 < expected.mean() < 0.95


def test_a_polygon_is_painted_however_many_of_its_edges_cross_a_row():
    teeth = [(x, y) for tooth in range(80) for x, y in ((tooth, 0.0), (tooth + 0.5, 0.0), (tooth + 0.75, 9.0))]
    ring = np.array([*teeth, (80.0, 10.0), (0.0, 10.0), teeth[0]])
    ground = Ground(corner=np.zeros(2), bits=np.zeros((40, 330), np.uint8), lane=np.zeros((40, 330), np.uint16))
    paint(ground, ring, np.array([0, len(ring)]), 0, 1, DRIVABLE, 0)
    row, column = np.indices(ground.bits.shape)
    held = shapely.contains_xy(shapely.Polygon(ring), (column + 0.5) * CELL_M, (row + 0.5) * CELL_M)
    assert held[4].sum() > 80, "a row that all teeth cross"
    np.testing.assert_array_equal(ground.bits == DRIVABLE, held)
