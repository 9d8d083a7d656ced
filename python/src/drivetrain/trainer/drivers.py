"""Drivers: who turns the state of running worlds into their next step during an evaluation.

N rows (one per world: the ego), D observation values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from drivetrain.errors import DataError, one_line
from drivetrain.models.observation_rows import to_torch
from drivetrain.planners.state_match import match_actions
from drivetrain.planners.tracker import STEP_S, BicycleState, track
from drivetrain.planners.trajectory import (
    ABSURD,
    Planner,
    Planners,
    RowPlanner,
    StatefulPlanner,
    can_be_followed,
    sampled,
)
from drivetrain.planners.view import PlanningRows
from drivetrain.planners.world_view import planning_rows, scenario_view
from drivetrain.sim.env import DrivingEnv
from drivetrain.sim.environment import StepResult, VectorEnvironment
from drivetrain.sim.scenario import Float64, Scenario
from drivetrain.sim.scene_bank import DT


class Policy(Protocol):
    """What a policy driver needs of a policy."""

    def act(
        self,
        observation: torch.Tensor,
        *,
        deterministic: bool = False,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Return one action per row."""
        ...


class Driver(Protocol):
    """Steps all worlds of an environment once."""

    @property
    def failures(self) -> Mapping[str, str]:
        """Scenario id -> why its planner gave up; its world goes on unsteered, and counts for nothing."""
        ...

    @property
    def dynamics(self) -> str:
        """How plans become motion, see ``EvaluationResult.dynamics``."""
        ...

    def step(self, env: DrivingEnv, observation: NDArray[np.float32]) -> StepResult:
        """Advance ``env``, whose present observation [N, D] is given."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyDriver:
    """A policy's actions, applied directly to the vehicle model (or to whatever a Gymnasium environment moves)."""

    policy: Policy
    deterministic: bool
    temperature: float
    device: torch.device
    generator: torch.Generator
    """Random numbers of a policy that samples."""
    dynamics: str = "direct"
    failures: Mapping[str, str] = field(default_factory=dict)

    def step(self, env: VectorEnvironment, observation: NDArray[np.float32]) -> StepResult:
        """Advance by the policy's actions."""
        with torch.no_grad():
            action = self.policy.act(
                to_torch(observation).to(self.device),
                deterministic=self.deterministic,
                temperature=self.temperature,
                generator=self.generator,
            )
        return env.step(action.cpu().numpy())


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannerDriver:
    """A planner's trajectories, followed by nuPlan's tracker through the simulator's vehicle model."""

    planner: Planner | StatefulPlanner
    name: str
    scenarios: Mapping[str, Scenario]
    """By scenario id: views carry the map of their scenario."""
    dynamics: str = "tracker"
    planners: Planners = field(init=False, repr=False)
    """Those of the scenarios."""
    failures: dict[str, str] = field(default_factory=dict)
    """Scenario id -> what the planner raised, or what is wrong with its answer."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "planners", Planners(self.planner))

    def step(self, env: DrivingEnv, observation: NDArray[np.float32]) -> StepResult:
        """Advance by what the tracker commands; whatever a planner does wrong fails its scenario only."""
        del observation  # planners see views
        running = np.flatnonzero(env.state.running)
        if self.failures:
            running = running[[_scenario(env, row) not in self.failures for row in running.tolist()]]
        command = np.zeros((env.num_rows, 2))
        if not len(running):
            return env.step_command(command)
        rows = planning_rows(env.bank.arrays, env.state, running)
        for index, poses in self._groups(env, rows, running):
            fine = can_be_followed(poses, rows.pose[index, :2])
            for at in index[~fine].tolist():
                self._fail(env, int(running[at]), DataError(ABSURD))
            if fine.any():
                command[running[index[fine]]] = follow(poses[fine], rows, index[fine])
        return env.step_command(command)

    def _groups(
        self, env: DrivingEnv, rows: PlanningRows, running: NDArray[np.int64]
    ) -> list[tuple[NDArray[np.int64], Float64]]:
        """Return trajectories [., K, 3] and which entries of ``rows`` they belong to, by their length."""
        if isinstance(self.planner, RowPlanner):
            try:
                return [(np.arange(len(running)), self.planner.plan_rows(rows))]
            except Exception as error:  # a planner of many fails in all of them
                for row in running.tolist():
                    self._fail(env, row, error)
                return []
        by_length: dict[int, list[tuple[int, Float64]]] = {}
        for at, row in enumerate(running.tolist()):
            scenario = self.scenarios[_scenario(env, row)]
            try:
                view = scenario_view(
                    env.bank, env.state, rows, at=at, row=row, scenario=scenario, time_s=DT * _frame(env, row)
                )
                poses = sampled(self.planners(scenario.scenario_id, view), name=self.name)
            except Exception as error:  # whatever a planner raises fails its scenario only
                self._fail(env, row, error)
                continue
            by_length.setdefault(len(poses), []).append((at, poses))
        return [(np.array([at for at, _ in g]), np.stack([poses for _, poses in g])) for g in by_length.values()]

    def _fail(self, env: DrivingEnv, row: int, error: Exception) -> None:
        frame = _frame(env, row)
        self.failures[_scenario(env, row)] = one_line(error) + (f" (frame {frame})" if frame else "")


def _scenario(env: DrivingEnv, row: int) -> str:
    return env.bank.scenario_ids[int(env.state.scene[row])]


def _frame(env: DrivingEnv, row: int) -> int:
    return int(env.state.frame[row // env.config.rows_per_world])


def follow(poses: Float64, rows: PlanningRows, index: NDArray[np.int64] | None = None) -> Float64:
    """Return the commands (acceleration [m/s^2], steering angle [rad]) that follow trajectories, shape [N, 2].

    Args:
        poses: Rear-axle poses every 0.1 s from now on, shape [N, K, 3].
        rows: Where the vehicles are.
        index: The entries of ``rows`` that the trajectories belong to; None: all, in order.
    """
    at = np.arange(len(rows.speed)) if index is None else index
    state = BicycleState(
        pose=rows.pose[at], speed=rows.speed[at], acceleration=rows.acceleration[at], steering=rows.steering[at]
    )
    acceleration, steering_rate = track(poses, state, wheelbase=rows.wheelbase[at])
    # nuPlan's bicycle lags towards steering + rate dt; the simulator lags towards a steering angle: the same thing.
    return np.stack([acceleration, state.steering + STEP_S * steering_rate], axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogDriver:
    """The logged drive itself."""

    dynamics: str = "log"
    failures: Mapping[str, str] = field(default_factory=dict)

    def step(self, env: DrivingEnv, observation: NDArray[np.float32]) -> StepResult:
        """Put every ego where its log has it."""
        del observation
        return env.step_log()


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertDriver:
    """The logged drive, re-driven with the 91 actions through the vehicle model."""

    dynamics: str = "direct"
    failures: Mapping[str, str] = field(default_factory=dict)

    def step(self, env: DrivingEnv, observation: NDArray[np.float32]) -> StepResult:
        """Take the actions that keep nearest to the logs."""
        del observation
        config = env.config
        action = match_actions(
            env.bank.arrays,
            env.state,
            acceleration_lag=config.acceleration_lag_s,
            steering_lag=config.steering_lag_s,
        )
        return env.step(action)
