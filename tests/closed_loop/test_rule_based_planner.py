"""The rule-based planner in nuPlan's closed loop: what it stops for, what it passes, what must not matter."""

from dataclasses import replace

import numpy as np
import pytest

from drivetrain.closed_loop.outcomes import runs_red_light
from drivetrain.closed_loop.rule_based.planner import CONSTANTS, rule_based_planner
from drivetrain.closed_loop.simulation import FailedRollout, Rollout, one_by_one, simulate
from drivetrain.metrics.score import score_trajectory
from drivetrain.sim.scenario import AgentTracks, AgentType, LightState

TEAM = one_by_one(rule_based_planner)


@pytest.fixture(scope="module")
def road(rollouts):
    """Set 1: two lanes 3.5 m apart and a lit crossing 120 m ahead, here without anybody."""
    scenario = rollouts["simple_nr"].scenario
    return replace(scenario, agents=boxes(scenario, []))


def boxes(scenario, places, *, size=(4.5, 1.9)):
    """Vehicles that stand at (metres ahead of the ego's start, metres to its left)."""
    frames, count = len(scenario.timestamps_us), len(places)
    x, y, heading = scenario.ego.pose[0]
    c, s = np.cos(heading), np.sin(heading)
    position = np.array([[x + ahead * c - left * s, y + ahead * s + left * c] for ahead, left in places]).reshape(-1, 2)
    return AgentTracks(
        token=np.arange(count, dtype=np.uint64),
        type=np.full(count, AgentType.VEHICLE, dtype=np.uint8),
        size=np.tile(np.float32(size), (count, 1)),
        position=np.tile(position, (frames, 1, 1)),
        heading=np.full((frames, count), heading, dtype=np.float32),
        velocity=np.zeros((frames, count, 2), dtype=np.float32),
        valid=np.ones((frames, count), dtype=np.bool_),
    )


def green(scenario):
    lights = scenario.lights
    return replace(scenario, lights=replace(lights, state=np.full_like(lights.state, LightState.GREEN)))


def driven(scenario):
    (rollout,) = simulate([scenario], planner=TEAM)
    assert isinstance(rollout, Rollout)
    way = rollout.ego.pose[:, :2] - rollout.ego.pose[0, :2]
    direction = rollout.ego.pose[0, 2]
    ahead = way @ [np.cos(direction), np.sin(direction)]
    return rollout, ahead, score_trajectory(rollout.scene(scenario), rollout.ego)


def test_it_stops_behind_what_blocks_every_lane(road):
    scenario = replace(green(road), agents=boxes(road, [(70.0, 0.0), (70.0, 3.5), (70.0, -3.0)], size=(4.5, 3.0)))
    rollout, ahead, verdict = driven(scenario)
    gap = 70.0 - 2.25 - (ahead[-1] + 1.461 + 2.588)
    assert 0.5 < gap < 5.0
    assert rollout.ego.speed[-1] < 0.3
    assert verdict.metrics["no_ego_at_fault_collisions"] == 1.0
    assert verdict.metrics["ego_is_comfortable"] == 1.0


def test_it_passes_what_blocks_a_part_of_its_lane(road):
    scenario = replace(green(road), agents=boxes(road, [(60.0, -1.3)], size=(4.5, 1.6)))
    _, ahead, verdict = driven(scenario)
    assert ahead[-1] > 100.0
    assert verdict.metrics["no_ego_at_fault_collisions"] == 1.0
    assert verdict.metrics["time_to_collision_within_bound"] == 1.0
    assert verdict.metrics["drivable_area_compliance"] == 1.0


def test_it_stops_for_red_and_goes_on_green(road):
    lights = road.lights
    red = replace(road, lights=replace(lights, state=np.full_like(lights.state, LightState.RED)))
    rollout, stopped, _ = driven(red)
    _, free, _ = driven(green(road))
    assert not runs_red_light(red, rollout.ego)
    assert rollout.ego.speed[-1] < 1.0
    assert free[-1] > stopped[-1] + 10.0


def test_alone_and_among_others_it_drives_alike(rollouts):
    scenarios = [rollouts[f"s{k}_simple_nr"].scenario for k in (0, 1, 2)]
    together = simulate(scenarios, planner=TEAM)
    (alone,) = simulate(scenarios[1:2], planner=TEAM)
    np.testing.assert_array_equal(together[1].ego.pose, alone.ego.pose)
    for scenario, rollout in zip(scenarios, together, strict=True):
        assert score_trajectory(rollout.scene(scenario), rollout.ego).score > 0.85


def test_without_a_route_or_lanes_it_fails_with_a_line(road):
    lost = replace(road, route=np.zeros(0, dtype=np.int32))
    blind = replace(road, map=replace(road.map, knowledge=replace(road.map.knowledge, lane_graph=False)))
    assert simulate([lost, blind], planner=TEAM) == [
        FailedRollout(frame=0, reason="the scenario has no route along lanes, which the rule-based planner follows"),
        FailedRollout(frame=0, reason="the map has no lane graph, which the rule-based planner follows"),
    ]


def test_its_constants_are_what_it_considers(road):
    drive = rule_based_planner(road)
    seen = []

    def planner(scenario):
        def plan(moment):
            poses = drive(moment)
            seen.append((len(drive.found.values), drive.found.states.shape[1]))
            return poses

        return plan

    simulate([replace(road, timestamps_us=road.timestamps_us[:5])], planner=one_by_one(planner))
    assert max(count for count, _ in seen) <= CONSTANTS["proposals"]
    assert {(states - 1) / 10 for _, states in seen} == {CONSTANTS["horizon_s"]}
