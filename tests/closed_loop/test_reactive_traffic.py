"""The compiled reactive traffic against its literal form with GEOS's shapes, and by what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
from tests.closed_loop.traffic_oracle import LiteralTraffic

from drivetrain.closed_loop.intelligent_driver import DriverConstants, acceleration
from drivetrain.closed_loop.moment import EgoMoment, Moment
from drivetrain.closed_loop.reactive_traffic import CONSTANTS, ReactiveTraffic
from drivetrain.sim.scenario import AgentType
from drivetrain.sim.traffic_kinds import REACTING


def moments(scenario, ego):
    """The frames of a scenario in which the ego stands, or drives as logged a little to the left."""
    for frame in range(len(scenario.timestamps_us) - 1):
        at = 0 if ego == "standing" else frame
        pose, speed = scenario.ego.pose[at].copy(), 0.0 if ego == "standing" else scenario.ego.velocity[at, 0]
        if ego == "beside":
            pose[:2] += 1.5 * np.array([-np.sin(pose[2]), np.cos(pose[2])])
        state = EgoMoment(
            pose=pose,
            velocity=np.array([speed, 0.0]),
            acceleration=0.0,
            steering=0.0,
            vehicle=scenario.ego.vehicle,
        )
        yield Moment(frame=frame, time_us=0, ego=state, objects=None, light_state=scenario.lights.state[frame])


def drive(traffic, scenario, ego):
    """Column, x, y, heading, speed of all objects over the frames."""
    seen = []
    for moment in moments(scenario, ego):
        objects = traffic.objects()
        speed = np.hypot(*objects.velocity.T)
        seen.append(np.column_stack([objects.column, objects.position, objects.heading, speed]))
        traffic.advance(moment, 0.1)
    return seen


@pytest.mark.parametrize("ego", ["standing", "beside"])
@pytest.mark.parametrize("name", ["s0_simple_idm", "s1_simple_idm", "s3_simple_idm", "s5_simple_idm"])
def test_as_its_literal_form(rollouts, name, ego):
    scenario = rollouts[name].scenario
    ours, literal = drive(ReactiveTraffic(scenario), scenario, ego), drive(LiteralTraffic(scenario), scenario, ego)
    for got, want in zip(ours, literal, strict=True):
        np.testing.assert_array_equal(got[:, 0], want[:, 0])
        np.testing.assert_allclose(got, want, atol=5e-3)


def test_cyclists_and_later_vehicles_do_not_exist(rollouts):
    scenario = rollouts["s4_simple_idm"].scenario
    agents = scenario.agents
    columns = {int(row[0]) for seen in drive(ReactiveTraffic(scenario), scenario, "standing") for row in seen}
    assert columns
    for column in columns:
        assert agents.type[column] != AgentType.BICYCLE
        assert agents.type[column] != AgentType.VEHICLE or agents.valid[0, column]


def test_vehicles_far_away_are_gone_for_good(rollouts):
    scenario = rollouts["s0_simple_idm"].scenario
    traffic = ReactiveTraffic(scenario)
    first, second, *_ = moments(scenario, "standing")
    away = replace(first, ego=replace(first.ego, pose=first.ego.pose + np.array([500.0, 0.0, 0.0])))
    assert (traffic.objects().type == AgentType.VEHICLE).any()
    traffic.advance(away, 0.1)
    traffic.advance(second, 0.1)
    assert not (traffic.objects().type == AgentType.VEHICLE).any()


def test_room_for_paths_is_found_when_it_is_needed(rollouts, monkeypatch):
    scenario = rollouts["s1_simple_idm"].scenario
    want = drive(ReactiveTraffic(scenario), scenario, "standing")
    monkeypatch.setattr("drivetrain.closed_loop.reactive_traffic._ROOM", 1)
    got = drive(ReactiveTraffic(scenario), scenario, "standing")
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


def test_acceleration_by_hand():
    """v 5, target 10, lead 3 m/s 20 m ahead: s* = 1 + 7.5 + 10 / (2 sqrt 2); a = 1 - 1/16 - (s*/20)^2."""
    desired = 1 + 7.5 + 5 * 2 / (2 * np.sqrt(2))
    want = 1 - 0.0625 - (desired / 20) ** 2
    assert acceleration(5.0, 10.0, 20.0, 3.0, CONSTANTS) == pytest.approx(want, abs=1e-12)
    assert acceleration(5.0, 10.0, 0.2, 0.0, CONSTANTS) == -2.0
    assert acceleration(5.0, 10.0, 0.2, 0.0, DriverConstants(max_deceleration=3.0)) == -3.0
    assert acceleration(0.0, 10.0, 1e9, 0.0, CONSTANTS) == pytest.approx(1.0)


def test_a_driver_who_finds_little_comfortable_can_still_brake_as_nuplans_do():
    assert acceleration(5.0, 10.0, 0.2, 0.0, DriverConstants(max_deceleration=1.2)) == -2.0


def test_equilibrium_gaps_of_drivers():
    """No acceleration where the gap is (s0 + v T) / sqrt(1 - (v / v0)^4) and speeds are equal: v 6, v0 10 m/s."""
    for headway, min_gap in ((1.5, 1.0), (0.8, 0.6), (2.4, 3.0)):
        driver = DriverConstants(headway=headway, min_gap=min_gap, max_acceleration=1.7, max_deceleration=2.9)
        gap = (min_gap + 6.0 * headway) / np.sqrt(1 - 0.6**4)
        assert acceleration(6.0, 10.0, gap, 6.0, driver) == pytest.approx(0.0, abs=1e-12)


def test_drivers_show_in_what_they_drive(rollouts):
    """Who is aggressive gets farther and faster than nuPlan's drivers, who is timid less far; all of it repeats."""
    scenario = rollouts["s0_simple_idm"].scenario
    drives = {}
    for kind in REACTING:
        seen = drive(ReactiveTraffic(scenario, kind=kind), scenario, "beside")
        np.testing.assert_array_equal(seen[-1], drive(ReactiveTraffic(scenario, kind=kind), scenario, "beside")[-1])
        drives[kind] = [{int(row[0]): row[1:] for row in frame} for frame in (seen[0], seen[60])]
    vehicles = set(np.flatnonzero(scenario.agents.type == AgentType.VEHICLE).tolist())
    common = vehicles.intersection(*(frames[1] for frames in drives.values()))
    way, speed = {}, {}
    for kind, (first, later) in drives.items():
        way[kind] = sum(np.hypot(*(later[column][:2] - first[column][:2])) for column in common)
        speed[kind] = max(later[column][3] for column in common)
    assert way["idm_timid"] < way["idm"] < way["idm_aggressive"]
    assert speed["idm_timid"] < speed["idm"] < speed["idm_aggressive"]
