"""Drives in nuPlan's closed loop, of many scenarios side by side: what its score is given for.

T states, A agents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drivetrain.closed_loop.moment import Moment
from drivetrain.closed_loop.outcomes import reaches_goal
from drivetrain.closed_loop.simulation import FailedRollout, Rollout, StartTeam, replay, simulate
from drivetrain.closed_loop.teams import PolicyTeam, policy_team
from drivetrain.closed_loop.traffic import LogReplay, Traffic
from drivetrain.errors import DataError
from drivetrain.metrics.score import NuplanScore, score_trajectory
from drivetrain.rendering.direct_drives import Drives
from drivetrain.rendering.drive_events import DriveEvent, events_of_rollout, gravest
from drivetrain.rendering.insight_tape import InsightTape
from drivetrain.rendering.recording import DriveRecording
from drivetrain.sim.scenario import Float64, Scenario
from drivetrain.trainer.watched_policy import WatchedPolicy


def drive_with_tracker(
    scenarios: Sequence[Scenario],
    planner: StartTeam | None,
    *,
    label: str,
    traffic: Callable[[Scenario], Traffic] = LogReplay,
) -> Drives:
    """Simulate a planner in scenarios, or replay the logged drives (``planner`` None)."""
    if planner is None:
        rollouts = [replay(scenario, traffic=traffic) for scenario in scenarios]
    else:
        rollouts = simulate(scenarios, planner=planner, traffic=traffic)
    drives = Drives()
    for scenario, rollout in zip(scenarios, rollouts, strict=True):
        if isinstance(rollout, FailedRollout):
            drives.failures[scenario.scenario_id] = rollout.reason
            continue
        try:
            recording = _recording(scenario, rollout, label)
        except DataError as error:
            drives.failures[scenario.scenario_id] = str(error)
            continue
        drives.recordings[scenario.scenario_id] = recording
    return drives


def drive_policy_with_tracker(
    scenarios: Sequence[Scenario],
    policy: WatchedPolicy,
    *,
    label: str,
    traffic: Callable[[Scenario], Traffic] = LogReplay,
) -> Drives:
    """Simulate a policy in scenarios and keep what it saw and considered."""
    watched: list[_WatchedTeam] = []

    def at_work(chosen: Sequence[Scenario]) -> _WatchedTeam:
        watched.append(_WatchedTeam(policy, chosen))
        return watched[0]

    drives = drive_with_tracker(scenarios, at_work, label=label, traffic=traffic)
    for number, scenario in enumerate(scenarios):
        recording = drives.recordings.get(scenario.scenario_id)
        if recording is not None:
            insight = watched[0].tape.insight(watched[0].team.world_of[number], recording.num_frames)
            drives.recordings[scenario.scenario_id] = replace(recording, insight=insight)
    return drives


class _WatchedTeam:
    """A policy at work; of all that it is asked in a frame only the first is about the world as it is."""

    def __init__(self, policy: WatchedPolicy, scenarios: Sequence[Scenario]) -> None:
        self._policy = policy
        self.tape = InsightTape(policy)
        self._imagines = False
        self.team: PolicyTeam = policy_team(self._act, policy.driving)(scenarios)

    def plan(self, moments: Mapping[int, Moment]) -> Mapping[int, Float64 | Exception]:
        self._imagines = False
        return self.team.plan(moments)

    def _act(self, observation: NDArray) -> NDArray:
        if self._imagines:
            return self._policy.act(observation)
        self._imagines = True
        return self.tape.act(observation)


def _recording(scenario: Scenario, rollout: Rollout, label: str) -> DriveRecording:
    ego, agents, frames = rollout.ego, rollout.agents, len(rollout.ego)
    verdict = score_trajectory(rollout.scene(scenario), ego)
    events = events_of_rollout(scenario, rollout)
    if reaches_goal(verdict) and gravest(events) is None:
        events.append(DriveEvent(frame=frames - 1, kind="goal"))
    found = gravest(events)
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(ego.centre, axis=0).T))])
    return DriveRecording(
        label=label,
        scenario=scenario,
        first_frame=0,
        dt=float(np.diff(scenario.timestamps_us).mean()) / 1e6,
        ego_pose=np.column_stack([ego.centre, ego.heading]),
        ego_speed=ego.speed,
        ego_size=(ego.vehicle.length, ego.vehicle.width),
        agent_pose=np.concatenate([agents.position, agents.heading[..., None].astype(np.float64)], axis=2)[:frames],
        agent_present=agents.valid[:frames].astype(np.bool_),
        agent_size=agents.size.astype(np.float64),
        agent_type=agents.type,
        progress=_progress(verdict, travelled),
        outcome="end" if found is None else found.kind,
        dynamics="tracker",
        events=tuple(events),
        score_name="score",
        metrics={"score": verdict.score, **verdict.metrics},
    )


def _progress(verdict: NuplanScore, travelled: Float64) -> Float64:
    """Return the share of the expert's progress frame by frame: the final ratio, spread over the way driven."""
    final = verdict.metrics["ego_progress_along_expert_route"]
    share = travelled / max(float(travelled[-1]), 1e-6)
    return share * (1.0 if final is None else final)
