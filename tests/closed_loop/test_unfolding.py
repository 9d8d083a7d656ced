"""Worlds that know no more than what was shown so far."""

from dataclasses import replace

import numpy as np
import pytest

from drivetrain.closed_loop.mirror import WorldMirror
from drivetrain.closed_loop.moment import EgoMoment, Moment, ObservedObjects
from drivetrain.closed_loop.simulation import simulate
from drivetrain.closed_loop.teams import view_team
from drivetrain.closed_loop.unfolding import MOST_OBJECTS
from drivetrain.planners.constant_velocity import ConstantVelocity
from drivetrain.sim.scenario import AgentType, LightState


def views_of(scenario, *, unfolding):
    seen = []

    def planner(view):
        seen.append(view)
        return ConstantVelocity()(view)

    simulate([scenario], planner=view_team(planner, name="noting", unfolding=unfolding))
    return seen


@pytest.fixture(scope="module")
def views(rollouts):
    """What is seen of a scenario whose lights show nothing at first, with and without its log."""
    scenario = rollouts["s5_simple_nr"].scenario
    assert (scenario.lights.state[0] == LightState.UNKNOWN).all()
    return views_of(scenario, unfolding=False), views_of(scenario, unfolding=True)


def test_objects_are_those_of_the_log(views):
    for known, unfolding in zip(*views, strict=True):
        for name in ("agent_type", "agent_center", "agent_heading", "agent_velocity", "agent_size"):
            np.testing.assert_array_equal(getattr(unfolding, name), getattr(known, name))
        # Routes begin at positions in single precision, and in double.
        np.testing.assert_allclose(unfolding.route, known.route, atol=5e-5)
        assert unfolding.arc_length == pytest.approx(known.arc_length, abs=5e-5)
        assert unfolding.time_s == known.time_s


def test_an_id_stays_with_its_agent(views):
    for seen in views:
        size, count = {}, set()
        for view in seen:
            assert len(set(view.agent_id.tolist())) == len(view.agent_id)
            count.add(len(view.agent_id))
            for agent, extent in zip(view.agent_id.tolist(), view.agent_size.tolist(), strict=True):
                assert size.setdefault(agent, extent) == extent
        assert len(count) > 1  # agents come and go


def test_a_stop_line_exists_once_its_light_has_shown_anything(views):
    known, unfolding = views
    shown, hidden = 0, 0
    for before, now in zip(known, unfolding, strict=True):
        lit = (before.stop_line_state != LightState.UNKNOWN).all()
        hidden += len(before.stop_line_state) > 0 and len(now.stop_line_state) == 0
        if lit:
            np.testing.assert_array_equal(now.stop_line_state, before.stop_line_state)
            np.testing.assert_allclose(now.stop_line_arc_length, before.stop_line_arc_length, atol=5e-5)
            shown += len(now.stop_line_state) > 0
    assert shown > 0
    assert hidden > 0


def test_the_age_of_a_light_is_counted_as_it_is_shown(rollouts):
    scenario = rollouts["s0_simple_nr"].scenario
    known, unfolding = WorldMirror([scenario]), WorldMirror([scenario], unfolding=True)
    changes = np.flatnonzero((np.diff(scenario.lights.state.astype(int), axis=0) != 0).any(axis=1))
    for frame in range(int(changes[0]) + 4):
        moment = moment_of(scenario, frame, objects_at(np.zeros((0, 2))))
        known.show({0: moment})
        unfolding.show({0: moment})
    lights = len(scenario.lights.lane)
    ages = known.bank.arrays.light_age.reshape(-1, lights)[frame]
    np.testing.assert_array_equal(unfolding.bank.arrays.light_age[:lights], ages)
    assert set(ages.tolist()) == {2, frame}
    known.bank.arrays.told_goal_s[0] = unfolding.bank.arrays.told_goal_s[0]
    known.env.renew_scenes()
    np.testing.assert_allclose(unfolding.env.current_observation(), known.env.current_observation(), atol=1e-6)


def moment_of(scenario, frame, objects):
    ego = EgoMoment(
        pose=scenario.ego.pose[0], velocity=np.array([5.0, 0.0]), acceleration=0.0, steering=0.0,
        vehicle=scenario.ego.vehicle,
    )  # fmt: skip
    return Moment(frame=frame, time_us=0, ego=ego, objects=objects, light_state=scenario.lights.state[frame])


def objects_at(position):
    count = len(position)
    return ObservedObjects(
        column=np.arange(count),
        type=np.full(count, AgentType.PEDESTRIAN, dtype=np.uint8),
        size=np.full((count, 2), 0.5),
        position=position,
        heading=np.zeros(count),
        velocity=np.zeros((count, 2)),
    )


def test_of_too_many_objects_the_nearest_are_shown(rollouts):
    scenario = rollouts["s0_simple_nr"].scenario
    moment = moment_of(scenario, 0, objects_at(np.zeros((0, 2))))
    away = np.random.default_rng(0).permutation(np.arange(1.0, MOST_OBJECTS + 100))
    objects = objects_at(moment.ego.centre + away[:, None] * [0.0, 1.0])
    mirror = WorldMirror([scenario], unfolding=True)
    mirror.show({0: replace(moment, objects=objects)})
    assert mirror.state.agents[0, 10, 1 : MOST_OBJECTS + 1].all()
    assert not mirror.state.agents[0, 10, MOST_OBJECTS + 1 :].any()
    ids = mirror.bank.slot_tokens[1 : MOST_OBJECTS + 1].astype(np.int64)
    assert set(away[ids].tolist()) == set(range(1, MOST_OBJECTS + 1))
