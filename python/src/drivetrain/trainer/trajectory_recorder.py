"""What an evaluation drove, as a file of trajectories that nuPlan's metrics can score.

W worlds (one ego each), T states.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import DataError
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.sim.env import DrivingEnv
from drivetrain.sim.scenario import Float64, Int64, Scenario
from drivetrain.sim.scene_arrays import ACCELERATION, HEADING, SPEED, STEERING, X, Y
from drivetrain.trainer.episode_states import EpisodeStates
from drivetrain.trainer.trajectory_file import LATERAL_COLUMNS, STATE_COLUMNS, TrajectoryFile, write_trajectories


class Recorder(Protocol):
    """Makes something of what every ego drives."""

    drives: EpisodeStates
    """Takes the states of a batch of worlds."""

    def end(
        self, env: DrivingEnv, scenarios: Mapping[str, Scenario], *, logged: bool, without: Collection[str] = ()
    ) -> None:
        """Take note that a batch of worlds has played one episode each.

        Args:
            env: The worlds.
            scenarios: By id.
            logged: The egos followed their logs.
            without: Ids of scenarios that failed; their drives count for nothing.
        """
        ...


class TrajectoryRecorder:
    """Collects the states of every ego from its first frame to the end of its episode."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._states: list[Float64] = []
        self._lateral: list[Float64] = []
        self._times: list[Int64] = []
        self._logs: list[str] = []
        self._origins: list[Float64] = []
        self.drives = EpisodeStates((X, Y, HEADING, SPEED, ACCELERATION, STEERING))

    def end(
        self, env: DrivingEnv, scenarios: Mapping[str, Scenario], *, logged: bool, without: Collection[str] = ()
    ) -> None:
        """Close the trajectories of a batch of worlds.

        Args:
            env: The worlds; each has played one episode from its scene's first frame.
            scenarios: By scenario id.
            logged: The egos followed their logs: the log's own states say more than the simulator's.
            without: Ids of scenarios that failed; their trajectories are not kept.
        """
        for scenario_id, driven in self.drives.finished(env, without=without):
            scenario = scenarios[scenario_id]
            # As nuPlan's simulation, which never records the last frame: the expert drives one frame more.
            num = max(min(len(driven), len(scenario.timestamps_us) - 1), 1)
            times = scenario.timestamps_us[: num + 1]
            states, lateral = _logged(scenario, num) if logged else _driven(driven[:num], times, scenario)
            self._keep(states, lateral, times, log_name=scenario.log_name, origin=scenario.map.origin)

    def add(self, ego: EgoStates, times: Int64, *, log_name: str, origin: Float64) -> None:
        """Take a drive as it is.

        Args:
            ego: T states.
            times: Of the states and of one frame more, which the expert drives, shape [T + 1].
            log_name: The log it belongs to.
            origin: Of its map's frame [m].
        """
        states = np.column_stack(
            [ego.pose, ego.velocity[:, 0], ego.acceleration[:, 0], ego.yaw_rate, ego.yaw_acceleration]
        )
        lateral = np.column_stack([ego.velocity[:, 1], ego.acceleration[:, 1]])
        self._keep(states, lateral, times, log_name=log_name, origin=origin)

    def _keep(self, states: Float64, lateral: Float64, times: Int64, *, log_name: str, origin: Float64) -> None:
        self._states.append(states)
        self._lateral.append(lateral)
        self._times.append(times)
        self._logs.append(log_name)
        self._origins.append(origin)

    def write(self, path: Path) -> None:
        """Write all trajectories, in the order of the worlds.

        Raises:
            DataError: There is none.
            RunError: The file cannot be written.
        """
        if not self._states:
            raise DataError(f"save_trajectories: {path}: no scene was driven to its end, so nothing is written")
        num_states = np.array([len(states) for states in self._states])
        ego = np.zeros((len(self._states), num_states.max(), len(STATE_COLUMNS)))
        lateral = np.zeros((*ego.shape[:2], len(LATERAL_COLUMNS)))
        origin = self._origins[0]
        for row, num in enumerate(num_states.tolist()):
            ego[row, :num], lateral[row, :num] = self._states[row], self._lateral[row]
            ego[row, :num, :2] += self._origins[row] - origin
        write_trajectories(
            TrajectoryFile(
                path=path,
                ego=ego,
                lateral=lateral,
                timestamps_us=tuple(self._times),
                scenario=np.arange(len(ego)),
                num_states=num_states,
                origin=origin,
                log_name=tuple(self._logs),
            )
        )


def _logged(scenario: Scenario, num: int) -> tuple[Float64, Float64]:
    """Return the logged states in the columns of a trajectory file; nuPlan takes their yaw rate for zero."""
    ego = scenario.ego
    pose, velocity, acceleration = ego.pose[:num], ego.velocity[:num], ego.acceleration[:num]
    states = np.column_stack([pose, velocity[:, 0], acceleration[:, 0], np.zeros((num, 2))])
    return states, np.column_stack([velocity[:, 1], acceleration[:, 1]])


def _driven(states: NDArray[np.float32], times: Int64, scenario: Scenario) -> tuple[Float64, Float64]:
    """Return simulated states in the columns of a trajectory file: at the rear axle, no side-slip, with rates."""
    vehicle = scenario.ego.vehicle
    x, y, heading, speed, acceleration, steering = states.astype(np.float64).T
    yaw_rate = speed * np.tan(steering) / vehicle.wheelbase
    yaw_acceleration = np.concatenate([[0.0], np.diff(yaw_rate) / (np.diff(times[: len(states)]) * 1e-6)])
    columns = np.column_stack(
        [
            x - vehicle.rear_axle_to_center * np.cos(heading),
            y - vehicle.rear_axle_to_center * np.sin(heading),
            heading,
            speed,
            acceleration,
            yaw_rate,
            yaw_acceleration,
        ]
    )
    return columns, np.zeros((len(states), 2))
