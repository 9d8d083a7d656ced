"""Self-play: vehicles of the traffic that a policy drives, each seen with its own eyes.

A policy drives every vehicle whose log covers enough of a drive to have a route, from the log's first frame of it to
its last, through the vehicle model that it was trained with; everybody else is replayed. Nothing ends its drive before:
neither a collision nor the road's edge nor its goal.

W worlds, A agent slots, R rows per world (vehicles that may be driven), D observation values.
"""

# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drivetrain.closed_loop.mirror import UNPLACED, ego_column, find_on_routes
from drivetrain.closed_loop.moment import Moment, ObservedObjects
from drivetrain.closed_loop.teams import Act
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.kernels.vehicle import decode_action, drive
from drivetrain.sim.observation import CANONICAL, OBSERVATION_DTYPES
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.scene_arrays import HEADING, PRESENT, SPEED, STATE_ROWS, VELOCITY_X, VELOCITY_Y, X, Y
from drivetrain.sim.scene_bank import SceneBank, build_bank
from drivetrain.sim.world import ACTION_CONTINUOUS, ACTION_DISCRETE, DRIVEN, WorldState, new_state


class PolicyDrivers:
    """A policy in all vehicles of running worlds that have a route, but the egos."""

    def __init__(self, act: Act, driving: DrivingConfig) -> None:
        """Set up.

        Args:
            act: The policy.
            driving: The environment it was trained in (actuator lags, observation type).
        """
        self._act, self._driving = act, driving
        self._rows: WorldState
        self._observation: NDArray

    def begin(self, env: DrivingEnv) -> None:
        """Take over the vehicles of worlds that have just been reset; their scenes were built ``all_controllable``."""
        arrays, state = env.bank.arrays, env.state
        slots: list[NDArray[np.intp]] = []
        for scene in state.scene.tolist():
            first = int(arrays.slot_start[scene])
            may = arrays.controllable[first : first + int(arrays.num_slots[scene])] > 0
            slots.append(np.flatnonzero(may[1:]) + 1)
        most = max(1, *(len(own) for own in slots))
        rows = new_state(len(slots), most, 1)._replace(
            scene=state.scene, frame=state.frame, agents=state.agents, mode=state.mode
        )
        for world, own in enumerate(slots):
            rows.slot[world * most : world * most + len(own)] = own
            rows.has_slot[world * most : world * most + len(own)] = 1
            state.mode[world, own] = DRIVEN
        rows.route_index[:] = UNPLACED
        self._rows = rows
        dtype = OBSERVATION_DTYPES[self._driving.observation_dtype]
        self._observation = np.zeros((len(rows.slot), CANONICAL.size), dtype=dtype)

    def move(self, env: DrivingEnv) -> None:
        """Put the vehicles where they will be in the next frame."""
        rows, driving = self._rows, self._driving
        most = len(rows.slot) // len(rows.scene)
        world = np.arange(len(rows.slot)) // most
        is_over = env.state.running.reshape(len(rows.scene), -1).max(axis=1) == 0
        rows.running[:] = rows.has_slot * (rows.agents[world, PRESENT, rows.slot] > 0) * ~is_over[world]
        driven = np.flatnonzero(rows.running)
        arrays = env.bank.arrays
        if len(driven):
            find_on_routes(arrays, rows, driven, most)
            env.observe_rows(rows, rows_per_world=most, out=self._observation)
            action = self._act(self._observation[driven])
            kind = ACTION_DISCRETE if action.ndim == 1 else ACTION_CONTINUOUS
            wanted = np.zeros((len(driven), 2), dtype=np.float32)
            wanted[:, : 1 if action.ndim == 1 else 2] = action.reshape(len(driven), -1)
            lags = (driving.acceleration_lag_s, driving.steering_lag_s)
            _drive(arrays, rows, driven, most, kind, wanted, *lags)
        _come_and_go(arrays, rows, np.flatnonzero((rows.has_slot > 0) & ~is_over[world]), most)


@jit
def _drive(arrays, rows, driven, most, kind, action, acceleration_lag, steering_lag):
    for i in range(len(driven)):
        n = driven[i]
        w, a = n // most, rows.slot[n]
        g = arrays.slot_start[rows.scene[w]] + a
        base, rear = float(arrays.wheelbase[g]), float(arrays.rear_axle_to_center[g])
        command, target, _ = decode_action(kind, action, i, float(rows.agents[w, SPEED, a]), base)
        drive(rows.agents[w], a, command, target, base, rear, acceleration_lag, steering_lag)


@jit
def _come_and_go(arrays, rows, owned, most):
    """Vehicles appear as logged in the first frame of their log, and disappear after its last."""
    for n in owned:
        w, a = n // most, rows.slot[n]
        scene = rows.scene[w]
        g = arrays.slot_start[scene] + a
        following = rows.frame[w] + 1
        if following > arrays.last_frame[g]:
            rows.agents[w, PRESENT, a] = 0.0
        elif following == arrays.first_frame[g]:
            slots = arrays.num_slots[scene]
            logged = arrays.log_start[scene] + following * STATE_ROWS * slots
            for r in range(STATE_ROWS):
                rows.agents[w, r, a] = arrays.log[logged + r * slots + a]
            rows.route_index[n] = UNPLACED


class SelfPlayTraffic:
    """The objects of one scenario in nuPlan's closed loop: vehicles that a policy drives, everybody else replayed."""

    def __init__(self, scenario: Scenario, *, act: Act, driving: DrivingConfig) -> None:
        """Put everybody where the log has them in the first frame.

        Raises:
            DataError: The training simulator, in which the vehicles are driven, cannot show the scenario.
        """
        self._scenario = scenario
        self._bank: SceneBank = build_bank([scenario], all_controllable=True, any_start=True)
        self._drivers = PolicyDrivers(act, driving)
        config = replace(driving, num_worlds=1, control="ego", traffic="replay", threads=1)
        self._env = DrivingEnv(
            self._bank, config, sequential=True, automatic_reset=False, perturb=False, traffic_driver=self._drivers
        )
        self._env.reset(seed=0)
        seen = np.flatnonzero(scenario.agents.valid.any(axis=0))
        self._slots = np.flatnonzero(self._env.state.mode[0] == DRIVEN)
        self._columns = seen[self._slots - 1]
        self._others = np.setdiff1d(np.arange(len(scenario.agents.token)), self._columns)
        self._logged = self._bank.log_of(0)
        self._frame = 0

    def objects(self) -> ObservedObjects:
        """Return who is present now."""
        agents, state = self._scenario.agents, self._env.state.agents[0].astype(np.float64)
        present = state[PRESENT, self._slots] > 0
        slots, columns = self._slots[present], self._columns[present]
        driven = ObservedObjects(
            column=columns,
            type=agents.type[columns],
            size=agents.size[columns].astype(np.float64),
            position=state[[X, Y]][:, slots].T,
            heading=state[HEADING, slots],
            velocity=state[[VELOCITY_X, VELOCITY_Y]][:, slots].T,
        )
        return driven.with_others(ObservedObjects.logged(agents, self._frame, self._others))

    def advance(self, moment: Moment, seconds: float) -> None:
        """Move on to the next frame; vehicles see everybody and the lights as they are, and move for 0.1 s."""
        del seconds
        state = self._env.state
        state.frame[0] = moment.frame
        state.running[0] = 1
        state.agents[0, :, 0] = ego_column(moment.ego)
        self._drivers.move(self._env)
        self._frame = moment.frame + 1
        replayed = np.flatnonzero(state.mode[0, : self._logged.shape[2]] != DRIVEN)
        state.agents[0][:, replayed] = self._logged[self._frame][:, replayed]
