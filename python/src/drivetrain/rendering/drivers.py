"""Recordings of whoever can be named: a checkpoint's policy, a reference planner, the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from drivetrain.closed_loop.simulation import StartTeam
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import UsageError, nearest
from drivetrain.planners.constant_velocity import ConstantVelocity
from drivetrain.planners.idm import IntelligentDriver
from drivetrain.rendering.direct_drives import Drives, Step, drive_directly
from drivetrain.rendering.insight_tape import InsightTape
from drivetrain.rendering.recording import DriveRecording, record_log
from drivetrain.rendering.tracker_drives import drive_policy_with_tracker, drive_with_tracker
from drivetrain.sim.branching import FailureHistory
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.traffic_kinds import KINDS
from drivetrain.trainer.closed_loop_evaluation import LOG_REPLAY, NamedPlanner
from drivetrain.trainer.drivers import ExpertDriver, LogDriver, PlannerDriver
from drivetrain.trainer.evaluate import KNOWN_PLANNERS, drives_in_closed_loop
from drivetrain.trainer.traffic_choice import TrafficChoice, choose_traffic
from drivetrain.trainer.watched_policy import WatchedPolicy

LOG = "log"
"""The logged drive; ``log_replay`` is the same with a verdict."""
PLANNERS = (LOG, *KNOWN_PLANNERS)
"""Who can drive without a checkpoint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Driver:
    """Somebody who drives."""

    name: str | Path
    """A planner, or the checkpoint of a policy."""
    label: str
    """The heading of its panels."""
    policy: WatchedPolicy | None = None
    """The checkpoint's."""


def named_driver(name: str | Path, *, label: str | None = None) -> Driver:
    """Return the planner of a name, or the policy of a checkpoint's path.

    Raises:
        UsageError: There is no such planner.
        CheckpointError: There is no such checkpoint, or it was made for something else than driving.
    """
    if isinstance(name, Path):
        policy = WatchedPolicy.of(name)
        shown = label or (f"{name.parent.name}/{name.name}" if name.suffix else name.name)
        return Driver(name=name, label=shown, policy=policy)
    if name not in PLANNERS:
        hint = nearest(name, PLANNERS) or f"; choose one of {', '.join(PLANNERS)}"
        raise UsageError(f"planner: '{name}' does not exist{hint}")
    return Driver(name=name, label=label or name.replace("_", " "))


def uses_tracker(dynamics: str, drivers: Sequence[Driver], data: ScenarioStore | Sequence[Scenario], row: int) -> bool:
    """Return whether nuPlan's closed loop drives, so that all drivers of a picture drive in the same simulation.

    Where nothing is said and drivers would choose differently, the training simulator drives, unless one of them
    knows nuPlan's closed loop only.

    Raises:
        UsageError: A driver cannot drive that way.
    """
    rows = np.array([row])
    asked = [driver.name for driver in drivers if driver.name != LOG]
    chosen = {drives_in_closed_loop(dynamics, name, data, rows) for name in asked}
    if len(chosen) < 2:
        return chosen.pop() if chosen else False
    only_there = [name for name in asked if isinstance(name, str) and not _drives_directly(name)]
    settled = "tracker" if only_there else "direct"
    return {drives_in_closed_loop(settled, name, data, rows) for name in asked} == {True}


def _drives_directly(name: str) -> bool:
    return name in (LOG_REPLAY, "constant_velocity", "idm", "expert")


def drive_all(
    driver: Driver,
    scenarios: Sequence[Scenario],
    *,
    tracker: bool = False,
    traffic: str | TrafficChoice = "replay",
    store: ScenarioStore | None = None,
    history: FailureHistory | None = None,
) -> Drives:
    """Record a driver in scenarios, side by side.

    Args:
        driver: Who drives.
        scenarios: Where.
        tracker: In nuPlan's closed loop; False: in the training simulator.
        traffic: How everybody else drives.
        store: Where the scenarios come from, for planners that look into logs.
        history: Keeps the states before failures, of drives in the training simulator.
    """
    around = choose_traffic(traffic)
    if driver.name == LOG:
        return Drives(recordings={s.scenario_id: record_log(s, label=driver.label) for s in scenarios})
    if tracker:
        others = around.in_closed_loop()
        if driver.policy is not None:
            return drive_policy_with_tracker(scenarios, driver.policy, label=driver.label, traffic=others)
        team: StartTeam | None = NamedPlanner(name=str(driver.name)).team(store)
        return drive_with_tracker(scenarios, team, label=driver.label, traffic=others)
    drive = partial(drive_directly, scenarios, label=driver.label, traffic_driver=around.driver(), history=history)
    if driver.policy is None:
        config = replace(DrivingConfig(), traffic=around.environment_kind)
        step, planner = _planner_step(str(driver.name), scenarios)
        drives = drive(step, config=config)
        failures = dict(planner.failures) if planner is not None else {}
        kept = {name: found for name, found in drives.recordings.items() if name not in failures}
        return Drives(recordings=kept, failures=drives.failures | failures)
    tape = InsightTape(driver.policy)
    config = replace(driver.policy.driving, traffic=around.environment_kind)
    return drive(lambda env, observation: env.step(tape.act(observation)), config=config, tape=tape)


def _planner_step(name: str, scenarios: Sequence[Scenario]) -> tuple[Step, PlannerDriver | None]:
    if name == "expert":
        return ExpertDriver().step, None
    if name == LOG_REPLAY:
        return LogDriver().step, None
    planner = ConstantVelocity() if name == "constant_velocity" else IntelligentDriver()
    driver = PlannerDriver(planner=planner, name=name, scenarios={s.scenario_id: s for s in scenarios})
    return driver.step, driver


def planner_drive(
    name: str, scenario: Scenario, *, traffic: str = "replay", label: str | None = None
) -> DriveRecording:
    """Record a reference planner in the training simulator.

    Raises:
        UsageError: There is no such planner, or it does not drive there.
    """
    driver = named_driver(name, label=label)
    if name != LOG and not _drives_directly(name):
        raise UsageError(f"planner: '{name}' drives in nuPlan's closed loop only; use --dynamics tracker")
    return drive_all(driver, [scenario], traffic=_kind(traffic)).of(scenario)


def policy_drive(
    checkpoint: Path, scenario: Scenario, *, traffic: str = "replay", label: str | None = None
) -> DriveRecording:
    """Record the deterministic policy of a checkpoint in the training simulator.

    Raises:
        CheckpointError: There is no such checkpoint, or it was made for something else than driving.
    """
    return drive_all(named_driver(checkpoint, label=label), [scenario], traffic=_kind(traffic)).of(scenario)


def _kind(name: str) -> str:
    if name in KINDS:
        return name
    raise UsageError(f"traffic: '{name}' does not exist{nearest(name, KINDS)}; choose one of {', '.join(KINDS)}")
