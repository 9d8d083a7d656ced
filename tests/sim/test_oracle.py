"""The readable simulator against values computed by hand from docs/simulator.md."""

import numpy as np
import pytest
from tests.sim import worlds
from tests.sim.comparison import make_env
from tests.sim.scenario_builder import CAR, Mover, constant, line

from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.oracle.events import at_fault, collision, offroad, red_light, time_to_collision
from drivetrain.sim.oracle.observation import observe
from drivetrain.sim.oracle.reward import completion, lane_factor, overspeed_factor
from drivetrain.sim.oracle.scene import Agent, SceneView
from drivetrain.sim.oracle.traffic import FREE, Leader, idm_acceleration, leading_vehicle, pose_on_path, stop_line
from drivetrain.sim.oracle.vehicle import Command, curvature_limit, decode_action, drive
from drivetrain.sim.scenario import LightState
from drivetrain.sim.scene_arrays import ACCELERATION, HEADING, SPEED, STEERING, VELOCITY_X, VELOCITY_Y, X, Y
from drivetrain.sim.scene_bank import build_bank
from drivetrain.sim.world import ACTION_COMMAND, ACTION_CONTINUOUS, ACTION_DISCRETE

PARAMETERS = make_env(build_bank([worlds.straight_road()]), num_worlds=1, backend="oracle").parameters


def agent(**changes):
    """A car at the origin that drives east at 10 m/s."""
    values = {
        "slot": 0, "x": 0.0, "y": 0.0, "heading": 0.0, "speed": 10.0, "acceleration": 0.0, "steering": 0.0,
        "half_length": 2.3, "half_width": 0.95, "wheelbase": 2.8, "rear_axle_to_center": 1.3, "route_index": 10,
    }  # fmt: skip
    return Agent(**(values | changes))


def scene_of(scenario, frame=0):
    """The view of a scenario, everybody in it at a frame, and its ego."""
    scene = SceneView(build_bank([scenario]).arrays, 0)
    state = scene.log(frame)
    route = scene.route(0)
    index, _ = route.nearest(float(state[X, 0]), float(state[Y, 0]), 0, len(route.x))
    return scene, scene.slots(state), scene.agent(0, state, index)


class TestVehicle:
    def test_one_step_from_straight_driving(self):
        rows = drive(agent(), Command(acceleration=4.0, steering=0.3, level=0.0), PARAMETERS)
        assert rows[ACCELERATION] == pytest.approx(4.0 / 3.0)  # 0.1 / 0.3 of the way
        assert rows[STEERING] == pytest.approx(0.2)  # 0.1 / 0.15 of the way
        assert rows[SPEED] == pytest.approx(10.0 + 0.4 / 3.0)
        assert rows[[X, Y, HEADING]] == pytest.approx([1.0, 0.0, 0.0])  # old speed, old steering
        assert rows[[VELOCITY_X, VELOCITY_Y]] == pytest.approx([10.0 + 0.4 / 3.0, 0.0])

    def test_the_rear_axle_moves_straight_and_the_centre_swings(self):
        rows = drive(agent(speed=5.0, steering=0.1), Command(acceleration=0.0, steering=0.1, level=0.0), PARAMETERS)
        turn = 5.0 * np.tan(0.1) / 2.8 * 0.1
        assert rows[HEADING] == pytest.approx(turn)
        assert rows[X] == pytest.approx(-1.3 + 0.5 + 1.3 * np.cos(turn))
        assert rows[Y] == pytest.approx(1.3 * np.sin(turn))

    def test_a_vehicle_stops_and_does_not_reverse(self):
        rows = drive(
            agent(speed=0.1, acceleration=-4.0), Command(acceleration=-4.0, steering=0.0, level=0.0), PARAMETERS
        )
        assert rows[SPEED] == 0.0
        assert rows[ACCELERATION] == pytest.approx(-1.0)  # what was executed: 0.1 m/s in 0.1 s

    def test_steering_is_limited_to_sixty_degrees(self):
        rows = drive(agent(steering=1.0), Command(acceleration=0.0, steering=3.0, level=0.0), PARAMETERS)
        assert rows[STEERING] == pytest.approx(np.pi / 3)

    def test_heading_wraps(self):
        rows = drive(agent(heading=3.14, steering=0.5), Command(acceleration=0.0, steering=0.5, level=0.0), PARAMETERS)
        assert rows[HEADING] == pytest.approx(3.14 + np.tan(0.5) / 2.8 - 2 * np.pi)

    @pytest.mark.parametrize(("speed", "limit"), [(0.0, 0.2), (4.0, 0.2), (10.0, 0.04), (20.0, 0.01)])
    def test_curvature_is_limited_by_lateral_acceleration(self, speed, limit):
        assert curvature_limit(speed) == pytest.approx(limit)

    @pytest.mark.parametrize(
        ("category", "acceleration", "curvature", "level"),
        [
            (0, -4.0, -0.04, -6),
            (45, 0.0, 0.0, 0),
            (90, 4.0, 0.04, 6),
            (48, 0.0, 0.01, 3),
            (56, 4.0 / 3.0, -0.04 / 9, -2),
        ],
    )
    def test_discrete_actions(self, category, acceleration, curvature, level):
        command = decode_action(ACTION_DISCRETE, np.array([category, 0.0]), agent())
        assert command.acceleration == pytest.approx(acceleration)
        assert np.tan(command.steering) / 2.8 == pytest.approx(curvature)
        assert command.level == level

    def test_continuous_actions_and_commands(self):
        command = decode_action(ACTION_CONTINUOUS, np.array([0.5, -0.25]), agent())
        assert command.acceleration == 2.0
        assert np.tan(command.steering) / 2.8 == pytest.approx(-0.01)
        assert command.level == -1.5
        command = decode_action(ACTION_COMMAND, np.array([-1.5, 0.07]), agent())
        assert (command.acceleration, command.steering) == (-1.5, 0.07)


class TestRouteAndReward:
    def test_the_route_starts_ten_metres_behind_and_follows_the_lane(self):
        scene, _, ego = scene_of(worlds.straight_road())
        assert ego.route_index == 10
        assert scene.route(0).place(10, 0.3, 0.7) == pytest.approx((10.3, 0.7))
        assert scene.route(0).place(10, 5.0, -1.0) == pytest.approx((11.0, -1.0))  # at most 1 m beyond the point

    def test_the_lowest_index_wins_a_tie_and_the_window_is_clamped(self):
        scene, _, _ = scene_of(worlds.straight_road())
        route = scene.route(0)
        assert route.nearest(0.5, 0.0, 6, 18)[0] == 10  # x = 0 and x = 1 are equally near
        assert route.nearest(-50.0, 0.0, -4, 8)[0] == 0
        assert route.nearest(50.0, 0.0, 6, 18)[0] == 18  # it may jump 8 points a step

    @pytest.mark.parametrize(("lateral", "factor"), [(0.4, 1.0), (-0.5, 1.0), (1.75, 0.75), (-3.0, 0.5), (9.0, 0.5)])
    def test_lane_factor(self, lateral, factor):
        assert lane_factor(lateral) == pytest.approx(factor)

    @pytest.mark.parametrize(("speed", "factor"), [(9.0, 1.0), (10.0, 1.0), (11.115, 0.5), (13.0, 0.0)])
    def test_overspeed_factor(self, speed, factor):
        assert overspeed_factor(speed, 10.0) == pytest.approx(factor)
        assert overspeed_factor(speed, 0.0) == 1.0  # limit unknown

    def test_completion(self):
        assert completion(35.0, 10.0, 60.0) == 0.5
        assert completion(70.0, 10.0, 60.0) == 1.0
        assert completion(5.0, 10.0, 60.0) == 0.0
        assert completion(10.0, 10.0, 14.9) == 1.0  # too short to have a goal


class TestEvents:
    def with_other(self, x, y, *, speed=0.0, heading=0.0, path_speed=10.0):
        path = line((x, y), (x + 200 * np.cos(heading), y + 200 * np.sin(heading)))
        other = Mover(path=path, arc_length=constant(0, speed))
        scene, slots, _ = scene_of(worlds.straight_road(agents=[other], lead=False, ego_speed=path_speed))
        return scene, slots

    def test_collision_is_decided_by_true_sizes_and_touching_counts(self):
        _, slots = self.with_other(4.7, 0.0)
        apart = collision(agent(), slots)
        assert not apart.happened
        assert apart.margin == pytest.approx(4.7 - CAR[0], abs=1e-6)
        assert collision(agent(x=0.101), slots).happened

    @pytest.mark.parametrize(
        ("x", "speed", "fault"),
        [(4.0, 5.0, True), (4.0, 0.2, False), (-4.4, 5.0, False), (0.5, 5.0, True)],
    )
    def test_who_is_at_fault(self, x, speed, fault):
        """Ahead: yes; standing still: no; struck from behind: no; side by side: yes."""
        _, slots = self.with_other(6.0, 0.0 if abs(x) > 1 else 1.8)
        me = agent(x=6.0 - x, speed=speed)
        assert collision(me, slots).happened
        assert at_fault(me, slots).happened == fault

    def test_a_slot_is_behind_within_thirty_degrees_of_the_tail(self):
        _, slots = self.with_other(6.0, 0.0)
        for angle, behind in ((149.0, False), (151.0, True)):
            bearing = np.deg2rad(angle)
            me = agent(x=6.0 - 2.0 * np.cos(bearing), y=-2.0 * np.sin(bearing))
            assert at_fault(me, slots).happened != behind

    def test_offroad_shrinks_the_box_by_thirty_centimetres(self):
        scene, _, _ = scene_of(worlds.straight_road())  # edges at y = -2 and 5.5; half width 0.95
        assert not offroad(agent(y=-1.34), scene.road).happened
        assert offroad(agent(y=-1.36), scene.road).happened
        assert not offroad(agent(x=0.0, y=-60.0), scene.road).happened  # far off the road it touches no edge

    @pytest.mark.parametrize(
        ("state", "age", "frame", "passed"),
        [
            ("RED", 10, 30, True),
            ("RED", 9, 30, False),
            ("RED", 3, 3, True),
            ("GREEN", 30, 30, False),
            ("YELLOW", 30, 30, False),
        ],
    )
    def test_passing_a_red_light(self, state, age, frame, passed):
        scene, _, _ = scene_of(worlds.signalled_crossing())
        route = scene.route(0)
        assert route.stop_s == pytest.approx([60.0])  # from x = -58 it is 50 m to the line at x = -8, plus 10 m
        place = agent(x=-8.0 - 2.3 + 0.2, route_index=58)
        lights = np.full(3, LightState[state], np.int64), np.full(3, age, np.int64)
        assert red_light(place, route, 57.2, lights, frame).happened == passed
        assert not red_light(place, route, 57.8, lights, frame).happened  # the front was past the line before
        beside = agent(x=-10.1, y=4.5, route_index=58)
        assert not red_light(beside, route, 57.2, lights, frame).happened

    @pytest.mark.parametrize(("gap", "y", "soon"), [(8.9, 0.0, True), (9.1, 0.0, False), (3.0, 3.5, False)])
    def test_time_to_collision_looks_nine_tenths_of_a_second_ahead(self, gap, y, soon):
        _, slots = self.with_other(4.6 + gap, y)
        assert time_to_collision(agent(), slots).happened == soon

    def test_time_to_collision_ignores_what_comes_from_behind(self):
        _, slots = self.with_other(-8.0, 0.0, speed=30.0)
        assert not time_to_collision(agent(speed=1.0), slots).happened


class TestTraffic:
    def test_idm_by_hand(self):
        assert idm_acceleration(0.0, 10.0, FREE) == 1.0
        assert idm_acceleration(10.0, 10.0, FREE) == pytest.approx(0.0)
        following = Leader(gap=20.0, speed=8.0, slack=0.0)
        wanted = 1.0 + 8.0 * 1.5
        assert idm_acceleration(8.0, 10.0, following) == pytest.approx(1 - 0.8**4 - (wanted / 20.0) ** 2)
        closing = Leader(gap=20.0, speed=4.0, slack=0.0)
        wanted += 8.0 * 4.0 / (2 * np.sqrt(2.0))
        assert idm_acceleration(8.0, 10.0, closing) == pytest.approx(1 - 0.8**4 - (wanted / 20.0) ** 2)
        assert idm_acceleration(8.0, 10.0, Leader(gap=-3.0, speed=0.0, slack=0.0)) == -4.0

    def test_the_leader_is_the_nearest_in_the_way(self):
        beside = Mover(path=line((15, 3.5), (200, 3.5)), arc_length=constant(0, 3.0))
        nearer = Mover(path=line((18, 0.5), (200, 0.5)), arc_length=constant(0, 4.0))
        follower = Mover(path=line((-30, 0), (200, 0)), arc_length=constant(22, 5.0))
        scene, slots, _ = scene_of(worlds.straight_road(agents=[beside, nearer, follower]))
        path = scene.path(4)
        assert pose_on_path(path, 12.5) == pytest.approx((-30 + 22 + 2.5, 0.0, 0.0))
        leader = leading_vehicle(path, slots, 4, 10.0)  # the ego stands between it and the others
        assert leader.gap == pytest.approx(8.0 - CAR[0])
        assert leader.speed == pytest.approx(10.0, abs=1e-4)
        alone = leading_vehicle(scene.route(0), slots, 0, 10.0)
        assert alone.gap == pytest.approx(18.0 - CAR[0])
        assert alone.speed == pytest.approx(4.0, abs=1e-4)

    def test_lights_lead_like_standing_vehicles(self):
        scene, _, _ = scene_of(worlds.signalled_crossing())
        route, age = scene.route(0), np.zeros(3, np.int64)

        def light(state):
            return np.full(3, state, np.int64), age

        assert stop_line(route, light(LightState.RED), 40.0, 10.0).gap == pytest.approx(20.0)
        assert stop_line(route, light(LightState.RED), 60.5, 10.0).gap == np.inf  # the front is past it
        assert stop_line(route, light(LightState.GREEN), 40.0, 10.0).gap == np.inf
        assert stop_line(route, light(LightState.YELLOW), 39.0, 10.0).gap == pytest.approx(21.0)  # 100 / 42 < 2.5
        assert stop_line(route, light(LightState.YELLOW), 41.0, 10.0).gap == np.inf  # 100 / 38 > 2.5


class TestObservation:
    def group(self, name, scenario, frame=0, **changes):
        scene, slots, ego = scene_of(scenario, frame)
        if changes:
            ego = agent(**changes)
        features = CANONICAL.group(name).features
        values = observe(scene, frame, slots, ego)[name].values
        return {feature: values[k] for k, feature in enumerate(features)}

    def test_ego(self):
        ego = self.group("ego", worlds.straight_road(), speed=8.0, acceleration=-2.0, steering=0.1, y=1.0, heading=0.2)
        curvature = np.tan(0.1) / 2.8
        expected = {
            "speed": 0.4, "acceleration": -0.5, "curvature": curvature / 0.2, "yaw_rate": 8.0 * curvature,
            "length": 0.46, "width": 0.475, "route_lateral_offset": 0.2, "route_heading_cos": np.cos(0.2),
            "route_heading_sin": np.sin(0.2), "speed_limit": 0.67, "speed_limit_known": 1.0,
            "distance_to_goal": 0.895,
        }  # fmt: skip
        assert {k: float(v[0]) for k, v in ego.items()} == pytest.approx(expected, abs=1e-6)

    def test_an_unknown_speed_limit_is_no_number(self):
        ego = self.group("ego", worlds.parked_car_road())
        assert ego["speed_limit"] == 0.0
        assert ego["speed_limit_known"] == 0.0

    def test_stop(self):
        stop = self.group("stop", worlds.signalled_crossing(), frame=45)  # yellow since frame 40; x = -17.95
        d = -8.0 - (-17.95 + 2.3)
        expected = {
            "exists": 1.0, "distance": d / 50, "green": 0.0, "yellow": 1.0, "red": 0.0, "unknown": 0.0,
            "state_age": 0.1, "braking_needed": 1.0,
        }  # fmt: skip
        assert {k: float(v[0]) for k, v in stop.items()} == pytest.approx(expected, abs=1e-5)
        stop = self.group("stop", worlds.signalled_crossing(), frame=0)
        assert stop["braking_needed"] == pytest.approx(8.9**2 / (2 * (50.0 - 2.3)) / 4, abs=1e-5)
        assert not any(value.any() for value in self.group("stop", worlds.straight_road()).values())

    def test_route(self):
        route = self.group("route", worlds.straight_road(), heading=np.pi / 2, x=0.0, y=0.5)
        assert route["x"] == pytest.approx(np.full(20, -0.01), abs=1e-6)
        assert route["y"][[0, 9, 19]] == pytest.approx([-0.04, -0.4, -1.4], abs=1e-6)
        assert route["sin"] == pytest.approx(np.full(20, -1.0), abs=1e-6)

    def test_agents_nearest_first_with_corridor(self):
        beside = Mover(path=line((12, 3.5), (200, 3.5)), arc_length=constant(0, 6.0))
        oncoming = Mover(path=line((60, 20), (-200, 20)), arc_length=constant(0, 8.0))
        agents = self.group("agents", worlds.straight_road(agents=[oncoming, beside]))
        assert agents["x"][:3] == pytest.approx([12 / 50, 25 / 50, 60 / 50], abs=1e-6)
        assert agents["y"][:3] == pytest.approx([3.5 / 50, 0.0, 20 / 50], abs=1e-6)
        assert agents["cos"][:3] == pytest.approx([1.0, 1.0, -1.0], abs=1e-6)
        assert agents["velocity_x"][:3] == pytest.approx([0.3, 0.5, -0.4], abs=1e-5)
        assert agents["in_corridor"][:3] == pytest.approx([0.2, 1.0, 0.0], abs=1e-5)  # 1.6 m free beside: 1 - 0.8
        assert agents["corridor_gap"][:3] == pytest.approx([7.4 / 50, 20.4 / 50, 0.0], abs=1e-5)
        assert agents["closest_time"][0] == pytest.approx(3.0 / 5.0, abs=1e-3)  # 12 m at 4 m/s
        assert agents["closest_distance"][0] == pytest.approx(3.5 / 20, abs=1e-3)
        assert not agents["length"][3:].any()

    def test_the_vulnerable_are_marked_and_the_absent_unseen(self):
        scenario = worlds.pedestrian_road()
        before, after = self.group("agents", scenario, frame=5), self.group("agents", scenario, frame=15)
        assert before["is_vulnerable"].sum() == 1  # the cyclist; the walker is not there before frame 10
        assert after["is_vulnerable"].sum() == 2
        assert (after["length"] > 0).sum() == 3  # and the cone

    def test_only_the_sixteen_nearest_are_seen(self):
        agents = self.group("agents", worlds.crowd())
        distance = np.hypot(agents["x"], agents["y"])
        assert (agents["length"] > 0).all()
        assert (np.diff(distance) >= 0).all()

    def test_road(self):
        road = self.group("road", worlds.straight_road())
        near = (road["half_length"] > 0) & (np.abs(road["x"]) < 0.1)
        assert set(np.round(road["y"][near] * 50, 6)) == {-2.0, 0.0, 3.5, 5.5}
        assert set(np.round(road["y"][near & (road["is_edge"] > 0)] * 50, 6)) == {-2.0, 5.5}
        assert (np.abs(road["sin"]) < 1e-6).all()
        assert road["half_length"] == pytest.approx(np.full(64, 0.25), abs=1e-6)
        assert not any(value.any() for value in self.group("road", worlds.empty_world()).values())
        off_the_map = self.group("road", worlds.straight_road(), y=200.0)
        assert not any(value.any() for value in off_the_map.values())
