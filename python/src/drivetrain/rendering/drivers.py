"""Recordings of whoever can be named: a checkpoint's policy, a reference planner, the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from drivetrain.errors import CheckpointError, UsageError, nearest
from drivetrain.rendering.recording import DriveRecording, record_drive, record_log
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.traffic_kinds import KINDS

PLANNERS = ("log", "constant_velocity", "idm", "expert")
"""Who can drive without a checkpoint: the log itself and the reference planners."""


def planner_drive(
    name: str, scenario: Scenario, *, traffic: str = "replay", label: str | None = None
) -> DriveRecording:
    """Record a reference planner.

    Raises:
        UsageError: There is no such planner.
    """
    from drivetrain.planners.constant_velocity import ConstantVelocity
    from drivetrain.planners.idm import IntelligentDriver
    from drivetrain.trainer.drivers import ExpertDriver, PlannerDriver

    shown = label or name.replace("_", " ")
    scenarios = {scenario.scenario_id: scenario}
    if name == "log":
        return record_log(scenario, label=shown)
    if name == "expert":
        driver = ExpertDriver()
    elif name == "constant_velocity":
        driver = PlannerDriver(planner=ConstantVelocity(), name=name, scenarios=scenarios)
    elif name == "idm":
        driver = PlannerDriver(planner=IntelligentDriver(), name=name, scenarios=scenarios)
    else:
        hint = nearest(name, PLANNERS) or f"; choose one of {', '.join(PLANNERS)}"
        raise UsageError(f"planner: '{name}' does not exist{hint}")
    config = replace(DrivingConfig(), traffic=_traffic(traffic))
    return record_drive(scenario, driver.step, label=shown, config=config)


def policy_drive(
    checkpoint: Path, scenario: Scenario, *, traffic: str = "replay", label: str | None = None
) -> DriveRecording:
    """Record the deterministic policy of a checkpoint.

    Raises:
        CheckpointError: There is no such checkpoint, or it was made for something else than driving.
    """
    from drivetrain.config import from_plain
    from drivetrain.sim.observation import CANONICAL
    from drivetrain.trainer.checkpoint import load_policy

    policy = load_policy(checkpoint)
    schema = policy.checkpoint.observation_schema
    if schema.hash != CANONICAL.hash:
        raise CheckpointError(
            f"{checkpoint}: made for observation '{schema.name}' ({schema.hash}), a picture of driving needs "
            f"'{CANONICAL.name}' ({CANONICAL.hash}); give a checkpoint of a driving policy"
        )
    environment = policy.checkpoint.config.get("environment", {})
    config = from_plain(DrivingConfig, environment) if environment else DrivingConfig()
    shown = label or (f"{checkpoint.parent.name}/{checkpoint.name}" if checkpoint.suffix else checkpoint.name)
    return record_drive(
        scenario,
        lambda env, observation: env.step(policy(observation)),
        label=shown,
        config=replace(config, traffic=_traffic(traffic)),
    )


def _traffic(name: str) -> str:
    if name in KINDS:
        return name
    raise UsageError(f"traffic: '{name}' does not exist{nearest(name, KINDS)}; choose one of {', '.join(KINDS)}")
