"""Views show the present of a world, the same to one planner as to many."""

import numpy as np
import pytest
from tests.sim.worlds import all_worlds, pedestrian_road, signalled_crossing

from drivetrain.planners.constant_velocity import ConstantVelocity
from drivetrain.planners.idm import IntelligentDriver
from drivetrain.planners.world_view import planning_rows, scenario_view
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.scenario import AgentType, LightState
from drivetrain.sim.scene_bank import build_bank


def opened(scenarios):
    bank = build_bank(scenarios)
    config = DrivingConfig(num_worlds=len(bank), threads=1)
    env = DrivingEnv(bank, config, sequential=True, automatic_reset=False, perturb=False)
    env.reset(seed=0)
    return env


def view_of(env, scenarios, row):
    rows = planning_rows(env.bank.arrays, env.state)
    return scenario_view(
        env.bank, env.state, rows, at=row, row=row, scenario=scenarios[row], time_s=0.1 * env.state.frame[row]
    )


def test_view_shows_the_logged_start():
    scenario = signalled_crossing()
    view = view_of(opened([scenario]), [scenario], 0)
    np.testing.assert_allclose(view.pose, scenario.ego.pose[0], atol=1e-5)
    assert view.speed == pytest.approx(scenario.ego.velocity[0, 0], abs=1e-5)
    assert view.vehicle.wheelbase == pytest.approx(2.8)
    present = scenario.agents.valid[0]
    np.testing.assert_allclose(view.agent_center, scenario.agents.position[0, present], atol=1e-4)
    np.testing.assert_allclose(view.agent_velocity, scenario.agents.velocity[0, present], atol=1e-5)
    np.testing.assert_allclose(view.agent_size, scenario.agents.size[present], atol=1e-6)
    # The route runs along y = 0; its stop line is at x = -8 and the centre starts at x = -58.
    np.testing.assert_allclose(view.route[:, 1], 0.0, atol=1e-6)
    assert view.stop_line_arc_length[0] - view.arc_length == pytest.approx(50.0, abs=0.01)
    assert view.stop_line_state.tolist() == [LightState.GREEN]
    assert view.map is scenario.map


def test_view_moves_on_with_the_world():
    """The light is yellow from frame 40 on; the walker appears at frame 10 and the view has nothing of it before."""
    crossing = signalled_crossing()
    env = opened([crossing])
    for _ in range(39):
        env.step_log()
    assert view_of(env, [crossing], 0).stop_line_state.tolist() == [LightState.GREEN]
    env.step_log()
    view = view_of(env, [crossing], 0)
    assert view.stop_line_state.tolist() == [LightState.YELLOW]
    assert view.time_s == pytest.approx(4.0)
    np.testing.assert_allclose(view.pose, crossing.ego.pose[40], atol=1e-4)

    street = pedestrian_road()
    env = opened([street])
    seen = []
    for _ in range(12):
        seen.append(AgentType.PEDESTRIAN in view_of(env, [street], 0).agent_type)
        env.step_log()
    assert seen == [False] * 10 + [True] * 2


def test_view_cannot_be_written():
    scenario = signalled_crossing()
    view = view_of(opened([scenario]), [scenario], 0)
    for name in ("pose", "agent_center", "agent_velocity", "route", "stop_line_state"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(view, name)[0] = 0


@pytest.mark.parametrize("planner", [ConstantVelocity(), IntelligentDriver()])
def test_a_planner_plans_alike_for_one_and_for_many(planner):
    scenarios = all_worlds()
    env = opened(scenarios)
    for _ in range(8):
        env.step_log()
    together = planner.plan_rows(planning_rows(env.bank.arrays, env.state))
    for row in range(len(scenarios)):
        np.testing.assert_allclose(planner(view_of(env, scenarios, row)), together[row], atol=1e-5)


def test_chosen_rows_see_what_they_see_among_all():
    env = opened(all_worlds())
    everybody = planning_rows(env.bank.arrays, env.state)
    chosen = planning_rows(env.bank.arrays, env.state, np.array([5, 2]))
    for name in ("pose", "speed", "agents", "arc_length", "route_first", "stop_s", "stop_state"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(everybody, name)[[5, 2]])
