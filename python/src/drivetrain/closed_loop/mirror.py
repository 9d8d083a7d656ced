"""The training simulator's worlds, made to show what happens in a simulation: for views, observations, imagination.

N scenarios, W worlds (the scenarios that the training simulator can show), A agent slots, D observation values.
"""

# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drivetrain.closed_loop.moment import EgoMoment, Moment
from drivetrain.closed_loop.unfolding import MOST_OBJECTS, Present, beginning
from drivetrain.errors import DataError
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.kernels.vehicle import decode_action, drive
from drivetrain.sim.route_ahead import route_ahead
from drivetrain.sim.scenario import Float64, Scenario
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    COS,
    HEADING,
    PRESENT,
    SIN,
    SPEED,
    STATE_ROWS,
    STEERING,
    VELOCITY_X,
    VELOCITY_Y,
    X,
    Y,
)
from drivetrain.sim.scene_bank import DT, NothingToSimulateError, build_bank
from drivetrain.sim.world import ACTION_CONTINUOUS, ACTION_DISCRETE, WorldState, copy_state

SEARCH_BACK, SEARCH_AHEAD = 8, 16
"""How far behind and ahead of the last place on the route the next one is looked for [m]."""
UNPLACED = -1
"""Route index of a vehicle that was not on its route before: all of it is searched."""


class WorldMirror:
    """Worlds that show moments."""

    def __init__(
        self, scenarios: Sequence[Scenario], driving: DrivingConfig | None = None, *, unfolding: bool = False
    ) -> None:
        """Compile the scenarios.

        Args:
            scenarios: Those that the training simulator cannot show are left out.
            driving: How a policy acts; None: the default.
            unfolding: Nothing of the log is looked at but its first frame: the route and the goal on it come from
                there, objects and stop lines exist once a moment shows them.
        """
        self.problems: dict[int, DataError] = {}
        """Scenario -> why it cannot be shown."""
        self.world_of: dict[int, int] = {}
        """Scenario -> its world."""
        self._slots: list[NDArray[np.int64]] = []
        try:
            # An episode may not begin with a contact or be a few frames long; what is shown may: all are to be scored.
            if unfolding:
                beginnings = [beginning(scenario) for scenario in scenarios]
                self.bank = build_bank(beginnings, any_start=True, route_of=route_ahead, spare_slots=MOST_OBJECTS)
            else:
                self.bank = build_bank(scenarios, any_start=True)
            dropped = self.bank.dropped
        except NothingToSimulateError as error:
            dropped = error.dropped  # each its own reason, as among others
        for number, scenario in enumerate(scenarios):
            if scenario.scenario_id in dropped:
                self.problems[number] = DataError(dropped[scenario.scenario_id])
                continue
            self.world_of[number] = len(self.world_of)
            seen = scenario.agents.valid.any(axis=0)
            self._slots.append(np.where(seen, np.cumsum(seen), 0))
        if self.world_of:
            config = replace(
                driving or DrivingConfig(), num_worlds=len(self.world_of), control="ego", traffic="replay", threads=1
            )
            self.env = DrivingEnv(self.bank, config, sequential=True, automatic_reset=False, perturb=False)
            self.env.reset(seed=0)
            self.env.state.running[:] = 0
            self._present = Present(self.bank) if unfolding else None

    @property
    def state(self) -> WorldState:
        """What the worlds show."""
        return self.env.state

    def show(self, moments: Mapping[int, Moment]) -> NDArray[np.int64]:
        """Show moments and return their worlds, in their order; other worlds are not running."""
        state = self.state
        state.running[:] = 0
        worlds = np.array([self.world_of[number] for number in moments], dtype=np.int64)
        for world, moment in zip(worlds, moments.values(), strict=True):
            self._show(int(world), moment)
        if self._present is not None:
            self.env.renew_scenes()
        state.running[worlds] = 1
        find_on_routes(self.bank.arrays, state, worlds, 1)
        return worlds

    def _show(self, world: int, moment: Moment) -> None:
        agents, ego, objects = self.state.agents[world], moment.ego, moment.objects
        if self._present is None:
            self.state.frame[world] = moment.frame
            slots = self._slots[world][objects.column]
        else:
            objects = self._present.take_over(int(self.state.scene[world]), moment)
            slots = np.arange(1, len(objects.column) + 1)
        agents[PRESENT] = 0.0
        agents[:, 0] = ego_column(ego)
        cos, sin = np.cos(objects.heading), np.sin(objects.heading)
        speed = objects.velocity[:, 0] * cos + objects.velocity[:, 1] * sin
        still = np.zeros(len(slots))
        present = np.ones(len(slots))
        agents[:, slots] = np.stack(
            [*objects.position.T, cos, sin, speed, objects.heading, still, still, *objects.velocity.T, present]
        )

    def remember(self) -> WorldState:
        """Return a copy of what the worlds show."""
        return copy_state(self.state)

    def restore(self, remembered: WorldState) -> None:
        """Show again what was remembered."""
        for now, then in zip(self.state, remembered, strict=True):
            now[...] = then

    def imagine(self, action: NDArray) -> None:
        """Let the egos act for 0.1 s while everybody else keeps its velocity and lights keep their state."""
        config = self.env.config
        kind = ACTION_DISCRETE if action.ndim == 1 else ACTION_CONTINUOUS
        rows = np.zeros((len(self.state.running), 2), dtype=np.float32)
        rows[:, : 1 if action.ndim == 1 else 2] = action.reshape(len(rows), -1)
        worlds = np.flatnonzero(self.state.running)
        _imagine(self.bank.arrays, self.state, worlds, kind, rows, config.acceleration_lag_s, config.steering_lag_s)
        find_on_routes(self.bank.arrays, self.state, worlds, 1)

    def rear_axles(self) -> Float64:
        """Return rear-axle x, y [m], heading [rad] of all egos, shape [W, 3]."""
        arrays, own = self.bank.arrays, self.state.agents[:, :, 0].astype(np.float64)
        back = arrays.rear_axle_to_center[arrays.slot_start[self.state.scene]].astype(np.float64)
        return np.stack([own[:, X] - back * own[:, COS], own[:, Y] - back * own[:, SIN], own[:, HEADING]], axis=1)


def ego_column(ego: EgoMoment) -> NDArray[np.float32]:
    """Return an ego as the state of its slot, shape [STATE_ROWS]."""
    heading, speed = ego.pose[2], ego.velocity[0]
    cos, sin = np.cos(heading), np.sin(heading)
    column = np.ones(STATE_ROWS, dtype=np.float32)
    column[[X, Y, COS, SIN, SPEED, HEADING, ACCELERATION, STEERING, VELOCITY_X, VELOCITY_Y]] = [
        *ego.centre, cos, sin, speed, (heading + np.pi) % (2 * np.pi) - np.pi, ego.acceleration, ego.steering,
        speed * cos, speed * sin,
    ]  # fmt: skip
    return column


@jit
def find_on_routes(arrays, state, rows, rows_per_world):
    """Find the vehicles that some rows drive on their routes, near where they were last."""
    for n in rows:
        w, a = n // rows_per_world, state.slot[n]
        g = arrays.slot_start[state.scene[w]] + a
        first, last = arrays.route_start[g], arrays.route_start[g + 1] - 1
        low, high = first, last
        if state.route_index[n] != UNPLACED:
            at = first + state.route_index[n]
            low, high = max(first, at - SEARCH_BACK), min(last, at + SEARCH_AHEAD)
        x, y = state.agents[w, X, a], state.agents[w, Y, a]
        best, least = low, np.inf
        for i in range(low, high + 1):
            squared = (arrays.route_x[i] - x) ** 2 + (arrays.route_y[i] - y) ** 2
            if squared < least:
                best, least = i, squared
        dx, dy = x - arrays.route_x[best], y - arrays.route_y[best]
        c, s = arrays.route_cos[best], arrays.route_sin[best]
        state.route_index[n] = best - first
        state.route_s[n] = best - first + min(max(dx * c + dy * s, -1.0), 1.0)
        state.route_offset[n] = c * dy - s * dx


@jit
def _imagine(arrays, state, worlds, kind, action, acceleration_lag, steering_lag):
    for w in worlds:
        agents = state.agents[w]
        g = arrays.slot_start[state.scene[w]]
        base = float(arrays.wheelbase[g])
        command, target, _ = decode_action(kind, action, w, float(agents[SPEED, 0]), base)
        rear = float(arrays.rear_axle_to_center[g])
        drive(agents, 0, command, target, base, rear, acceleration_lag, steering_lag)
        for a in range(1, arrays.num_slots[state.scene[w]]):
            agents[X, a] += np.float32(DT) * agents[VELOCITY_X, a]
            agents[Y, a] += np.float32(DT) * agents[VELOCITY_Y, a]


def held(poses: Float64, speed: Float64, steering: Float64, wheelbase: Float64, steps: int) -> Float64:
    """Return how vehicles go on at constant speed and steering angle, every 0.1 s, shape [N, steps, 3]."""
    turn = DT * speed * np.tan(steering) / wheelbase
    heading = poses[:, 2:] + turn[:, None] * np.arange(steps + 1)
    way = DT * speed[:, None]
    x = poses[:, :1] + np.cumsum(way * np.cos(heading[:, :-1]), axis=1)
    y = poses[:, 1:2] + np.cumsum(way * np.sin(heading[:, :-1]), axis=1)
    wrapped = (heading[:, 1:] + math.pi) % (2 * math.pi) - math.pi
    return np.stack([x, y, wrapped], axis=2)
