"""Red lights and goals, on a golden approach to a light and by hand."""

from dataclasses import replace

import numpy as np
import pytest

from drivetrain.closed_loop.outcomes import reaches_goal, runs_red_light
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.score import NuplanScore
from drivetrain.sim.scenario import LightState


def through(scenario, light, *, beside=0.0):
    """Straight over the stop line of a light at 10 m/s, the front on it in frame 20."""
    start, end = scenario.map.lanes.baseline[int(scenario.lights.lane[light])][:2]
    heading = np.arctan2(*(end - start)[::-1])
    ahead, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
    way = 1.0 * np.arange(40)[:, None] - 20.0 - 1.461 - 2.588
    position = scenario.lights.stop_point[light] + way * ahead + beside * left
    zeros = np.zeros((40, 2))
    return EgoStates(
        pose=np.column_stack([position, np.full(40, heading)]),
        velocity=np.tile([10.0, 0.0], (40, 1)),
        acceleration=zeros,
        yaw_rate=zeros[:, 0],
        yaw_acceleration=zeros[:, 0],
    )


def with_lights(scenario, state):
    return replace(scenario, lights=replace(scenario.lights, state=np.full_like(scenario.lights.state, state)))


def test_a_red_light_is_run_where_all_lights_of_the_line_are_red(rollouts):
    scenario = rollouts["s0_simple_nr"].scenario
    red = with_lights(scenario, LightState.RED)
    assert runs_red_light(red, through(scenario, 0)) is True
    assert runs_red_light(red, through(scenario, 0, beside=60.0)) is False
    for state in (LightState.GREEN, LightState.YELLOW, LightState.UNKNOWN):
        assert runs_red_light(with_lights(scenario, state), through(scenario, 0)) is False


def test_one_open_connector_behind_the_line_is_enough(rollouts):
    scenario = with_lights(rollouts["s0_simple_nr"].scenario, LightState.RED)
    line = scenario.lights.stop_point
    light, other = next(
        (i, j) for i in range(len(line)) for j in range(len(line)) if i != j and np.allclose(line[i], line[j], atol=0.2)
    )
    assert runs_red_light(scenario, through(scenario, light)) is True
    scenario.lights.state[:, other] = LightState.GREEN
    assert runs_red_light(scenario, through(scenario, light)) is False


def test_the_light_counts_when_the_line_is_crossed(rollouts):
    scenario = with_lights(rollouts["s0_simple_nr"].scenario, LightState.GREEN)
    scenario.lights.state[:15] = LightState.RED
    scenario.lights.state[26:] = LightState.RED
    assert runs_red_light(scenario, through(scenario, 0)) is False
    scenario.lights.state[15:26] = LightState.RED
    assert runs_red_light(scenario, through(scenario, 0)) is True


def test_unknown_lights_are_unknown(rollouts):
    scenario = rollouts["s0_simple_nr"].scenario
    blind = replace(scenario, knowledge=replace(scenario.knowledge, traffic_lights=False))
    assert runs_red_light(blind, through(scenario, 0)) is None


@pytest.mark.parametrize(
    ("ratio", "expert", "ego", "reached"),
    [(1.0, 90.0, 95.0, True), (0.996, 101.0, 99.6, True), (0.99, 101.0, 99.0, False), (1.0, 3.0, 3.0, False),
     (0.0, 90.0, -5.0, False), (None, 90.0, 90.0, None)],
)  # fmt: skip
def test_the_goal_is_where_the_log_got_in_the_same_time(ratio, expert, ego, reached):
    verdict = NuplanScore(
        score=None,
        metrics={},
        statistics={"expert_progress_m": expert, "ego_progress_m": ego},
        physical={"ego_progress_along_expert_route": ratio},
        unknown={},
    )
    assert reaches_goal(verdict) is reached
