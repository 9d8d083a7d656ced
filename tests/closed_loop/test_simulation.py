"""Scenarios side by side: what must not matter, planners that fail, planners of other kinds."""

from dataclasses import replace

import numpy as np
import pytest
from tests.sim.scenario_builder import Mover, constant, line
from tests.sim.worlds import straight_road

from drivetrain.closed_loop.idm_planner import idm_planner
from drivetrain.closed_loop.mirror import WorldMirror, held
from drivetrain.closed_loop.reactive_traffic import ReactiveTraffic
from drivetrain.closed_loop.simple_planner import simple_planner
from drivetrain.closed_loop.simulation import FailedRollout, Rollout, one_by_one, replay, simulate
from drivetrain.closed_loop.teams import PLAN_STEPS, POLICY_STEPS, policy_team, view_team
from drivetrain.closed_loop.traffic import LogReplay
from drivetrain.planners.constant_velocity import ConstantVelocity
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.scene_bank import build_bank

ABSURD = "the planner's trajectory is not finite or has a pose beyond 1e+06 m or rad"
NAMES = ["s0_simple_nr", "s1_simple_nr", "s2_simple_nr"]


@pytest.fixture(scope="module")
def scenarios(rollouts):
    return [rollouts[name].scenario for name in NAMES]


def straight(moment):
    way = 0.5 * np.arange(30)
    x, y, heading = moment.ego.pose
    return np.column_stack([x + way * np.cos(heading), y + way * np.sin(heading), np.full(30, heading)])


def test_a_scenario_ends_alike_alone_and_among_others(scenarios):
    together = simulate(scenarios, planner=one_by_one(simple_planner), traffic=ReactiveTraffic)
    (alone,) = simulate(scenarios[1:2], planner=one_by_one(simple_planner), traffic=ReactiveTraffic)
    np.testing.assert_array_equal(together[1].ego.pose, alone.ego.pose)
    np.testing.assert_array_equal(together[1].agents.position, alone.agents.position)


def test_a_planner_that_fails_ends_its_own_scenario_only(scenarios):
    def planner(scenario):
        def drive(moment):
            if scenario is scenarios[0] and moment.frame == 5:
                raise ValueError("no idea")
            if scenario is scenarios[1] and moment.frame == 7:
                return np.full((20, 3), np.nan)
            return straight(moment)

        return drive

    raising, lost, fine = simulate(scenarios, planner=one_by_one(planner))
    assert raising == FailedRollout(frame=5, reason="ValueError: no idea")
    assert lost == FailedRollout(frame=7, reason=ABSURD)
    assert isinstance(fine, Rollout)


@pytest.mark.parametrize("column", [0, 2])
def test_absurd_poses_end_their_own_scenario_only(scenarios, column):
    def planner(scenario):
        def drive(moment):
            poses = straight(moment)
            if scenario is scenarios[0] and moment.frame == 3:
                poses[4:, column] = 1e200
            return poses

        return drive

    absurd, fine = simulate(scenarios[:2], planner=one_by_one(planner))
    assert absurd == FailedRollout(frame=3, reason=ABSURD)
    assert isinstance(fine, Rollout)


def test_too_few_poses_and_a_missing_route_are_said(scenarios):
    def planner(scenario):
        return (lambda moment: np.zeros((1, 3))) if scenario is scenarios[0] else idm_planner(scenario)

    lost = replace(scenarios[1], route=scenarios[1].route[:1])
    short, nowhere = simulate([scenarios[0], lost], planner=one_by_one(planner))
    assert short.reason == "the planner's trajectory has shape (1, 3), expected [2 or more, 3]"
    assert nowhere.reason == "the route has 1 roadblocks, nuPlan's IDM planner needs at least 2"


def test_the_last_frame_is_never_reached(scenarios):
    (rollout,) = simulate(scenarios[:1], planner=one_by_one(lambda scenario: straight))
    frames = len(scenarios[0].timestamps_us)
    assert len(rollout.ego) == frames - 1
    assert len(rollout.agents.valid) == frames
    assert not rollout.agents.valid[-1].any()
    np.testing.assert_array_equal(rollout.agents.valid[:-1], scenarios[0].agents.valid[:-1])


def test_the_logged_drive_keeps_its_states(scenarios):
    rollout = replay(scenarios[0], traffic=ReactiveTraffic)
    count = len(rollout.ego)
    np.testing.assert_array_equal(rollout.ego.pose, scenarios[0].ego.pose[:count])
    np.testing.assert_array_equal(rollout.ego.velocity, scenarios[0].ego.velocity[:count])
    assert not rollout.ego.yaw_rate.any()


def test_views_show_the_moment(scenarios):
    """The planner sees pose, speed and objects as the simulation has them, in every frame."""
    seen = []

    def planner(view):
        seen.append((view.scenario_id, view.time_s, view.pose.copy(), view.speed, len(view.agent_type)))
        return ConstantVelocity()(view)

    (rollout,) = simulate(scenarios[:1], planner=view_team(planner, name="mine"))
    assert len(seen) == len(rollout.ego)
    for frame in (0, 50, 148):
        scenario_id, time_s, pose, speed, others = seen[frame]
        assert (scenario_id, time_s) == (scenarios[0].scenario_id, pytest.approx(0.1 * frame))
        np.testing.assert_array_equal(pose, rollout.ego.pose[frame])
        assert speed == rollout.ego.velocity[frame, 0]
        assert others == rollout.agents.valid[frame].sum()


def brake(observation):
    return np.tile(np.array([[-1.0, 0.0]], dtype=np.float32), (len(observation), 1))


@pytest.mark.parametrize(
    "team",
    [view_team(ConstantVelocity(), name="views"), policy_team(brake, DrivingConfig(action="continuous"))],
    ids=["views", "policy"],
)
def test_scenes_that_are_no_episodes_are_driven_all_the_same(team):
    """One begins with a contact, one has four frames; training has no use for them, the score has."""
    beside = Mover(path=line((1, 1), (300, 1)), arc_length=constant(0, 10.0))
    touching = straight_road(agents=[beside])
    short = straight_road(frames=4)
    assert build_bank([touching, straight_road()]).dropped
    rollouts = simulate([touching, short], planner=team)
    assert [len(rollout.ego) for rollout in rollouts] == [90, 3]


def test_what_cannot_be_shown_has_its_own_reason_in_any_company(scenarios):
    lost = replace(scenarios[0], ego=replace(scenarios[0].ego, pose=np.full_like(scenarios[0].ego.pose, np.nan)))
    for company in ([lost], [lost, scenarios[1]]):
        assert str(WorldMirror(company).problems[0]) == "a logged state is not a number"


def test_rows_and_views_give_the_same_drive(scenarios):
    rows = simulate(scenarios[:2], planner=view_team(ConstantVelocity(), name="rows"))
    views = simulate(scenarios[:2], planner=view_team(lambda view: ConstantVelocity()(view), name="views"))
    for one, other in zip(rows, views, strict=True):
        np.testing.assert_allclose(one.ego.pose, other.ego.pose, atol=1e-9)


def test_a_planner_may_have_a_plan_of_its_own(scenarios):
    class Mine:
        def __call__(self, view):
            return self.plan(view, seconds=2.0)

        def plan(self, view, seconds):
            return ConstantVelocity()(view)[: round(10 * seconds)]

    assert isinstance(simulate(scenarios[:1], planner=view_team(Mine(), name="mine"))[0], Rollout)


def test_a_planner_may_answer_with_the_same_array_again(scenarios):
    kept = np.empty((41, 3))

    def thrifty(view):
        kept[:] = ConstantVelocity()(view)[:41]
        return kept

    reused = simulate(scenarios, planner=view_team(thrifty, name="thrifty"))
    fresh = simulate(scenarios, planner=view_team(lambda view: ConstantVelocity()(view)[:41], name="fresh"))
    for one, other in zip(reused, fresh, strict=True):
        np.testing.assert_array_equal(one.ego.pose, other.ego.pose)


def test_answers_that_are_no_trajectories_are_said_in_one_line(scenarios):
    class Many:
        def __call__(self, view):
            return ConstantVelocity()(view)

        def plan_rows(self, rows):
            raise RuntimeError("out of ideas\nfor good")

    (rollout,) = simulate(scenarios[:1], planner=view_team(Many(), name="many"))
    assert rollout == FailedRollout(frame=0, reason="RuntimeError: out of ideas")
    (rollout,) = simulate(scenarios[:1], planner=view_team(lambda view: np.zeros((1, 3)), name="short"))
    assert rollout.reason.startswith("planner 'short' returned an array of shape (1, 3); expected [K, 3] with K >= 2")


def test_a_policy_that_brakes_stops_and_sees_what_training_shows(scenarios):
    observations = []

    def brake(observation):
        observations.append(observation.copy())
        return np.tile(np.array([[-1.0, 0.0]], dtype=np.float32), (len(observation), 1))

    driving = DrivingConfig(action="continuous")
    (rollout,) = simulate(scenarios[2:], planner=policy_team(brake, driving, unfolding=False))
    assert rollout.ego.velocity[0, 0] > 5.0
    assert abs(rollout.ego.velocity[-1, 0]) < 0.2
    mirror = WorldMirror(scenarios[2:], driving)
    shown, trained = observations[0], mirror.env.reset(seed=0).copy()
    assert (trained[:, 2:4] != 0.0).all()
    trained[:, 2:4] = 0.0  # nuPlan starts with its wheels straight
    np.testing.assert_allclose(shown, trained, atol=1e-5)


def test_imagination_leaves_no_trace(scenarios):
    """Two policies that differ only late in their imagination see the same first observation in every frame.

    They are asked at the same moments: the tracker would feel the whole of their trajectories, and part their ways.
    """
    moments = []

    def noting(moment):
        moments.append(moment)
        return straight(moment)

    simulate(scenarios[:1], planner=one_by_one(lambda scenario: noting))
    first, plans = {}, {}
    for name in ("one", "other"):
        calls, seen = [], first.setdefault(name, [])

        def act(observation, name=name, calls=calls, seen=seen):
            step = len(calls) % POLICY_STEPS
            calls.append(None)
            if step == 0:
                seen.append(observation.copy())
            late = name == "other" and step >= 15
            return np.full((len(observation), 2), -1.0 if late else 0.0, dtype=np.float32)

        team = policy_team(act, DrivingConfig(action="continuous"))(scenarios[:1])
        plans[name] = [team.plan({0: moment})[0] for moment in moments]
    assert len(first["one"]) == len(moments) == len(scenarios[0].timestamps_us) - 1
    for frame in range(len(moments)):
        np.testing.assert_array_equal(first["one"][frame], first["other"][frame])
        np.testing.assert_array_equal(plans["one"][frame][:15], plans["other"][frame][:15])
    assert np.abs(plans["one"][0][POLICY_STEPS] - plans["other"][0][POLICY_STEPS]).max() > 0.05


def test_what_is_held_is_a_circle():
    """5 m/s and atan(L / 20): a circle of radius 20 m."""
    poses = held(np.zeros((1, 3)), np.array([5.0]), np.array([np.arctan(3.0 / 20)]), np.array([3.0]), 100)[0]
    assert poses.shape == (100, 3)
    np.testing.assert_allclose(np.hypot(poses[:, 0], poses[:, 1] - 20.0), 20.0, atol=0.4)
    np.testing.assert_allclose(poses[19, 2], 20 * 0.1 * 5.0 / 20)
    assert PLAN_STEPS == 80


class Remembering:
    """Counts the views of its scenario."""

    def __init__(self):
        self.begun, self.seen = [], []

    def begin(self, view):
        self.begun.append((view.scenario_id, view.time_s, fresh := Remembering()))
        return fresh

    def __call__(self, view):
        self.seen.append((view.scenario_id, view.time_s))
        return ConstantVelocity()(view)


def test_a_planner_that_remembers_is_begun_for_every_scenario(scenarios):
    planner = Remembering()
    rollouts = simulate(scenarios, planner=view_team(planner, name="mine"))
    assert [(name, time_s) for name, time_s, _ in planner.begun] == [(s.scenario_id, 0.0) for s in scenarios]
    assert planner.seen == []
    for (name, _, own), rollout in zip(planner.begun, rollouts, strict=True):
        assert own.seen == [(name, pytest.approx(0.1 * frame)) for frame in range(len(rollout.ego))]


def test_a_planner_that_cannot_begin_fails_its_scenario_only(scenarios):
    class Choosy(Remembering):
        def begin(self, view):
            if view.scenario_id == scenarios[0].scenario_id:
                raise ValueError("not here")
            return super().begin(view)

    lost, fine = simulate(scenarios[:2], planner=view_team(Choosy(), name="mine"))
    assert lost == FailedRollout(frame=0, reason="ValueError: not here")
    assert isinstance(fine, Rollout)


def test_traffic_that_fails_ends_its_scenario_only(scenarios):
    class Breaking(LogReplay):
        def __init__(self, scenario):
            super().__init__(scenario)
            self._breaks = scenario is scenarios[1]

        def advance(self, moment, seconds):
            if self._breaks and moment.frame == 3:
                raise RuntimeError("nobody drives")
            super().advance(moment, seconds)

    whole, broken = simulate(scenarios[:2], planner=one_by_one(simple_planner), traffic=Breaking)
    assert isinstance(whole, Rollout)
    assert broken == FailedRollout(frame=3, reason="RuntimeError: nobody drives")
    assert replay(scenarios[1], traffic=Breaking) == broken
