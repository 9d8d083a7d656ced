"""nuPlan's closed-loop evaluation: scenarios simulated as nuPlan does, scored by nuPlan's formula.

E scored scenarios. Scenarios are simulated a few dozen side by side, always the same ones together, so that results do
not depend on how many processes share the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from drivetrain.closed_loop.idm_planner import idm_planner
from drivetrain.closed_loop.log_future import LoggedDrive, log_future
from drivetrain.closed_loop.outcomes import reaches_goal, runs_red_light
from drivetrain.closed_loop.rule_based.planner import CONSTANTS as RULE_BASED_CONSTANTS
from drivetrain.closed_loop.rule_based.planner import rule_based_planner
from drivetrain.closed_loop.simple_planner import simple_planner
from drivetrain.closed_loop.simulation import FailedRollout, Rollout, StartTeam, one_by_one, replay, simulate
from drivetrain.closed_loop.teams import view_team
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError, UsageError, nearest
from drivetrain.metrics.batch import score_in_order
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.names import METRICS as NUPLAN_METRIC_NAMES
from drivetrain.metrics.score import NuplanScore, score_trajectory
from drivetrain.planners.constant_velocity import ConstantVelocity
from drivetrain.planners.idm import IntelligentDriver
from drivetrain.planners.trajectory import Planner, StatefulPlanner
from drivetrain.processes import usable_cores
from drivetrain.sim.scenario import Float64, Int64, Scenario
from drivetrain.trainer.evaluation_result import NUPLAN_METRICS, EvaluationResult, estimates
from drivetrain.trainer.traffic_choice import TrafficChoice, choose_traffic
from drivetrain.trainer.trajectory_recorder import TrajectoryRecorder

RULE_BASED = "rule_based"
REFERENCE_PLANNERS = ("log_replay", "constant_velocity", "idm", "nuplan_idm", RULE_BASED)
"""The reference rows of every evaluation, in the order in which they are shown."""
PLANNERS = (*REFERENCE_PLANNERS, "nuplan_simple", "nuplan_log_future")
"""All planners that are known by name."""
LOG_REPLAY = "log_replay"
SCENARIOS_AT_ONCE = 32
"""Simulated side by side."""
CHUNKS_PER_PROCESS = 2
"""Starting a process takes about as long as simulating this many times as many scenarios."""
_FUTURE_US = 8_500_000
"""How long after its scenario a log is looked at [us]."""

Progress = Callable[[int, int], None]
"""Called with (finished, all) scenarios."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drive:
    """The states of a drive, and where they belong."""

    ego: EgoStates
    times_us: Int64
    """Of the states and of the frame after them, shape [T + 1]."""
    log_name: str
    origin: Float64
    """Of the map's frame [m]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrivenScenario:
    """One scenario, simulated and scored."""

    scenario_id: str
    values: dict[str, float | None]
    """Metric -> value, None where it is unknown; empty where the scenario failed."""
    failure: str = ""
    """Why it has no values."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Metric -> why it is None."""
    drive: Drive | None = None
    """What was driven, if it is to be kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedPlanner:
    """A planner that is known by name, as every process can start it."""

    name: str
    """One of :data:`PLANNERS`."""

    def inputs(self) -> dict[str, Any]:
        """Return what else its figures depend on."""
        return {RULE_BASED: dict(RULE_BASED_CONSTANTS)} if self.name == RULE_BASED else {}

    def team(self, store: ScenarioStore | None) -> StartTeam | None:
        """Return the planner at work; None for the logged drive itself.

        Raises:
            UsageError: There is no such planner, or it needs logs and there is no store.
        """
        if self.name == LOG_REPLAY:
            return None
        if self.name == "constant_velocity":
            return view_team(ConstantVelocity(), name=self.name)
        if self.name == "idm":
            return view_team(IntelligentDriver(), name=self.name)
        if self.name == "nuplan_idm":
            return one_by_one(idm_planner)
        if self.name == RULE_BASED:
            return one_by_one(rule_based_planner)
        if self.name == "nuplan_simple":
            return one_by_one(simple_planner)
        if self.name == "nuplan_log_future":
            return one_by_one(log_future(lambda scenario: _logged_drive(store, scenario)))
        raise UsageError(f"planner: '{self.name}' is not one of {', '.join(PLANNERS)}{nearest(self.name, PLANNERS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnPlanner:
    """A callable from a view to a trajectory."""

    planner: Planner | StatefulPlanner
    name: str

    def inputs(self) -> dict[str, Any]:
        """Return what else its figures depend on."""
        return {}

    def team(self, store: ScenarioStore | None) -> StartTeam:
        """Return the planner at work."""
        del store
        return view_team(self.planner, name=self.name)


def processes_worth(num_scenarios: int) -> int:
    """Return how many processes are worth starting: 1 (the caller's own) up to the number of usable cores."""
    chunks = -(-num_scenarios // SCENARIOS_AT_ONCE)
    return max(1, min(usable_cores(), chunks // CHUNKS_PER_PROCESS))


class StartPlanner(Protocol):
    """A planner before it is at work: NamedPlanner, OwnPlanner, a policy. To be shared it must be picklable."""

    def team(self, store: ScenarioStore | None) -> StartTeam | None:
        """Return the planner at work; None for the logged drive itself."""
        ...


def _logged_drive(store: ScenarioStore | None, scenario: Scenario) -> LoggedDrive:
    if store is None:
        return LoggedDrive(timestamps_us=scenario.timestamps_us, pose=scenario.ego.pose)
    row = store.log_names.index(scenario.log_name)
    times = store.timestamps_us(row)
    first, last = scenario.timestamps_us[0], scenario.timestamps_us[-1] + _FUTURE_US
    window = store.window(row, np.flatnonzero((times >= first) & (times <= last)))
    return LoggedDrive(timestamps_us=window.timestamps_us, pose=window.ego.pose)


def drive_scenarios(
    scenarios: Sequence[Scenario], start: StartPlanner, *, traffic: TrafficChoice, store: ScenarioStore | None
) -> list[DrivenScenario]:
    """Simulate scenarios side by side and score them."""
    team = start.team(store)
    around = traffic.in_closed_loop()
    if team is None:
        rollouts = [replay(scenario, traffic=around) for scenario in scenarios]
    else:
        rollouts = simulate(scenarios, planner=team, traffic=around)
    return [_scored(scenario, rollout) for scenario, rollout in zip(scenarios, rollouts, strict=True)]


def _scored(scenario: Scenario, rollout: Rollout | FailedRollout) -> DrivenScenario:
    if isinstance(rollout, FailedRollout):
        reason = rollout.reason if not rollout.frame else f"{rollout.reason} (frame {rollout.frame})"
        return DrivenScenario(scenario_id=scenario.scenario_id, values={}, failure=reason)
    try:
        verdict = score_trajectory(rollout.scene(scenario), rollout.ego)
    except DataError as error:
        return DrivenScenario(scenario_id=scenario.scenario_id, values={}, failure=str(error))
    return DrivenScenario(
        scenario_id=scenario.scenario_id,
        values=_values(verdict, rollout.ego, scenario),
        unknown=verdict.unknown,
        drive=Drive(
            ego=rollout.ego,
            times_us=scenario.timestamps_us,
            log_name=scenario.log_name,
            origin=scenario.map.origin,
        ),
    )


def _values(verdict: NuplanScore, ego: EgoStates, scenario: Scenario) -> dict[str, float | None]:
    drivable = verdict.metrics["drivable_area_compliance"]
    at_fault, collisions = (verdict.statistics.get(name) for name in ("n_at_fault", "n_collisions"))
    return {
        "score": verdict.score,
        **{name: verdict.metrics[name] for name in NUPLAN_METRIC_NAMES},
        "collision_at_fault_rate": None if at_fault is None else float(at_fault > 0),
        "collision_any_rate": None if collisions is None else float(collisions > 0),
        "offroad_rate": None if drivable is None else 1.0 - drivable,
        "red_light_rate": _as_number(runs_red_light(scenario, ego)),
        "goal_rate": _as_number(reaches_goal(verdict)),
        "progress": verdict.metrics["ego_progress_along_expert_route"],
        "mean_abs_jerk": _mean_abs_jerk(ego.acceleration[:, 0], scenario.timestamps_us[: len(ego)]),
    }


def _as_number(yes: bool | None) -> float | None:
    return None if yes is None else float(yes)


def _mean_abs_jerk(acceleration: Float64, times_us: Int64) -> float | None:
    """Return the mean absolute central difference of the executed acceleration [m/s^3]."""
    if len(acceleration) < 3:
        return None
    return float(np.abs((acceleration[2:] - acceleration[:-2]) / ((times_us[2:] - times_us[:-2]) * 1e-6)).mean())


@dataclass(kw_only=True)
class RowDriver:
    """Simulates scenarios by their rows; sent to every process once, where it opens the store."""

    path: Path | None
    """Of the store."""
    start: StartPlanner
    traffic: TrafficChoice
    scenarios: ScenarioStore | Sequence[Scenario] | None
    """None: the store is opened where it is needed."""

    def __call__(self, rows: tuple[int, ...]) -> list[DrivenScenario]:
        """Simulate the scenarios of some rows side by side and score them."""
        if self.scenarios is None:
            assert self.path is not None
            self.scenarios = ScenarioStore(self.path)
        if isinstance(self.scenarios, ScenarioStore):
            chosen, store = [self.scenarios.load(row) for row in rows], self.scenarios
        else:
            chosen, store = [self.scenarios[row] for row in rows], None
        return drive_scenarios(chosen, self.start, traffic=self.traffic, store=store)


def evaluate_in_closed_loop(
    start: StartPlanner,
    data: ScenarioStore | Sequence[Scenario],
    *,
    rows: Sequence[int],
    name: str,
    traffic: str | TrafficChoice,
    inputs: dict[str, Any],
    processes: int = 1,
    recorder: TrajectoryRecorder | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Return nuPlan's score and metrics of a planner.

    Args:
        start: The planner.
        data: A store or scenarios.
        rows: Which scenarios of them.
        name: How the planner is called.
        traffic: How everybody else drives, see ``traffic_kinds``.
        inputs: What else makes the figures repeatable.
        processes: How many share the work; needs a store and a planner that can be sent to them.
        recorder: Takes what was driven.
        progress: Called as scenarios finish.
    """
    chunks = [tuple(rows[i : i + SCENARIOS_AT_ONCE]) for i in range(0, len(rows), SCENARIOS_AT_ONCE)]
    driven: list[DrivenScenario] = []
    around = choose_traffic(traffic)
    if isinstance(data, ScenarioStore):
        driver = RowDriver(path=data.path, start=start, traffic=around, scenarios=data if processes == 1 else None)
    else:
        driver, processes = RowDriver(path=None, start=start, traffic=around, scenarios=data), 1
    if progress is not None:
        progress(0, len(rows))
    for found in score_in_order(driver, chunks, processes=processes):
        for entry in found:
            if recorder is not None and entry.drive is not None:
                drive = entry.drive
                recorder.add(drive.ego, drive.times_us, log_name=drive.log_name, origin=drive.origin)
            driven.append(replace(entry, drive=None))
        if progress is not None:
            progress(len(driven), len(rows))
    return _result(driven, name=name, traffic=around.name, inputs=inputs)


def _result(driven: Sequence[DrivenScenario], *, name: str, traffic: str, inputs: dict[str, Any]) -> EvaluationResult:
    scored = [entry for entry in driven if not entry.failure]
    unknown = {metric: reason for entry in scored for metric, reason in entry.unknown.items()}
    values = {
        metric: np.array([entry.values[metric] for entry in scored], dtype=np.float64) for metric in NUPLAN_METRICS
    }
    return EvaluationResult(
        planner=name,
        traffic=traffic,
        dynamics="log" if name == LOG_REPLAY else "tracker",
        asked=len(driven),
        failures={entry.scenario_id: entry.failure for entry in driven if entry.failure},
        scenario_ids=tuple(entry.scenario_id for entry in scored),
        values=values,
        metrics=estimates(values, NUPLAN_METRICS),
        inputs=inputs | ({"unknown": unknown} if unknown else {}),
    )
