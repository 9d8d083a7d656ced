"""The rule-based planner at work: what it remembers of a scenario, and what it hands to the compiled choice."""

from __future__ import annotations

import functools
import math

import numpy as np

from drivetrain.closed_loop.intelligent_driver import DriverConstants
from drivetrain.closed_loop.moment import EgoMoment, Moment
from drivetrain.closed_loop.rule_based.choice import Findings, Lines, Options, choose
from drivetrain.closed_loop.rule_based.forecast import THING, VEHICLE, VULNERABLE
from drivetrain.closed_loop.rule_based.ground import Ground, ground_around
from drivetrain.closed_loop.rule_based.path import Path, build_path
from drivetrain.closed_loop.rule_based.proposals import find_vertex, place_on
from drivetrain.closed_loop.rule_based.route import RouteGuide, map_lanes
from drivetrain.errors import DataError
from drivetrain.metrics.comfort import BOUNDS
from drivetrain.metrics.smoothing import operator_matrix
from drivetrain.planners.tracker import STEP_S, speed_smoother
from drivetrain.sim.scenario import AgentType, Float64, Int64, LightState, Scenario

OFFSETS_M = (0.0, -1.0, 1.0)
"""Beside the path, to the left [m]; as in PDM-Closed."""
SPEED_FRACTIONS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
"""Of the speed limit; as in PDM-Closed, and stopping."""
_SIDES = (1, -1)
_MOST_PATHS = 3
"""The ego's lane and those beside it."""
PROPOSALS = (len(OFFSETS_M) + len(_SIDES) + _MOST_PATHS - 1) * len(SPEED_FRACTIONS)
"""At most; those past what stands in the way and those on lanes beside exist only where there is such a thing."""
OFF_MIDDLE = -0.003
"""Bonus of a line that is not the middle of the path."""
CHANGE, CHANGE_BACK = -0.02, -0.04
"""Bonus of another lane; of one that is to be left again."""
CHANGE_AHEAD = 0.05
"""Bonus of another lane that the route needs."""
HORIZON_S = 4.0
"""Every proposal is driven in the mind for so long; as in PDM-Closed."""
DRIVER = DriverConstants(max_acceleration=1.5, max_deceleration=3.0)
"""Gap 1 m, headway 1.5 s; as in PDM-Closed."""
CONSTANTS = {"proposals": PROPOSALS, "horizon_s": HORIZON_S}
"""What every plan considers."""
REACH_M = 130.0
"""Length of a path when it is made."""
_FEWEST_M = 80.0
"""A path with less ahead is made anew."""
_LOST_M = 2.5
"""So is one that the ego is farther from."""
_LOOK_M = 110.0
"""Objects farther away are not looked at."""
_PAST = 15
"""Frames of the past that comfort looks at."""
_COMFORT_WINDOWS = (8, 15, 5, 5)
_COMFORT_DEGREES = ((2, 0), (2, 1), (2, 1), (3, 2))
_COMFORT_SIGNALS = ("ego_lon_acceleration", "ego_lon_jerk", "ego_jerk", "ego_yaw_rate", "ego_yaw_acceleration")
_COMFORTABLE_STOP = 2.5
"""A yellow light counts as red if this deceleration suffices to stop [m/s^2]."""
_HARDEST_STOP = 5.0
"""A red light does not if not even this one does [m/s^2]."""
_NEWEST = 0.4
"""Weight of the last frame in how fast somebody turns."""
_SLOWEST_TURN, _FASTEST_TURN = 0.03, 0.8
"""Whoever turns more slowly goes straight on; nobody is taken to turn faster [rad/s]."""
_TIGHTEST_M = 4.0
"""Nor in a smaller circle [m]."""
_GAINS = (-3.0, 1.5)
"""Nor to brake or accelerate harder [m/s^2]."""
_RESPECT_M = 0.2
"""Pedestrians and cyclists are taken to be so much larger on each side."""
_MOVING = {int(AgentType.VEHICLE): VEHICLE, int(AgentType.PEDESTRIAN): VULNERABLE, int(AgentType.BICYCLE): VULNERABLE}
_KIND = np.array([_MOVING.get(kind, THING) for kind in range(256)])
_STEPS = round(HORIZON_S / STEP_S)
_POSES = _STEPS + 11
"""The tracker looks 1 s farther than what is driven in the mind."""


def rule_based_planner(scenario: Scenario) -> RuleBasedDrive:
    """Return the rule-based planner for a scenario."""
    return RuleBasedDrive(scenario)


@functools.cache
def _options() -> Options:
    return Options(
        smoother=speed_smoother(_POSES - 1),
        fractions=np.array(SPEED_FRACTIONS),
        windows=np.array(_COMFORT_WINDOWS),
        bounds=np.array([BOUNDS[name] for name in _COMFORT_SIGNALS]),
        steps=_STEPS,
        poses=_POSES,
    )


@functools.cache
def _operators(samples: int) -> Float64:
    """Return the filters of comfort over so many samples, [4, samples, samples]."""
    return np.stack(
        [
            operator_matrix(samples, window, order, derivative) / STEP_S**derivative
            for window, (order, derivative) in zip(_COMFORT_WINDOWS, _COMFORT_DEGREES, strict=True)
        ]
    )


class RuleBasedDrive:
    """The planner at work in one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        """Find the way along the route.

        Raises:
            DataError: There is no lane graph, or no route along lanes.
        """
        if not scenario.map.knowledge.lane_graph:
            raise DataError("the map has no lane graph, which the rule-based planner follows")
        self._lanes = map_lanes(scenario.map)
        self._guide = RouteGuide(self._lanes, scenario.route.tolist())
        self._scenario = scenario
        self._paths: list[Path] = []
        self._tables = np.zeros((0, 0, 6))
        self._ground: Ground | None = None
        self._lines: Lines | None = None
        self._stops: list[list[tuple[float, int]]] = []
        self._habit = -1
        self._before = np.full((len(scenario.agents.token), 2), np.nan)
        self._rate = np.zeros((len(scenario.agents.token), 2))
        self._past: list[tuple[float, float, float]] = []
        self.chosen = -1
        """Number of the last plan's proposal, -1 for emergency braking."""
        self.found: Findings | None = None
        """All proposals of the last plan."""

    def __call__(self, moment: Moment) -> Float64:
        """Return rear-axle poses every 0.1 s for 5 s, shape [51, 3]."""
        ego = moment.ego
        vehicle = ego.vehicle
        if self._is_lost(ego):
            self._find_paths(ego)
        assert self._ground is not None
        assert self._lines is not None
        state = np.array([*ego.pose, ego.velocity[0], ego.acceleration, ego.steering])
        stops, stop_start = self._closed_lines(moment)
        places = np.array([find_vertex(table, state[0], state[1]) for table in self._tables])
        plan = np.empty((_POSES, 3))
        past = np.array(self._past).reshape(-1, 3)
        self.chosen, best, self.found = choose(
            self._tables, self._lines, places, state,
            np.array([vehicle.length, vehicle.width, vehicle.wheelbase, vehicle.rear_axle_to_center]),
            self._objects(moment), stops, stop_start, self._ground, past, _operators(len(past) + _STEPS + 1),
            self._habit, _options(), DRIVER, plan,
        )  # fmt: skip
        self._habit = best // len(SPEED_FRACTIONS)
        self._remember(ego)
        return plan

    def _is_lost(self, ego: EgoMoment) -> bool:
        if not self._paths:
            return True
        table = self._tables[0]
        along, aside = place_on(table, find_vertex(table, ego.pose[0], ego.pose[1]), ego.pose[0], ego.pose[1])
        return abs(aside) > _LOST_M or along > REACH_M - _FEWEST_M

    def _find_paths(self, ego: EgoMoment) -> None:
        hits = self._lanes.index.hits(np.stack([ego.centre, ego.pose[:2]]))
        rows = list(dict.fromkeys(row for point in (0, 1) for row in (*hits.lanes[point], *hits.connectors[point])))
        ways = self._guide.ways(ego.pose, rows, REACH_M)[:_MOST_PATHS]
        self._paths = [build_path(self._lanes, way, ego.pose, float(ego.velocity[0]), REACH_M) for way, _ in ways]
        self._tables = np.stack([path.table for path in self._paths])
        self._ground = ground_around(self._lanes, self._paths)
        self._lines = _lines([shorter for _, shorter in ways])
        self._stops = [self._stop_lines(path) for path in self._paths]
        self._habit = -1

    def _stop_lines(self, path: Path) -> list[tuple[float, int]]:
        """Return arc length and number of the lights on a path."""
        lights = self._scenario.lights
        found = []
        for light in np.flatnonzero(np.isin(lights.lane, path.rows)).tolist():
            x, y = lights.stop_point[light]
            found.append((float(place_on(path.table, find_vertex(path.table, x, y), x, y)[0]), light))
        return found

    def _closed_lines(self, moment: Moment) -> tuple[Float64, Int64]:
        """Return arc lengths of the lines to stop at, path by path, and where those of each path begin."""
        ego, closed, start = moment.ego, [], [0]
        nose = ego.vehicle.rear_axle_to_center + 0.5 * ego.vehicle.length
        speed = max(float(ego.velocity[0]), 0.0)
        for path, lines in zip(self._paths, self._stops, strict=True):
            x, y = ego.pose[:2]
            front = place_on(path.table, find_vertex(path.table, x, y), x, y)[0] + nose if lines else 0.0
            if path.end < math.inf:
                closed.append(path.end)
            for along, light in lines:
                gap, state = along - front, moment.light_state[light]
                if state not in (LightState.RED, LightState.YELLOW) or gap < -1.0:
                    continue
                hardest = _COMFORTABLE_STOP if state == LightState.YELLOW else _HARDEST_STOP
                if speed**2 <= 2.0 * hardest * max(gap, 0.0) or speed < 1.0:
                    closed.append(along)
            start.append(len(closed))
        return np.array(closed, dtype=np.float64), np.array(start, dtype=np.int64)

    def _remember(self, ego: EgoMoment) -> None:
        rate = float(ego.velocity[0]) * math.tan(ego.steering) / ego.vehicle.wheelbase
        heading = float(ego.pose[2])
        if self._past:
            before = self._past[-1][2]
            heading = before + (heading - before + math.pi) % (2.0 * math.pi) - math.pi
        self._past = [*self._past, (float(ego.acceleration), rate, heading)][-_PAST:]

    def _objects(self, moment: Moment) -> Float64:
        """Return everybody near as the compiled part wants them, [A, 9]."""
        objects = moment.objects
        near = np.flatnonzero(np.hypot(*(objects.position - moment.ego.pose[:2]).T) < _LOOK_M)
        kind, heading, column = _KIND[objects.type[near]], objects.heading[near], objects.column[near]
        speed = np.where(kind == THING, 0.0, np.hypot(*objects.velocity[near].T))
        turn_rate, gain = self._changes(column, heading, speed)
        half = 0.5 * objects.size[near] + np.where(kind == VULNERABLE, _RESPECT_M, 0.0)[:, None]
        return np.column_stack([objects.position[near], heading, speed, half, kind, turn_rate, gain])

    def _changes(self, column: Int64, heading: Float64, speed: Float64) -> tuple[Float64, Float64]:
        """Return how fast objects turn [rad/s] and gain speed [m/s^2], smoothed; 0 for those who are new."""
        turn = (heading - self._before[column, 0] + math.pi) % (2.0 * math.pi) - math.pi
        change = np.column_stack([turn, speed - self._before[column, 1]]) / STEP_S
        rate = self._rate[column] + _NEWEST * (change - self._rate[column])
        rate = np.where(np.isnan(change), 0.0, rate)
        self._before[:] = np.nan
        self._before[column] = np.column_stack([heading, speed])
        self._rate[column] = rate
        most = np.minimum(speed / _TIGHTEST_M, _FASTEST_TURN)
        turning = np.clip(np.where(np.abs(rate[:, 0]) > _SLOWEST_TURN, rate[:, 0], 0.0), -most, most)
        return turning, np.clip(rate[:, 1], *_GAINS)


def _lines(shorter: list[float]) -> Lines:
    """Return what is proposed on paths; ``shorter`` says how much each shortens the way to the end of the route [m]."""
    found = [(0, offset, 0, OFF_MIDDLE if offset else 0.0) for offset in OFFSETS_M]
    found += [(0, 0.0, side, OFF_MIDDLE) for side in _SIDES]
    for path, gain in enumerate(shorter[1:], start=1):
        found.append((path, 0.0, 0, CHANGE_AHEAD if gain > 1.0 else CHANGE if gain > -1.0 else CHANGE_BACK))
    path, offset, swerve, bonus = zip(*found, strict=True)
    return Lines(
        path=np.array(path, dtype=np.int64), offset=np.array(offset, dtype=np.float64),
        swerve=np.array(swerve, dtype=np.int64), bonus=np.array(bonus, dtype=np.float64),
    )  # fmt: skip
